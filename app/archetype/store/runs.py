"""Runs that begin, or go on after they were cut short: accepted, leased and sealed in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.errors import StateConflictError, WorldBusyError
from archetype.log.command import CommandType
from archetype.store.acceptance import Answer, NewCommand
from archetype.store.append import append, lock_log
from archetype.store.leases import Lease, take_lease
from archetype.store.run_ends import ENDED, end_unowned
from archetype.store.run_rows import RunRow, find_run
from archetype.store.schema import events, runs, worlds
from archetype.store.worlds import WorldRow, find

__all__ = ["BegunRun", "NewRun", "Sealed", "begin_run", "write_run"]


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
    """A run to begin: `command` is the step or run command that asks for it.

    One that `may_wait` is only accepted, for somebody to begin it later. An episode begins on the state after
    `judged_tick`, and where that `is_over` already, it takes no tick.
    """

    run_id: UUID
    command: NewCommand
    ticks_requested: int
    owner: str
    ttl_s: float
    expected_version: int | None = None
    may_wait: bool = False
    judged_tick: int | None = None
    is_over: bool = False


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


def begin_run(connection: Connection, run: NewRun) -> BegunRun:
    """Accept a step or run command, take the world's lease and seal its first tick, all or nothing.

    A tick that was sealed before and never committed is taken up again with the inputs that it has. A
    retry of a command whose run was cut short goes on with it. Raises `WorldBusyError` while another
    living process holds the lease, unless the run may wait; a refused command is told by its answer, and
    nothing was written.
    """
    now = lock_log(connection)
    world_id = run.command.world_id
    world = find(connection, world_id)
    (answer,) = append(connection, [[run.command]], run.expected_version)
    if world is None or answer.version is None or not answer.status.is_in_log:
        return BegunRun(answer)
    row = find_run(connection, world_id, run.command.event_id)
    if row is not None and (run.may_wait or world.archived_at is not None or row.status in ENDED):
        return BegunRun(answer, row)
    if run.may_wait and run.command.type == CommandType.RUN_EPISODE:
        # It may be over before its first tick, which is not to be sealed then.
        return BegunRun(answer, write_run(connection, run, None, from_tick=world.tick))
    try:
        lease = take_lease(world, run.owner, run.ttl_s, now=now)
    except WorldBusyError:
        if not run.may_wait:
            raise
        return BegunRun(answer, write_run(connection, run, None, from_tick=world.tick))
    if row is not None and row.status == "cancelling":
        end_unowned(connection, world, row, now=now)
        return BegunRun(answer, replace(row, status="cancelled"))
    row = write_run(connection, run, row, from_tick=world.tick)
    is_over = run.is_over and not row.ticks_completed
    if run.judged_tick not in {None, world.committed_tick}:
        msg = f"world {world.name!r} went on while the episode was to begin; try again"
        raise WorldBusyError(msg, retry_after_s=1.0)
    # A run that goes on seals behind everything in the log; its command may stand far before that.
    version = max(answer.version, world.head_version)
    if is_over or not row.ticks_requested:
        return BegunRun(answer, row, world, lease)
    sealed = _seal(connection, world, lease, now=now, version=version)
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


def write_run(connection: Connection, run: NewRun, before: RunRow | None, *, from_tick: int) -> RunRow:
    """Write the row of a new run, or let that of one which was cut short go on."""
    if before is not None:
        values = {"status": "running", "error": None, "finished_at": None}
        connection.execute(sa.update(runs).where(runs.c.run_id == before.run_id).values(values))
        return replace(before, status="running", error=None, finished_at=None)
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
        "status": "waiting" if run.may_wait else "running",
        "started_at": accepted_at.scalar_subquery(),
    }
    try:
        row = connection.execute(runs.insert().values(values).returning(*runs.columns)).mappings().one()
    except IntegrityError as error:
        msg = f"run_id {run.run_id} was used before; leave it out, or give each run its own"
        raise StateConflictError(msg, run_id=str(run.run_id)) from error
    return RunRow(**row)
