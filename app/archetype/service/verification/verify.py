"""Verifying: everything that a database holds, or a world with all that its past is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from archetype.errors import CorruptionError, InvalidInputError
from archetype.limits import FAULTS_MAX
from archetype.service.verification.acts import check_acts
from archetype.service.verification.blobs import Blobs
from archetype.service.verification.faults import (
    CheckedCommit,
    FaultKind,
    Findings,
    VerifyReport,
    place,
)
from archetype.service.verification.identities import check_identities
from archetype.service.verification.log import check_positions
from archetype.service.verification.progress import OnProgress, Progress
from archetype.service.verification.scope import find_scope
from archetype.service.verification.sightings import check_sightings
from archetype.service.verification.usage import UsageTally
from archetype.service.verification.worlds import check_world
from archetype.store import audit
from archetype.store.database import Database, Reading
from archetype.store.raw_rows import RawRow

__all__ = ["verify"]

_HASH_BYTES = 32


async def verify(
    database: Database,
    world: str | None = None,
    *,
    expect: str | None = None,
    on_progress: OnProgress | None = None,
) -> VerifyReport:
    """Check all that is stored, or a world with the worlds of its lineage, as it is at this moment.

    `world` is a reference as `demo` or `demo@120`, which may name another commit than the last; archived
    worlds go by their ids. `expect` is that commit's hash, 64 hex digits, kept elsewhere: with it the
    whole past up to that tick is proven. Faults are reported, not raised; only a reference that names
    nothing raises `InvalidInputError` or `NotFoundError`.
    """
    expected = None if expect is None else _parse_hash(expect)
    if expected is not None and world is None:
        msg = "expect is the commit hash of one world; name it, as demo@120"
        raise InvalidInputError(msg)
    findings = Findings()
    progress = Progress(on_progress)
    commit: CheckedCommit | None = None
    async with database.reading(is_lenient=True) as reading:
        with suppress(_AnswersNoMore):
            if world is None:
                await _verify_all(reading, findings, progress)
            else:
                scope = await find_scope(reading, world)
                commit = scope.commit
                _compare_commit(commit, expected, findings)
                await _verify_worlds(reading, scope.rows, findings, progress)
    return findings.report(commit)


async def _verify_worlds(
    reading: Reading, rows: Sequence[RawRow], findings: Findings, progress: Progress
) -> None:
    """Check worlds, and of what is shared only that which they refer to."""
    progress.event_count = sum(each.head_version for each in rows if type(each.head_version) is int)
    blobs = Blobs(reading, findings, progress)
    for row in rows:
        async with _damage_found(reading, findings, place(world=row.world_id)):
            await check_world(reading, row, blobs=blobs, findings=findings, progress=progress)


async def _verify_all(reading: Reading, findings: Findings, progress: Progress) -> None:
    """Check table by table; what is damaged so that it cannot be read does not keep the rest from it."""
    if reading.is_sqlite:
        async with _damage_found(reading, findings, "file"):
            for line in await reading.read(audit.integrity):
                findings.add(FaultKind.DATABASE, "file", line)
    blobs = Blobs(reading, findings, progress)
    async with _damage_found(reading, findings, "log"):
        progress.event_count = (await reading.read(audit.log_extent)).row_count
        progress.page_count = await reading.read(audit.total_pages)
        await check_positions(reading, findings)
        await _check_orphans(reading, findings)
    async with _damage_found(reading, findings, "pages, archetypes, programs"):
        await blobs.check_all()
    async with _damage_found(reading, findings, "administrative_acts, actors, keys"):
        await check_identities(reading, findings, await check_acts(reading, findings))
    async with _damage_found(reading, findings, "denials, origins"):
        await check_sightings(reading, findings)
    usage = UsageTally(findings)
    async with _damage_found(reading, findings, "quotas, usage"):
        await usage.begin(reading)
    async with _damage_found(reading, findings, "worlds"):
        for row in await reading.read(lambda connection: list(connection.execute(audit.select_worlds()))):
            async with _damage_found(reading, findings, place(world=row.world_id)):
                await check_world(
                    reading, row, blobs=blobs, findings=findings, progress=progress, usage=usage
                )
    async with _damage_found(reading, findings, "pages"):
        await blobs.check_patches()
    async with _damage_found(reading, findings, "quotas, usage"):
        await usage.finish(reading)


@asynccontextmanager
async def _damage_found(reading: Reading, findings: Findings, where: str) -> AsyncGenerator[None]:
    """Take in what the database itself says of its damage, and go on behind it if it still answers."""
    try:
        yield
    except CorruptionError as error:
        findings.add(FaultKind.DATABASE, where, error.message)
        if not reading.is_sqlite:
            raise _AnswersNoMore from error


class _AnswersNoMore(Exception):  # noqa: N818  no fault of its own: the fault is in the findings
    """The transaction is over, and with it the state that was read."""


_KIND_OF_TABLE = {
    "events": FaultKind.EVENT,
    "ticks": FaultKind.TICK,
    "snapshots": FaultKind.SNAPSHOT,
    "runs": FaultKind.RUN,
    "labels": FaultKind.LABEL,
}


async def _check_orphans(reading: Reading, findings: Findings) -> None:
    found = await reading.read(lambda connection: audit.orphans(connection, limit=FAULTS_MAX))
    for orphan in found:
        what = f"is of world {orphan.key['world_id']}, which has no row"
        if orphan.table == "events":
            where = place(position=orphan.key["position"])
            what += f"; so are {orphan.row_count - 1} behind it" if orphan.row_count > 1 else ""
        elif orphan.table == "runs":
            where = place(run=orphan.key["run_id"])
        else:
            parts = {_PART_OF_COLUMN.get(name, name): value for name, value in orphan.key.items()}
            where = place(**parts)
        findings.add(_KIND_OF_TABLE[orphan.table], where, what)


_PART_OF_COLUMN = {"world_id": "world", "archetype_id": "archetype", "name": "label"}


def _parse_hash(text: str) -> bytes:
    try:
        parsed = bytes.fromhex(text)
    except ValueError:
        parsed = b""
    if len(parsed) != _HASH_BYTES or len(text) != 2 * _HASH_BYTES:
        msg = f"{text!r:.80} is no commit hash; give all of its 64 hex digits"
        raise InvalidInputError(msg)
    return parsed


def _compare_commit(commit: CheckedCommit | None, expected: bytes | None, findings: Findings) -> None:
    if expected is None:
        return
    if commit is None:
        findings.add(FaultKind.COMMIT, "the world", f"has no tick yet, and so no commit {expected.hex()}")
    elif commit.commit_hash != expected:
        stands = "nothing" if commit.commit_hash is None else commit.commit_hash.hex()
        what = f"the commit is {stands}, but {expected.hex()} was expected"
        findings.add(FaultKind.COMMIT, place(world=commit.world_id, tick=commit.tick), what)
