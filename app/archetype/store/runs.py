"""Runs and leases: who runs a world, from which sealed tick on, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.clock import is_alive
from archetype.errors import RunEndedError, StateConflictError, WorldBusyError
from archetype.log.command import CommandType
from archetype.log.facts import Fact, FactType
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.append import append, lock_log
from archetype.store.log import record_facts
from archetype.store.run_rows import RunRow, find_run, is_leased
from archetype.store.schema import events, runs, worlds
from archetype.store.worlds import WorldRow, find

__all__ = [
    "ADVANCE_HEAD",
    "ENDED",
    "IS_HELD",
    "BegunRun",
    "Lease",
    "NewRun",
    "Outcome",
    "RunEnd",
    "Sealed",
    "begin_run",
    "cancel_run",
    "end_run",
    "finish_run",
    "holder",
    "renew_lease",
    "reserve_entity_ids",
    "run_end",
    "run_of",
    "write_run",
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


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended: `status` completed, stopped, failed or cancelled, why, and the fact of it.

    An episode that completed has an outcome too.
    """

    status: str
    error: str | None
    fact: Fact
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an episode: why it was over, and what it returned."""

    reason: str
    return_value: float | None


def run_end(
    run_id: UUID,
    status: str,
    tick: int,
    *,
    from_tick: int,
    ticks_completed: int,
    commands_applied: int,
    error: str | None = None,
    failure: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> RunEnd:
    """Return an end of a run in a tick, with the fact that records it and, if a tick failed, how."""
    payload: dict[str, Any] = {
        "run_id": str(run_id),
        "status": status,
        "from_tick": from_tick,
        "ticks_completed": ticks_completed,
        "commands_applied": commands_applied,
    }
    if error is not None:
        payload["error"] = error
    if failure:
        payload["failure"] = dict(failure)
    if outcome is not None:
        payload |= {"reason": outcome.reason, "return_value": outcome.return_value}
    return RunEnd(status, error, Fact(FactType.RUN_FINISHED, tick, payload), outcome)


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
        lease = _take_lease(world, run, now)
    except WorldBusyError:
        if not run.may_wait:
            raise
        return BegunRun(answer, write_run(connection, run, None, from_tick=world.tick))
    if row is not None and row.status == "cancelling":
        _end_unowned(connection, world, row, now=now)
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


ENDED = frozenset({"completed", "failed", "cancelled"})


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


def finish_run(
    connection: Connection,
    world_id: UUID,
    run_id: UUID,
    lease: Lease | None,
    *,
    status: str,
    error: str | None = None,
    failure: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> bool:
    """Close a run that ends without committing a further tick, record it, and give its lease back.

    How far it came is what its row says: whoever was cancelled may not know of its own last commit. False,
    and nothing is written, where it has ended already, or where the lease is another's by now: so is the
    run. Without a lease it is one that asked for no tick.
    """
    now = lock_log(connection)
    run = run_of(connection, run_id)
    if run.status in ENDED:
        return False
    if lease is None:
        world = connection.execute(ADVANCE_HEAD, {"world": world_id}).one()
    else:
        world = connection.execute(_GIVE_BACK, holder(world_id, lease, now, is_kept=False)).one_or_none()
    if world is None:
        return False
    end = run_end(
        run_id,
        status,
        world.committed_tick + 1,
        from_tick=run.from_tick,
        ticks_completed=run.ticks_completed,
        commands_applied=run.commands_applied,
        error=error,
        failure=failure,
        outcome=outcome,
    )
    record_facts(connection, world_id, [end.fact], first_version=world.head_version, moment=now)
    end_run(connection, run_id, end, now)
    return True


_NEXT_HEAD = worlds.c.head_version + 1
ADVANCE_HEAD = (
    sa.update(worlds)
    .where(worlds.c.world_id == sa.bindparam("world"))
    .values(head_version=_NEXT_HEAD)
    .returning(worlds.c.head_version, worlds.c.committed_tick)
)
_GIVE_BACK = (
    sa.update(worlds)
    .where(IS_HELD)
    .values(head_version=_NEXT_HEAD, lease_until=sa.bindparam("until"))
    .returning(worlds.c.head_version, worlds.c.committed_tick)
)


def _end_unowned(connection: Connection, world: WorldRow, run: RunRow, *, now: datetime) -> None:
    """Cancel a run that no living process computes, and keep out whoever only seemed to be dead."""
    if run.status not in {"waiting", "stopped"}:
        fenced = {"lease_epoch": world.lease_epoch + 1, "lease_until": now}
        connection.execute(sa.update(worlds).where(worlds.c.world_id == world.world_id).values(fenced))
    finish_run(connection, world.world_id, run.run_id, None, status="cancelled", error=run.error)


def cancel_run(
    connection: Connection, command: NewCommand, run_id: UUID, expected_version: int | None = None
) -> Answer | None:
    """Cancel a run by the command that asks for it, whose world is the run's; None if it has ended so.

    A run that a living process computes is cancelling until its next commit ends it, a rollout until its
    episodes have ended; any other ends here. Of one that is cancelling, whoever asks again is recorded too,
    and the first reason stays.
    Raises `RunEndedError` when it has ended otherwise; then nothing is written.
    """
    now = lock_log(connection)
    run = run_of(connection, run_id)
    if run.status == "cancelled":
        return None
    (answer,) = append(connection, [[command]], expected_version)
    world = find(connection, command.world_id)
    if answer.status is not Status.ACCEPTED or world is None or run.status == "cancelling":
        return answer
    if run.status in ENDED:
        msg = f"run {run_id} has {run.status} already; there is nothing left to cancel"
        raise RunEndedError(msg, run_id=str(run_id), run_status=run.status)
    run = replace(run, error=json.loads(command.payload).get("reason"))
    is_computed = run.status == "running" and is_leased(world.lease_owner, world.lease_until, now)
    if is_computed or _is_rollout(connection, run):
        values = {"status": "cancelling", "error": run.error}
        connection.execute(sa.update(runs).where(runs.c.run_id == run_id).values(values))
    else:
        _end_unowned(connection, world, run, now=now)
    return answer


def _is_rollout(connection: Connection, run: RunRow) -> bool:
    statement = sa.select(events.c.type).where(
        events.c.world_id == run.world_id, events.c.event_id == run.event_id
    )
    return connection.execute(statement).scalar() == CommandType.RUN_ROLLOUT


def run_of(connection: Connection, run_id: UUID) -> RunRow:
    """Return the run of that id, which must be there."""
    row = connection.execute(sa.select(*runs.columns).where(runs.c.run_id == run_id)).mappings().one()
    return RunRow(**row)


def end_run(connection: Connection, run_id: UUID, end: RunEnd, now: datetime) -> None:
    """Write into a run's row how it ended; its fact is the caller's to record."""
    outcome = end.outcome
    values = {
        "run": run_id,
        "end_status": end.status,
        "end_error": end.error,
        "now": now,
        "end_reason": outcome and outcome.reason,
        "end_return": outcome and outcome.return_value,
    }
    connection.execute(_END_RUN, values)


_END_RUN = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"))
    .values(
        status=sa.bindparam("end_status"),
        error=sa.bindparam("end_error"),
        finished_at=sa.bindparam("now"),
        reason=sa.bindparam("end_reason", type_=sa.String),
        return_value=sa.bindparam("end_return", type_=sa.Float(53)),
        owner=None,
        owner_until=None,
    )
)
