"""Ticks: sealing a tick's inputs under a lease, and committing its outcome, each in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.clock import is_alive
from archetype.core.archetype import Archetype
from archetype.errors import (
    ConflictError,
    CorruptionError,
    WorldArchivedError,
    WorldBusyError,
    WorldNotFoundError,
)
from archetype.log.facts import Fact, FactType
from archetype.log.hashes import iso_utc
from archetype.log.lineage import Stretch
from archetype.store.append import Answer, NewCommand, append, lock_log
from archetype.store.log import LogRow, log_row, record_facts
from archetype.store.schema import events, runs, ticks, worlds
from archetype.store.snapshots import TickSnapshot, read_archetypes, write_blobs, write_snapshot
from archetype.store.worlds import WorldRow, find

__all__ = [
    "BegunRun",
    "Lease",
    "NewRun",
    "RunEnd",
    "RunInput",
    "RunRow",
    "Sealed",
    "TickCommit",
    "TickCounts",
    "TickRow",
    "begin_run",
    "commit_tick",
    "find_run",
    "finish_run",
    "rejected_count",
    "renew_lease",
    "run_input",
    "spelled",
    "tick_counts",
    "tick_row",
    "tick_rows",
]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a world: the owner, its fencing token, and for how long at a time."""

    owner: str
    epoch: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Sealed:
    """A tick whose inputs are fixed, with what the world's row said when they were."""

    tick: int
    version: int
    next_entity_id: int
    has_commands: bool


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to begin: `command` is the step or run command that asks for it."""

    run_id: UUID
    command: NewCommand
    ticks_requested: int
    owner: str
    ttl_s: float
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as its row says; `status` is running, completed, failed or stopped."""

    run_id: UUID
    world_id: UUID
    event_id: UUID
    from_tick: int
    ticks_requested: int
    ticks_completed: int
    commands_applied: int
    status: str
    error: str | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def is_cut_short(self) -> bool:
        """Whether it has something to do that nothing but a crash or a stop kept it from."""
        return self.status in {"running", "stopped"}


@dataclass(frozen=True, slots=True)
class BegunRun:
    """How a run begins, or goes on after it was cut short: `run` is its row, if its command is in the log.

    With a `lease` it is the caller's to run, from `sealed` on (None if it asked for no tick); without
    one it has ended already.
    """

    answer: Answer
    run: RunRow | None = None
    world: WorldRow | None = None
    lease: Lease | None = None
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended: `status` completed, stopped or failed, why, and the fact that records it."""

    status: str
    error: str | None
    fact: Fact


@dataclass(frozen=True, slots=True)
class TickRow:
    """One committed tick as its row says: hashes of 32 bytes, durations in milliseconds."""

    world_id: UUID
    tick: int
    position: int
    run_id: UUID
    parent_hash: bytes
    commit_hash: bytes
    state_hash: bytes
    code_hash: bytes
    sealed_version: int
    next_entity_id: int
    entity_count: int
    command_count: int
    rejected_count: int
    started_at: datetime
    compute_ms: float
    persist_ms: float


@dataclass(frozen=True, slots=True)
class TickCommit:
    """All that one tick writes; `snapshots` are its own and the one before, as far as they are to be stored.

    `archetype_counts` are its active entities by archetype id, `new_archetypes` those that may not be stored.

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
    entity_count: int
    command_count: int
    rejected_count: int
    started_at: datetime
    compute_ms: float
    persist_ms: float
    rejections: Sequence[Fact]
    commands_applied: int
    archetype_counts: Mapping[bytes, int]
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
            "next_entity_id": self.sealed.next_entity_id,
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


