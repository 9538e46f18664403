"""The examination: all checks over one database, in an order in which each can count on those before."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.errors import ArchetypeError, SchemaOutdatedError
from archetype.service.doctor.contents import (
    check_clock,
    check_garbage,
    check_keys,
    check_log_time,
    check_lost_runs,
    check_objects,
    check_runs,
)
from archetype.service.doctor.files import check_file, check_journal, place_of
from archetype.service.doctor.findings import Finding, Severity, error, ok
from archetype.service.doctor.installation import check_installation
from archetype.service.doctor.server import check_rights, check_server
from archetype.store import health
from archetype.store.database import Database
from archetype.store.migrate import changed_objects
from archetype.store.retention import unused_pages

__all__ = ["examine"]


async def examine(database: Database) -> list[Finding]:
    """Check a database and this installation, and return at least one finding of each check that was made.

    Nothing is written, and a SQLite file that is not there is not made. Where the database cannot be
    reached, or has another schema, the checks that need it are left out.
    """
    findings = check_installation()
    if database.is_sqlite:
        place = await asyncio.to_thread(place_of, Path(database.url.database or ""))
        findings += check_file(place)
        if not place.is_file:
            return findings
    try:
        findings += await _reached(database)
        findings += await _schema(database)
        if findings[-1].severity is Severity.ERROR:
            return findings
        findings += await _contents(database)
    except ArchetypeError as failure:
        remedy = "mend the URL, the server or the user's rights; archetype db current tries again"
        findings.append(error("database", failure.message, remedy))
    return findings


async def _reached(database: Database) -> list[Finding]:
    """Check what the database says of itself, and its clock against ours."""
    if database.is_sqlite:
        return check_journal(await database.read(health.file_facts))
    before = utc_now()
    facts = await database.read(health.server_facts)
    half = (utc_now() - before) / 2
    skew_s = (facts.now - before - half).total_seconds()
    # The answer took that long: what is less may as well be nothing.
    clock = check_clock(0.0 if abs(skew_s) <= half.total_seconds() else skew_s)
    return [*check_server(facts, pool_size=database.connections_max), clock]


async def _schema(database: Database) -> list[Finding]:
    try:
        await database.require_schema()
    except SchemaOutdatedError as outdated:
        is_newer = (outdated.details["found"] or "") > outdated.details["needed"]
        remedy = "pip install --upgrade archetype-log" if is_newer else "archetype db upgrade"
        return [error("schema", outdated.message, remedy)]
    return [ok("schema", f"revision {await database.revision()}")]


async def _contents(database: Database) -> list[Finding]:
    """Check what is stored; where this user may not all that a server does, only that is said."""
    if database.is_sqlite:
        objects = check_objects(await changed_objects(database))
        return [*objects, *await database.read(lambda connection: _judged(connection, utc_now()))]
    facts = await database.read(health.server_facts)
    rights = check_rights(facts.user, await database.read(health.missing_rights))
    if rights.severity is not Severity.OK:
        return [rights]
    objects = check_objects(await changed_objects(database))
    return [rights, *objects, *await database.read(lambda connection: _judged(connection, facts.now))]


def _judged(connection: Connection, now: datetime) -> list[Finding]:
    """Read and judge what is stored, in one state of it."""
    return [
        *check_lost_runs(health.runs_without_world(connection)),
        *check_runs(health.open_runs(connection), now),
        check_log_time(health.last_recorded_at(connection), now),
        check_garbage(unused_pages(connection)),
        check_keys(*health.key_states(connection), now),
    ]
