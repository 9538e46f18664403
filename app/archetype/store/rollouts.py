"""Rollouts: who computes one, which of its episodes are over, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.errors import WorldArchivedError, WorldBusyError
from archetype.log.facts import Fact, FactType
from archetype.store.append import append, lock_log
from archetype.store.leases import is_leased
from archetype.store.log import record_facts
from archetype.store.run_ends import ADVANCE_HEAD, ENDED, end_run, run_end, run_of
from archetype.store.run_rows import RunRow, find_run
from archetype.store.runs import BegunRun, NewRun, write_run
from archetype.store.schema import events, runs
from archetype.store.worlds import WorldRow, find

__all__ = [
    "EpisodeEnd",
    "Holder",
    "accept_rollout",
    "claim_rollout",
    "episode_facts",
    "finish_rollout",
    "hold_rollout",
    "record_episode",
]


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that computes a rollout, and for how long at a time it says so."""

    run_id: UUID
    owner: str
    ttl_s: float


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """An episode that is over: what the fact of it says, and what it adds to the rollout's row."""

    fact: Mapping[str, Any]
    steps: int
    commands_applied: int


def accept_rollout(connection: Connection, rollout: NewRun) -> BegunRun:
    """Accept a rollout's command and write its row, which waits for somebody to compute it.

    A retry is answered with the row as it is now; a refused command is told by its answer.
    """
    lock_log(connection)
    world_id = rollout.command.world_id
    world = find(connection, world_id)
    (answer,) = append(connection, [[rollout.command]], rollout.expected_version)
    if world is None or not answer.status.is_in_log:
        return BegunRun(answer)
    row = find_run(connection, world_id, rollout.command.event_id)
    return BegunRun(answer, row or write_run(connection, rollout, None, from_tick=world.tick))


def claim_rollout(connection: Connection, holder: Holder) -> RunRow:
    """Take a rollout over, and return its row: running, cancelling, or ended and nobody's.

    Raises `WorldBusyError` while another living process computes it.
    """
    now = lock_log(connection)
    run = run_of(connection, holder.run_id)
    if run.status in ENDED:
        return run
    if run.owner != holder.owner and is_leased(run.owner, run.owner_until, now):
        msg = f"rollout {run.run_id} is computed by {run.owner} just now"
        raise WorldBusyError(msg, owner=run.owner, retry_after_s=holder.ttl_s)
    values: dict[str, Any] = {
        "owner": holder.owner,
        "owner_until": now + timedelta(seconds=holder.ttl_s),
        "finished_at": None,
    }
    if run.status != "cancelling":
        values |= {"status": "running", "error": None}
    connection.execute(sa.update(runs).where(runs.c.run_id == run.run_id).values(values))
    return replace(run, **values)


def hold_rollout(connection: Connection, holder: Holder) -> str:
    """Say that a rollout is still computed, and return its status.

    Raises `WorldBusyError` when another process has taken it over.
    """
    return _advance(connection, holder).status


def record_episode(connection: Connection, holder: Holder, end: EpisodeEnd) -> str:
    """Record in the base world's log that an episode is over, and return the rollout's status.

    Raises `WorldBusyError` when another process has taken the rollout over, and `WorldArchivedError` when the
    base world was removed; then nothing is written.
    """
    run = _advance(connection, holder, end)
    _record(connection, run, FactType.EPISODE_FINISHED, end.fact)
    return run.status


def finish_rollout(connection: Connection, holder: Holder, status: str, error: str | None = None) -> None:
    """Close a rollout as completed, failed, cancelled or stopped; a cancelled one keeps its reason.

    Raises as `record_episode` does.
    """
    run = _advance(connection, holder)
    world = _living(connection, run)
    end = run_end(
        run.run_id,
        status,
        world.tick,
        from_tick=run.from_tick,
        ticks_completed=run.ticks_completed,
        commands_applied=run.commands_applied,
        error=run.error if status == "cancelled" else error,
    )
    now = _record(connection, run, end.fact.type, end.fact.payload)
    end_run(connection, run.run_id, end, now)


def _advance(connection: Connection, holder: Holder, end: EpisodeEnd | None = None) -> RunRow:
    """Hold a rollout for longer, with one more episode in its row, and return it."""
    now = lock_log(connection)
    values = {
        "run": holder.run_id,
        "held_by": holder.owner,
        "until": now + timedelta(seconds=holder.ttl_s),
        "steps": 0 if end is None else end.steps,
        "applied": 0 if end is None else end.commands_applied,
    }
    row = connection.execute(_ADVANCE, values).mappings().one_or_none()
    if row is None:
        msg = f"rollout {holder.run_id} was taken over by another process"
        raise WorldBusyError(msg, retry_after_s=holder.ttl_s)
    return RunRow(**row)


_ADVANCE = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("run"), runs.c.owner == sa.bindparam("held_by"))
    .values(
        ticks_completed=runs.c.ticks_completed + sa.bindparam("steps", type_=sa.BigInteger),
        commands_applied=runs.c.commands_applied + sa.bindparam("applied", type_=sa.BigInteger),
        owner_until=sa.bindparam("until"),
    )
    .returning(*runs.columns)
)


def _living(connection: Connection, run: RunRow) -> WorldRow:
    world = find(connection, run.world_id)
    if world is None or world.archived_at is not None:
        msg = f"world {run.world_id} was removed while its rollout was computed"
        raise WorldArchivedError(msg)
    return world


def _record(connection: Connection, run: RunRow, kind: FactType, payload: Mapping[str, Any]) -> Any:
    """Record a fact about a rollout in its world's log, and return the time of it."""
    now = lock_log(connection)
    fact = Fact(kind, _living(connection, run).tick, payload, cause_id=run.event_id)
    version = connection.execute(ADVANCE_HEAD, {"world": run.world_id}).scalar_one()
    record_facts(connection, run.world_id, [fact], first_version=version, moment=now)
    return now


def episode_facts(connection: Connection, run: RunRow) -> list[Mapping[str, Any]]:
    """Return what the log says of a rollout's episodes that are over, in the order in which they ended."""
    statement = (
        sa.select(events.c.payload)
        .where(
            events.c.world_id == run.world_id,
            events.c.cause_id == run.event_id,
            events.c.type == FactType.EPISODE_FINISHED.value,
        )
        .order_by(events.c.version)
    )
    return [json.loads(payload) for payload in connection.scalars(statement)]