def begin_run(connection: Connection, run: NewRun) -> BegunRun:
    """Accept a step or run command, take the world's lease and seal its first tick, all or nothing.

    A tick that was sealed before and never committed is taken up again with the inputs that it has. A
    retry of a command whose run was cut short goes on with it. Raises `WorldBusyError` while another
    living process holds the lease; a refused command is told by its answer, and nothing was written.
    """
    now = lock_log(connection)
    world_id = run.command.world_id
    world = find(connection, world_id)
    (answer,) = append(connection, [[run.command]], run.expected_version)
    if world is None or answer.version is None or not answer.status.is_in_log:
        return BegunRun(answer)
    row = find_run(connection, world_id, run.command.event_id)
    if row is not None and (world.archived_at is not None or not row.is_cut_short):
        return BegunRun(answer, row)
    lease = _take_lease(world, run, now)
    row = _write_run(connection, run, row, from_tick=world.tick)
    # A run that goes on seals behind everything in the log; its command may stand far before that.
    version = max(answer.version, world.head_version)
    sealed = _seal(connection, world, lease, now=now, version=version) if row.ticks_requested else None
    return BegunRun(answer, row, world, lease, sealed)


def _seal(connection: Connection, world: WorldRow, lease: Lease, *, now: datetime, version: int) -> Sealed:
    """Fix the inputs of the next tick, unless they were fixed before, and hold the lease."""
    if world.open_tick > world.tick:
        version = world.sealed_version
    values = {
        "lease_owner": lease.owner,
        "lease_epoch": lease.epoch,
        "lease_until": now + timedelta(seconds=lease.ttl_s),
        "open_tick": world.tick + 1,
        "sealed_version": version,
    }
    connection.execute(sa.update(worlds).where(worlds.c.world_id == world.world_id).values(values))
    return Sealed(world.tick, version, world.next_entity_id, has_commands=True)


def _write_run(connection: Connection, run: NewRun, before: RunRow | None, *, from_tick: int) -> RunRow:
    """Write the row of a new run, or let that of one which was cut short go on."""
    if before is not None:
        values = {"status": "running", "error": None, "finished_at": None}
        connection.execute(sa.update(runs).where(runs.c.run_id == before.run_id).values(values))
        return before
    command = run.command
    accepted_at = sa.select(events.c.recorded_at).where(
        events.c.world_id == command.world_id, events.c.event_id == command.event_id
    )
    values = {
        "run_id": run.run_id,
        "world_id": command.world_id,
        "event_id": command.event_id,
        "from_tick": from_tick,
        "ticks_requested": run.ticks_requested,
        "ticks_completed": 0,
        "commands_applied": 0,
        "status": "running",
        "started_at": accepted_at.scalar_subquery(),
    }
    try:
        row = connection.execute(runs.insert().values(values).returning(*runs.columns)).mappings().one()
    except IntegrityError as error:
        msg = f"run_id {run.run_id} was used before; leave it out, or give each run its own"
        raise ConflictError(msg, run_id=str(run.run_id)) from error
    return RunRow(**row)


def _take_lease(world: WorldRow, run: NewRun, now: datetime) -> Lease:
    owner, until = world.lease_owner, world.lease_until
    if owner is None or until is None or owner == run.owner:
        return Lease(run.owner, world.lease_epoch + (owner != run.owner), run.ttl_s)
    remaining_s = (until - now).total_seconds()
    if remaining_s > 0 and is_alive(owner):
        msg = f"world {world.name!r} is run by {owner} just now; try again in {remaining_s:.0f} s"
        raise WorldBusyError(msg, owner=owner, retry_after_s=max(remaining_s, 1.0))
    return Lease(run.owner, world.lease_epoch + 1, run.ttl_s)


def renew_lease(connection: Connection, world_id: UUID, lease: Lease) -> bool:
    """Hold a lease for longer; False when it belongs to another owner by now."""
    parameters = _holder(world_id, lease, lock_log(connection))
    return connection.execute(_RENEW_LEASE, parameters).rowcount == 1


