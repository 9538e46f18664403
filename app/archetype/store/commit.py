"""Committing a tick: all that it leads to, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.errors import (
    WorldArchivedError,
    WorldBusyError,
    WorldNotFoundError,
)
from archetype.log.facts import Fact, FactType
from archetype.log.hashes import iso_utc
from archetype.store.append import lock_log
from archetype.store.leases import IS_HELD, Lease, holder
from archetype.store.log import record_facts
from archetype.store.run_ends import RunEnd, end_run, run_end
from archetype.store.runs import Sealed
from archetype.store.schema import events, runs, ticks, worlds
from archetype.store.snapshots import TickSnapshot, write_blobs, write_snapshot
from archetype.store.worlds import find

__all__ = ["Committed", "TickCommit", "commit_tick", "spelled"]


@dataclass(frozen=True, slots=True)
class TickCommit:
    """All that one tick writes; `snapshots` are its own and the one before, as far as they are to be stored.

    `archetype_counts` are its active entities by archetype id, `new_archetypes` those that may not be stored;
    `ran` is what is recorded of its processors.

    `rejections` are the facts of the commands that could not be applied, `program` the canonical JSON behind
    `code_hash`, None if it is stored; `run_progress` is the run's row so far as (ticks_completed,
    commands_applied). With `run_end` the run ends with this tick; without it the next tick is sealed in
    the same transaction.
    """

    world_id: UUID
    sealed: Sealed
    lease: Lease
    run_id: UUID
    parent_hash: bytes
    commit_hash: bytes
    state_hash: bytes
    code_hash: bytes
    program: str | None
    next_entity_id: int
    entity_count: int
    command_count: int
    rejected_count: int
    started_at: datetime
    compute_ms: float
    persist_ms: float
    rejections: Sequence[Fact]
    commands_applied: int
    archetype_counts: Mapping[bytes, int]
    ran: Mapping[str, Any]
    new_archetypes: Sequence[Archetype]
    snapshots: Sequence[TickSnapshot]
    run_progress: tuple[int, int]
    run_end: RunEnd | None

    @property
    def values(self) -> dict[str, Any]:
        """The tick's row, but for its place in the log."""
        return {
            "run_id": self.run_id,
            "parent_hash": self.parent_hash,
            "commit_hash": self.commit_hash,
            "state_hash": self.state_hash,
            "code_hash": self.code_hash,
            "sealed_version": self.sealed.version,
            "next_entity_id": self.next_entity_id,
            "entity_count": self.entity_count,
            "command_count": self.command_count,
            "rejected_count": self.rejected_count,
            "started_at": self.started_at,
            "compute_ms": self.compute_ms,
            "persist_ms": self.persist_ms,
        }

    @property
    def facts(self) -> list[Fact]:
        """What the tick records: the rejections, itself, and the end of the run if it is the last."""
        tick = self.sealed.tick
        payload = {name: spelled(value) for name, value in self.values.items()}
        payload["commands_applied"] = self.commands_applied
        payload["archetypes"] = {key.hex(): count for key, count in self.archetype_counts.items()}
        payload |= self.ran
        facts = [*self.rejections, Fact(FactType.TICK_COMMITTED, tick, payload)]
        return [*facts, self.run_end.fact] if self.run_end is not None else facts


