"""What the database says of its own state: versions, settings, rights, leases, and what nothing refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.run_rows import RunRow, run_row
from archetype.store.schema import UNFINISHED, Moment, actors, events, keys, metadata, runs, worlds

__all__ = [
    "FileFacts",
    "KeyState",
    "OpenRun",
    "ServerFacts",
    "file_facts",
    "key_states",
    "last_recorded_at",
    "missing_rights",
    "open_runs",
    "runs_without_world",
    "server_facts",
]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A PostgreSQL as it says it is; `settings` are those of this session, as their text.

    `connection_count` is how many it serves now, of `connections_max` for whoever is no superuser.
    """

    version: str
    version_number: int
    now: datetime
    user: str
    settings: Mapping[str, str]
    connections_max: int
    connection_count: int
    size_bytes: int


_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
_SERVER = sa.text(
    "SELECT current_setting('server_version') AS version, "
    "current_setting('server_version_num')::int AS version_number, clock_timestamp() AS now, "
    "current_user AS user_name, current_setting('max_connections')::int "
    "- current_setting('superuser_reserved_connections')::int "
    "- coalesce(current_setting('reserved_connections', true), '0')::int AS connections_max, "
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connection_count, "
    "pg_database_size(current_database()) AS size_bytes, "
    + ", ".join(f"current_setting('{name}') AS {name}" for name in _SETTINGS)
).columns(now=Moment)


def server_facts(connection: Connection) -> ServerFacts:
    """Ask a PostgreSQL what it is."""
    row = connection.execute(_SERVER).mappings().one()
    return ServerFacts(
        version=row["version"],
        version_number=row["version_number"],
        now=row["now"],
        user=row["user_name"],
        settings={name: row[name] for name in _SETTINGS},
        connections_max=row["connections_max"],
        connection_count=row["connection_count"],
        size_bytes=row["size_bytes"],
    )


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A SQLite file as it says it is."""

    version: str
    journal_mode: str


def file_facts(connection: Connection) -> FileFacts:
    """Ask a SQLite file what it is."""
    version = connection.scalar(sa.text("SELECT sqlite_version()"))
    return FileFacts(str(version), str(connection.scalar(sa.text("PRAGMA journal_mode"))))


_RIGHTS: Mapping[str, Sequence[str]] = {
    "log_head": ("UPDATE",),
    "events": ("INSERT",),
    "worlds": ("INSERT", "UPDATE"),
    "programs": ("INSERT",),
    "ticks": ("INSERT",),
    "archetypes": ("INSERT",),
    "snapshots": ("INSERT", "DELETE"),
    "pages": ("INSERT", "DELETE"),
    "runs": ("INSERT", "UPDATE"),
    "labels": ("INSERT", "DELETE"),
    "actors": ("INSERT", "UPDATE"),
    "keys": ("INSERT", "UPDATE"),
    "denials": ("INSERT", "UPDATE", "DELETE"),
    "administrative_acts": ("INSERT",),
    "origins": ("INSERT", "UPDATE"),
    "quotas": ("INSERT", "DELETE"),
    "tick_usage": ("INSERT", "UPDATE", "DELETE"),
    "daily_usage": ("INSERT", "UPDATE"),
}
"""What a server does to each table beside reading it."""

_READ_BESIDE = ("lineage", "alembic_version")
"""What a server reads that is none of its tables."""

_FUNCTIONS = (
    "append_commands",
    "append_judged",
    "charge_commands",
    "event_digest",
    "iso_utc",
    "lock_log",
    "quota_refusals",
    "spread",
)
"""What a server calls, and what that calls in its name."""


def missing_rights(connection: Connection) -> list[str]:
    """Return what this user of a PostgreSQL may not do and a server does, as `INSERT on events`."""
    wanted = [
        (right, table.name) for table in metadata.sorted_tables for right in ("SELECT", *_RIGHTS[table.name])
    ]
    wanted += [("SELECT", name) for name in _READ_BESIDE]
    has_table = sa.text("SELECT has_table_privilege(CAST(:name AS text), CAST(:right AS text))")
    missing = [
        f"{right} on {name}"
        for right, name in wanted
        if not connection.scalar(has_table, {"name": name, "right": right})
    ]
    has_function = sa.text(
        "SELECT coalesce(bool_and(has_function_privilege(oid, 'EXECUTE')), false) FROM pg_proc "
        "WHERE proname = :name AND pronamespace = current_schema()::regnamespace"
    )
    return missing + [
        f"EXECUTE on {name}" for name in _FUNCTIONS if not connection.scalar(has_function, {"name": name})
    ]


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An unfinished run, with its world as it stands; a rollout has an owner of its own, not its world's."""

    run: RunRow
    world: str
    is_world_removed: bool
    lease_owner: str | None
    lease_until: datetime | None


def open_runs(connection: Connection) -> list[OpenRun]:
    """Return the unfinished runs, the oldest first."""
    statement = (
        sa.select(
            *runs.columns,
            worlds.c.name.label("world"),
            worlds.c.archived_at.is_not(None).label("is_removed"),
            sa.func.coalesce(runs.c.owner, worlds.c.lease_owner).label("lease_owner"),
            sa.func.coalesce(runs.c.owner_until, worlds.c.lease_until).label("lease_until"),
        )
        .join(worlds, worlds.c.world_id == runs.c.world_id)
        .where(sa.text(f"runs.{UNFINISHED}"))
        .order_by(runs.c.run_id)
    )
    return [
        OpenRun(run_row(row), row["world"], bool(row["is_removed"]), row["lease_owner"], row["lease_until"])
        for row in connection.execute(statement).mappings()
    ]


def runs_without_world(connection: Connection) -> list[UUID]:
    """Return the runs whose world is missing; nothing but damage makes one."""
    statement = (
        sa.select(runs.c.run_id)
        .outerjoin(worlds, worlds.c.world_id == runs.c.world_id)
        .where(worlds.c.world_id.is_(None))
        .order_by(runs.c.run_id)
    )
    return list(connection.scalars(statement))


def last_recorded_at(connection: Connection) -> datetime | None:
    """Return when the log's last event was recorded, None for an empty log."""
    return connection.scalar(sa.select(events.c.recorded_at).order_by(events.c.position.desc()).limit(1))


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key that is not revoked, of an actor who is not disabled; `roles` is a JSON list.

    A limited one is good for some worlds only.
    """

    key_id: str
    actor: str
    roles: str
    is_limited: bool
    expires_at: datetime | None


def key_states(connection: Connection) -> tuple[int, list[KeyState]]:
    """Return how many keys were ever made, and those of them that may still hold."""
    statement = (
        sa.select(keys.c.key_id, actors.c.name, actors.c.roles, keys.c.worlds, keys.c.expires_at)
        .join(actors, actors.c.actor_id == keys.c.actor_id)
        .where(keys.c.revoked_at.is_(None), actors.c.disabled_at.is_(None))
        .order_by(keys.c.key_id)
    )
    found = [
        KeyState(row.key_id, row.name, row.roles, row.worlds is not None, row.expires_at)
        for row in connection.execute(statement)
    ]
    return int(connection.scalar(sa.select(sa.func.count()).select_from(keys)) or 0), found
