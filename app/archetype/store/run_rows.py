"""Runs as their rows say: found, listed, and those that somebody has to take up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from archetype.errors import CorruptionError
from archetype.log.command import CommandType
from archetype.log.facts import FactType
from archetype.store.leases import is_leased
from archetype.store.log import LogRow, log_row
from archetype.store.moments import database_now
from archetype.store.schema import UNFINISHED, events, runs, ticks, worlds

__all__ = [
    "Interrupted",
    "RunInput",
    "RunRow",
    "RunSpan",
    "RunTotals",
    "RunView",
    "find_run",
    "find_view",
    "interrupted",
    "last_ticks",
    "list_views",
    "run_input",
    "run_row",
    "run_span",
    "run_totals",
]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as its row says; `from_tick` is the world's next tick when it was asked for.

    `status` is waiting, running, stopped or cancelling, or how it ended: completed, failed or cancelled. An
    episode that completed has a `reason` and what it returned; a rollout under way has an owner.
    """

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
    reason: str | None = None
    return_value: float | None = None
    owner: str | None = None
    owner_until: datetime | None = None

    @property
    def is_cut_short(self) -> bool:
        """Whether it has something to do that nothing but its turn, a crash or a stop keeps it from."""
        return self.status in {"waiting", "running", "stopped"}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its world's name, and whether the world was removed."""

    row: RunRow
    world: str
    is_world_removed: bool


_RUN_COLUMNS = tuple(runs.columns)
_VIEW = sa.select(
    *_RUN_COLUMNS, worlds.c.name.label("world"), worlds.c.archived_at.is_not(None).label("is_removed")
).join(worlds, worlds.c.world_id == runs.c.world_id)


def run_row(values: RowMapping) -> RunRow:
    """Read a run's own columns off a row, which may have others."""
    return RunRow(**{column.name: values[column.name] for column in _RUN_COLUMNS})


def _view(values: RowMapping) -> RunView:
    return RunView(run_row(values), values["world"], bool(values["is_removed"]))


def find_run(connection: Connection, world_id: UUID, event_id: UUID) -> RunRow | None:
    """Return the run that a step or run command began."""
    statement = sa.select(*_RUN_COLUMNS).where(runs.c.world_id == world_id, runs.c.event_id == event_id)
    row = connection.execute(statement).mappings().one_or_none()
    return run_row(row) if row else None


def find_view(connection: Connection, run_id: UUID) -> RunView | None:
    """Return the run of that id."""
    row = connection.execute(_VIEW.where(runs.c.run_id == run_id)).mappings().one_or_none()
    return _view(row) if row else None


def list_views(
    connection: Connection, world_id: UUID, *, before: UUID | None = None, limit: int
) -> list[RunView]:
    """Return a world's own runs by id, the newest first, below `before`."""
    statement = _VIEW.where(runs.c.world_id == world_id).order_by(runs.c.run_id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(runs.c.run_id < before)
    return [_view(row) for row in connection.execute(statement).mappings()]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that is not finished, with the command that asked for it."""

    run: RunRow
    command: LogRow


def interrupted(connection: Connection, owner: str) -> list[Interrupted]:
    """Return the unfinished runs that this owner may take up, the oldest first, unchecked.

    Those of worlds that live, and that no other living process holds, of rollouts those that none computes;
    what it runs itself is among them.
    """
    statement = (
        sa.select(
            *(column.label(f"run_{column.name}") for column in _RUN_COLUMNS),
            *events.columns,
            worlds.c.lease_owner,
            worlds.c.lease_until,
        )
        .join(worlds, worlds.c.world_id == runs.c.world_id)
        .join(events, sa.and_(events.c.world_id == runs.c.world_id, events.c.event_id == runs.c.event_id))
        .where(sa.text(f"runs.{UNFINISHED}"), worlds.c.archived_at.is_(None))
        .order_by(runs.c.run_id)
    )
    found: list[Interrupted] = []
    rows = connection.execute(statement).all()
    if not rows:
        return found
    now = database_now(connection)
    for row in rows:
        run = RunRow(**{column.name: getattr(row, f"run_{column.name}") for column in _RUN_COLUMNS})
        holder, until = row.lease_owner, row.lease_until
        if row.type == CommandType.RUN_ROLLOUT:
            holder, until = run.owner, run.owner_until
        if holder == owner or not is_leased(holder, until, now):
            found.append(Interrupted(run, log_row(row)))
    return found


@dataclass(frozen=True, slots=True)
class RunSpan:
    """The ticks `from_tick` <= t < `to_tick` that a run computed; others may lie between them.

    Without a tick it is where the run ended, or was asked for. `commit_hash` is the last one's, if any,
    `rejected_count` the commands that could not be applied.
    """

    from_tick: int
    to_tick: int
    commit_hash: bytes | None
    rejected_count: int


_SPANS = sa.select(
    sa.func.min(ticks.c.tick).label("first"),
    sa.func.max(ticks.c.tick).label("last"),
    sa.func.sum(ticks.c.rejected_count).label("rejected_count"),
).group_by(ticks.c.run_id)


def run_span(connection: Connection, run: RunRow) -> RunSpan:
    """Return which ticks a run computed, and what they come to."""
    own = (ticks.c.world_id == run.world_id, ticks.c.tick >= run.from_tick, ticks.c.run_id == run.run_id)
    row = connection.execute(_SPANS.where(*own)).one_or_none()
    if row is None:
        tick = _ended_at(connection, run)
        return RunSpan(tick, tick, None, 0)
    commit = sa.select(ticks.c.commit_hash).where(ticks.c.world_id == run.world_id, ticks.c.tick == row.last)
    commit_hash = bytes(connection.execute(commit).scalar_one())
    return RunSpan(row.first, row.last + 1, commit_hash, int(row.rejected_count))


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What the ticks of a run come to: commands that could not be applied, and the tick behind its last."""

    rejected_count: int
    next_tick: int


def run_totals(connection: Connection, run: RunRow) -> RunTotals:
    """Sum the ticks of a run up; without one it stands where it was asked for."""
    span = run_span(connection, run)
    return RunTotals(span.rejected_count, run.from_tick if span.commit_hash is None else span.to_tick)


def last_ticks(connection: Connection, world_id: UUID) -> set[int]:
    """Return the last tick of each run of a world that has one."""
    return {row.last for row in connection.execute(_SPANS.where(ticks.c.world_id == world_id))}


def _ended_at(connection: Connection, run: RunRow) -> int:
    """Return the world's next tick when a run ended, or as long as it has not, when it was asked for."""
    asked = sa.select(events.c.version).where(
        events.c.world_id == run.world_id, events.c.event_id == run.event_id
    )
    statement = (
        sa.select(events.c.tick)
        .where(
            events.c.world_id == run.world_id,
            events.c.version > asked.scalar_subquery(),
            events.c.type == FactType.RUN_FINISHED,
            events.c.payload.contains(f'"run_id":"{run.run_id}"', autoescape=True),
        )
        .order_by(events.c.version.desc())
        .limit(1)
    )
    tick = connection.scalar(statement)
    return run.from_tick if tick is None else tick


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