def spelled(value: Any) -> Any:
    """Spell a column's value as it stands in a fact's payload."""
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return iso_utc(value)
        case UUID():
            return str(value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Committed:
    """What follows a committed tick: the next one, sealed, or the end of the run.

    `pages_there` are the new pages that somebody had stored before, perhaps in other forms.
    """

    sealed: Sealed | None
    run_end: RunEnd | None
    pages_there: Collection[bytes]


def commit_tick(connection: Connection, commit: TickCommit) -> Committed:
    """Make a tick's outcome durable; its run goes on unless it ends with the tick, or was cancelled.

    Blobs go in before the log's lock is taken, so that appends wait for the small rows only. Raises
    `WorldBusyError` when the lease was lost, `WorldArchivedError` when the world was removed meanwhile;
    then nothing is written.
    """
    program = {} if commit.program is None else {commit.code_hash: commit.program}
    there = write_blobs(connection, commit.snapshots, commit.new_archetypes, program)
    now = lock_log(connection)
    commit = _with_progress(connection, commit)
    head_version, sealed = _advance_world(connection, commit, now)
    facts = commit.facts
    first_version = head_version - len(facts) + 1
    position = record_facts(connection, commit.world_id, facts, first_version=first_version, moment=now)
    place = {"world_id": commit.world_id, "tick": commit.sealed.tick}
    position += len(commit.rejections)
    connection.execute(_INSERT_TICK, place | {"position": position} | commit.values)
    for snapshot in commit.snapshots:
        write_snapshot(connection, snapshot)
    if commit.run_end is not None:
        end_run(connection, commit.run_id, commit.run_end, now)
    return Committed(sealed, commit.run_end, there)


def _with_progress(connection: Connection, commit: TickCommit) -> TickCommit:
    """Write a run's progress, and let it end with this tick if it was cancelled meanwhile."""
    completed, applied = commit.run_progress
    progress = {"run": commit.run_id, "completed": completed, "applied": applied}
    run = connection.execute(_ADVANCE_RUN, progress).one_or_none()
    is_complete = commit.run_end is not None and commit.run_end.status == "completed"
    if run is None or run.status != "cancelling" or is_complete:
        return commit
    end = run_end(
        commit.run_id,
        "cancelled",
        commit.sealed.tick,
        from_tick=run.from_tick,
        ticks_completed=completed,
        commands_applied=applied,
        error=run.error,
    )
    return replace(commit, run_end=end)


# Built once: a tick runs these every time, and building an expression costs as much as running it.
_NEW_HEAD = worlds.c.head_version + sa.bindparam("fact_count", type_=sa.BigInteger)
_HAS_COMMANDS = sa.exists().where(
    events.c.world_id == sa.bindparam("world"),
    events.c.tick == sa.bindparam("following"),
    events.c.kind == "command",
)
_ADVANCE_WORLD = (
    sa.update(worlds)
    .where(IS_HELD, worlds.c.committed_tick == sa.bindparam("before"), worlds.c.archived_at.is_(None))
    .values(
        committed_tick=sa.bindparam("tick"),
        open_tick=sa.bindparam("open"),
        head_version=_NEW_HEAD,
        sealed_version=sa.case((sa.bindparam("is_sealing"), _NEW_HEAD), else_=worlds.c.sealed_version),
        lease_until=sa.bindparam("until"),
    )
    .returning(worlds.c.head_version, worlds.c.next_entity_id, _HAS_COMMANDS.label("has_commands"))
)
_INSERT_TICK = ticks.insert()
_ADVANCE_RUN = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"))
    .values(ticks_completed=sa.bindparam("completed"), commands_applied=sa.bindparam("applied"))
    .returning(runs.c.status, runs.c.error, runs.c.from_tick)
)


def _advance_world(connection: Connection, commit: TickCommit, now: datetime) -> tuple[int, Sealed | None]:
    tick = commit.sealed.tick
    is_sealing = commit.run_end is None
    parameters = holder(commit.world_id, commit.lease, now, is_kept=is_sealing) | {
        "before": tick - 1,
        "tick": tick,
        "open": tick + 1 + is_sealing,
        "following": tick + 1,
        "fact_count": len(commit.rejections) + 1 + (not is_sealing),
        "is_sealing": is_sealing,
    }
    row = connection.execute(_ADVANCE_WORLD, parameters).one_or_none()
    if row is None:
        raise _refusal(connection, commit.world_id, tick)
    if not is_sealing:
        return row.head_version, None
    sealed = Sealed(tick + 1, row.head_version, row.next_entity_id, has_commands=row.has_commands)
    return row.head_version, sealed


def _refusal(connection: Connection, world_id: UUID, tick: int) -> Exception:
    world = find(connection, world_id)
    if world is None:
        return WorldNotFoundError(f"world {world_id} does not exist")
    if world.archived_at is not None:
        return WorldArchivedError(
            f"world {world.name!r} was removed while its tick {tick} was being computed"
        )
    msg = (
        f"world {world.name!r} was taken over by {world.lease_owner} while its tick {tick} was being computed"
    )
    return WorldBusyError(msg, owner=world.lease_owner, retry_after_s=1.0)
