"""How runs end: completed, stopped, failed or cancelled, and the fact that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.errors import RunEndedError
from archetype.log.command import CommandType
from archetype.log.facts import Fact, FactType
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.append import append, lock_log
from archetype.store.leases import IS_HELD, Lease, holder, is_leased
from archetype.store.log import record_facts
from archetype.store.run_rows import RunRow
from archetype.store.schema import events, runs, worlds
from archetype.store.worlds import WorldRow, find

__all__ = [
    "ADVANCE_HEAD",
    "ENDED",
    "Outcome",
    "RunEnd",
    "cancel_run",
    "end_run",
    "end_unowned",
    "finish_run",
    "run_end",
    "run_of",
]

ENDED = frozenset({"completed", "failed", "cancelled"})
"""What a run's status is once nothing more will come of it."""


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


def end_unowned(connection: Connection, world: WorldRow, run: RunRow, *, now: datetime) -> None:
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
        end_unowned(connection, world, run, now=now)
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