def commit_tick(connection: Connection, commit: TickCommit) -> Sealed | None:
    """Make a tick's outcome durable and return the next tick if its run goes on, sealed.

    Blobs go in before the log's lock is taken, so that appends wait for the small rows only. Raises
    `WorldBusyError` when the lease was lost, `WorldArchivedError` when the world was removed meanwhile;
    then nothing is written.
    """
    program = {} if commit.program is None else {commit.code_hash: commit.program}
    write_blobs(connection, commit.snapshots, commit.new_archetypes, program)
    now = lock_log(connection)
    head_version, sealed = _advance_world(connection, commit, now)
    facts = commit.facts
    first_version = head_version - len(facts) + 1
    position = record_facts(connection, commit.world_id, facts, first_version=first_version, moment=now)
    place = {"world_id": commit.world_id, "tick": commit.sealed.tick}
    position += len(commit.rejections)
    connection.execute(ticks.insert(), place | {"position": position} | commit.values)
    for snapshot in commit.snapshots:
        write_snapshot(connection, snapshot)
    completed, applied = commit.run_progress
    connection.execute(_ADVANCE_RUN, {"run": commit.run_id, "completed": completed, "applied": applied})
    if commit.run_end is not None:
        _end_run(connection, commit.run_id, commit.run_end, now)
    return sealed


# Built once: a tick runs these every time, and building an expression costs as much as running it.
_IS_HELD = sa.and_(
    worlds.c.world_id == sa.bindparam("world"),
    worlds.c.lease_owner == sa.bindparam("owner"),
    worlds.c.lease_epoch == sa.bindparam("epoch"),
)
_RENEW_LEASE = sa.update(worlds).where(_IS_HELD).values(lease_until=sa.bindparam("until"))
_NEW_HEAD = worlds.c.head_version + sa.bindparam("fact_count", type_=sa.BigInteger)
_HAS_COMMANDS = sa.exists().where(
    events.c.world_id == sa.bindparam("world"),
    events.c.tick == sa.bindparam("following"),
    events.c.kind == "command",
)
_ADVANCE_WORLD = (
    sa.update(worlds)
    .where(_IS_HELD, worlds.c.committed_tick == sa.bindparam("before"), worlds.c.archived_at.is_(None))
    .values(
        committed_tick=sa.bindparam("tick"),
        open_tick=sa.bindparam("open"),
        head_version=_NEW_HEAD,
        sealed_version=sa.case((sa.bindparam("is_sealing"), _NEW_HEAD), else_=worlds.c.sealed_version),
        lease_until=sa.bindparam("until"),
    )
    .returning(worlds.c.head_version, worlds.c.next_entity_id, _HAS_COMMANDS.label("has_commands"))
)
_ADVANCE_RUN = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"))
    .values(ticks_completed=sa.bindparam("completed"), commands_applied=sa.bindparam("applied"))
)
_END_RUN = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"))
    .values(
        status=sa.bindparam("end_status"), error=sa.bindparam("end_error"), finished_at=sa.bindparam("now")
    )
)


