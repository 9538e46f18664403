"""Runs and leases: who runs a world, from which sealed tick on, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.clock import is_alive
from archetype.errors import (
    CorruptionError,
    StateConflictError,
    WorldBusyError,
)
from archetype.log.facts import Fact, FactType
from archetype.store.append import Answer, NewCommand, append, lock_log
from archetype.store.log import LogRow, log_row, record_facts
from archetype.store.schema import events, runs, ticks, worlds
from archetype.store.worlds import WorldRow, find

__all__ = [
    "IS_HELD",
    "BegunRun",
    "Lease",
    "NewRun",
    "RunEnd",
    "RunInput",
    "RunRow",
    "Sealed",
    "begin_run",
    "end_run",
    "find_run",
    "finish_run",
    "holder",
    "rejected_count",
    "renew_lease",
    "reserve_entity_ids",
    "run_input",
]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a world: the owner, its fencing token, and for how long at a time."""

    owner: str
    epoch: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Sealed:
    """A tick whose inputs are fixed, with what the world's row said when they were.

    `was_sealed` tells that an earlier run fixed them, and did not commit the tick.
    """

    tick: int
    version: int
    next_entity_id: int
    has_commands: bool
    was_sealed: bool = False


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
    was_sealed = world.open_tick > world.tick
    if was_sealed:
        version = world.sealed_version
    values = {
        "lease_owner": lease.owner,
        "lease_epoch": lease.epoch,
        "lease_until": now + timedelta(seconds=lease.ttl_s),
        "open_tick": world.tick + 1,
        "sealed_version": version,
    }
    connection.execute(sa.update(worlds).where(worlds.c.world_id == world.world_id).values(values))
    return Sealed(world.tick, version, world.next_entity_id, has_commands=True, was_sealed=was_sealed)


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
        raise StateConflictError(msg, run_id=str(run.run_id)) from error
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
    parameters = holder(world_id, lease, lock_log(connection))
    return connection.execute(_RENEW_LEASE, parameters).rowcount == 1


def reserve_entity_ids(
    connection: Connection, world_id: UUID, lease: Lease, *, tick: int, count: int
) -> int | None:
    """Take entity ids for what a tick spawns, and record it; return the first, None if the lease is lost.

    Ids of a tick that is never committed are not used again.
    """
    now = lock_log(connection)
    parameters = holder(world_id, lease, now) | {"count": count}
    row = connection.execute(_TAKE_IDS, parameters).one_or_none()
    if row is None:
        return None
    first_id = row.next_entity_id - count
    fact = Fact(FactType.ENTITY_IDS_RESERVED, tick, {"first_entity_id": first_id, "count": count})
    record_facts(connection, world_id, [fact], first_version=row.head_version, moment=now)
    return first_id


# Built once: building an expression costs as much as running it.
IS_HELD = sa.and_(
    worlds.c.world_id == sa.bindparam("world"),
    worlds.c.lease_owner == sa.bindparam("owner"),
    worlds.c.lease_epoch == sa.bindparam("epoch"),
)
_RENEW_LEASE = sa.update(worlds).where(IS_HELD).values(lease_until=sa.bindparam("until"))
_TAKE_IDS = (
    sa.update(worlds)
    .where(IS_HELD)
    .values(
        next_entity_id=worlds.c.next_entity_id + sa.bindparam("count", type_=sa.BigInteger),
        head_version=worlds.c.head_version + 1,
        lease_until=sa.bindparam("until"),
    )
    .returning(worlds.c.next_entity_id, worlds.c.head_version)
)


def holder(world_id: UUID, lease: Lease, now: datetime, *, is_kept: bool = True) -> dict[str, Any]:
    """Name a lease, and until when it holds: not a moment longer than its run."""
    until = now + timedelta(seconds=lease.ttl_s if is_kept else 0)
    return {"world": world_id, "owner": lease.owner, "epoch": lease.epoch, "until": until}


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
    end_run(connection, run_id, end, now)


def end_run(connection: Connection, run_id: UUID, end: RunEnd, now: datetime) -> None:
    """Write into a run's row how it ended; its fact is the caller's to record."""
    values = {"run": run_id, "end_status": end.status, "end_error": end.error, "now": now}
    connection.execute(_END_RUN, values)


_END_RUN = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"))
    .values(
        status=sa.bindparam("end_status"), error=sa.bindparam("end_error"), finished_at=sa.bindparam("now")
    )
)


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