def _advance_world(connection: Connection, commit: TickCommit, now: datetime) -> tuple[int, Sealed | None]:
    tick = commit.sealed.tick
    is_sealing = commit.run_end is None
    parameters = _holder(commit.world_id, commit.lease, now, is_kept=is_sealing) | {
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


def _holder(world_id: UUID, lease: Lease, now: datetime, *, is_kept: bool = True) -> dict[str, Any]:
    """Name a lease, and until when it holds: not a moment longer than its run."""
    until = now + timedelta(seconds=lease.ttl_s if is_kept else 0)
    return {"world": world_id, "owner": lease.owner, "epoch": lease.epoch, "until": until}


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


def _end_run(connection: Connection, run_id: UUID, end: RunEnd, now: datetime) -> None:
    values = {
        "run": run_id,
        "end_status": end.status,
        "end_error": end.error,
        "now": now,
    }
    connection.execute(_END_RUN, values)


def finish_run(connection: Connection, world_id: UUID, run_id: UUID, end: RunEnd) -> None:
    """Close a run that ends without committing a further tick, and record it."""
    now = lock_log(connection)
    statement = (
        sa.update(worlds)
        .where(worlds.c.world_id == world_id)
        .values(head_version=worlds.c.head_version + 1, lease_until=now)
        .returning(worlds.c.head_version)
    )
    version = connection.execute(statement).scalar_one()
    record_facts(connection, world_id, [end.fact], first_version=version, moment=now)
    _end_run(connection, run_id, end, now)


def find_run(connection: Connection, world_id: UUID, event_id: UUID) -> RunRow | None:
    """Return the run that a step or run command began."""
    statement = sa.select(*runs.columns).where(runs.c.world_id == world_id, runs.c.event_id == event_id)
    row = connection.execute(statement).mappings().one_or_none()
    return RunRow(**row) if row else None


def rejected_count(connection: Connection, run: RunRow) -> int:
    """Count the commands that could not be applied in the ticks of a run."""
    statement = sa.select(sa.func.coalesce(sa.func.sum(ticks.c.rejected_count), 0)).where(
        ticks.c.world_id == run.world_id, ticks.c.tick >= run.from_tick, ticks.c.run_id == run.run_id
    )
    return int(connection.execute(statement).scalar_one())


def tick_row(connection: Connection, owner_id: UUID, tick: int) -> TickRow | None:
    """Return a committed tick by the world that owns it."""
    statement = sa.select(*ticks.columns).where(ticks.c.world_id == owner_id, ticks.c.tick == tick)
    row = connection.execute(statement).mappings().one_or_none()
    return TickRow(**row) if row else None


def tick_rows(connection: Connection, stretch: Stretch) -> list[TickRow]:
    """Return the committed ticks of a stretch, in order."""
    statement = sa.select(*ticks.columns).where(*_within(stretch)).order_by(ticks.c.tick)
    return [TickRow(**row) for row in connection.execute(statement).mappings()]


def _within(stretch: Stretch) -> tuple[sa.ColumnElement[bool], ...]:
    first, end = ticks.c.tick >= stretch.from_tick, ticks.c.tick < stretch.to_tick
    return ticks.c.world_id == stretch.world_id, first, end


@dataclass(frozen=True, slots=True)
class TickCounts:
    """What a world holds after a tick: its active entities by archetype."""

    tick: int
    by_archetype: Mapping[Archetype, int]

    @property
    def entity_count(self) -> int:
        """How many entities are active."""
        return sum(self.by_archetype.values())


def tick_counts(
    connection: Connection, stretches: Sequence[Stretch], known: dict[bytes, Archetype]
) -> list[TickCounts]:
    """Count entities after each tick of these stretches, in order, from what the ticks recorded.

    `known` holds the archetypes that were read before, and takes in those that were not.
    """
    recorded: list[tuple[int, Mapping[str, int]]] = []
    for stretch in stretches:
        statement = (
            sa.select(ticks.c.tick, events.c.payload)
            .join(events, events.c.position == ticks.c.position)
            .where(*_within(stretch))
            .order_by(ticks.c.tick)
        )
        recorded.extend(
            (row.tick, json.loads(row.payload)["archetypes"]) for row in connection.execute(statement)
        )
    named = {bytes.fromhex(key) for _, counts in recorded for key in counts}
    if missing := named - known.keys():
        known.update(read_archetypes(connection, missing))
    return [
        TickCounts(tick, {known[bytes.fromhex(key)]: count for key, count in counts.items()})
        for tick, counts in recorded
    ]


@dataclass(frozen=True, slots=True)
class RunInput:
    """What a run gave each of its ticks, from the command that asked for it."""

    command: LogRow

    @property
    def values(self) -> Mapping[str, Any]:
        """The inputs by name."""
        return self.command.payload["inputs"]

    @property
    def is_debug(self) -> bool:
        """Whether processors were told to debug."""
        return self.command.payload["debug"]


def run_input(connection: Connection, run_id: UUID) -> RunInput:
    """Return what a run gave its ticks, unchecked; `CorruptionError` if its command is missing."""
    statement = (
        sa.select(*events.columns)
        .join(runs, sa.and_(runs.c.world_id == events.c.world_id, runs.c.event_id == events.c.event_id))
        .where(runs.c.run_id == run_id)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        msg = f"run {run_id} is missing, or the command that asked for it"
        raise CorruptionError(msg, run_id=str(run_id))
    return RunInput(log_row(row))
