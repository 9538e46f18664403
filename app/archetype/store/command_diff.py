"""The commands that one past has and another has not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.log.lineage import Segment
from archetype.store.schema import events
from archetype.store.segments import owned_ticks

__all__ = ["DifferingCommand", "DifferingCommands", "commands_only_in"]


@dataclass(frozen=True, slots=True)
class DifferingCommand:
    """A command in short: `world_id` is the world in whose log it stands, `tick` the one it belongs to."""

    command_id: UUID
    world_id: UUID
    type: str
    tick: int
    due_tick: int
    priority: int
    version: int
    position: int
    actor_id: UUID | None
    recorded_at: datetime
    payload: dict[str, Any]
    has_batch: bool


@dataclass(frozen=True, slots=True)
class DifferingCommands:
    """How many commands there are, of which types, and the first of them by (tick, version)."""

    count: int
    count_by_type: Mapping[str, int]
    first: Sequence[DifferingCommand]


def commands_only_in(
    connection: Connection, own: Sequence[Segment], other: Sequence[Segment], limit: int
) -> DifferingCommands:
    """Return the commands of some segments that others have not.

    They have a command if one of theirs has the same id, type, payload, batch, due tick, priority and tick:
    a command that was copied into a fork is the same command. The database compares; no batch is read.
    """
    if not own:
        return DifferingCommands(0, {}, ())
    source = _commands(owned_ticks(connection, own, "own"))
    if other:
        mine = source.with_only_columns(events.c.position, events.c.event_id).cte("mine")
        theirs = _commands(owned_ticks(connection, other, "other")).cte("theirs")
        shared = _shared(mine, theirs).cte("shared")
        source = source.outerjoin(shared, shared.c.position == events.c.position).where(
            shared.c.position.is_(None)
        )
    counted = source.with_only_columns(events.c.type, sa.func.count().label("commands")).group_by(
        events.c.type
    )
    count_by_type = {row.type: row.commands for row in connection.execute(counted.order_by(events.c.type))}
    listed = source.with_only_columns(*_LISTED, events.c.batch.is_not(None).label("has_batch"))
    rows = connection.execute(listed.order_by(events.c.tick, events.c.version).limit(limit)).mappings()
    first = [_command(dict(row)) for row in rows]
    return DifferingCommands(sum(count_by_type.values()), count_by_type, first)


_LISTED = (
    events.c.event_id.label("command_id"),
    events.c.world_id,
    events.c.type,
    events.c.tick,
    events.c.due_tick,
    events.c.priority,
    events.c.version,
    events.c.position,
    events.c.actor_id,
    events.c.recorded_at,
    events.c.payload,
)


def _commands(owned: sa.FromClause) -> sa.Select[*tuple[Any, ...]]:
    return (
        sa.select(events.c.position, events.c.event_id)
        .select_from(owned)
        .join(events, events.c.world_id == owned.c.world_id)
        .where(
            events.c.kind == "command",
            events.c.tick >= owned.c.from_tick,
            events.c.tick < owned.c.to_tick,
        )
    )


def _shared(mine: sa.CTE, theirs: sa.CTE) -> sa.Select[*tuple[Any, ...]]:
    """Match by id first, which few commands share, so that few payloads and batches are compared."""
    one, other = events.alias("one"), events.alias("twin")
    contents = ("type", "payload", "batch", "due_tick", "priority", "tick")
    return (
        sa.select(mine.c.position)
        .join(theirs, theirs.c.event_id == mine.c.event_id)
        .join(one, one.c.position == mine.c.position)
        .join(other, other.c.position == theirs.c.position)
        .where(*(one.c[name].is_not_distinct_from(other.c[name]) for name in contents))
    )


def _command(values: dict[str, Any]) -> DifferingCommand:
    payload, has_batch = json.loads(values.pop("payload")), bool(values.pop("has_batch"))
    return DifferingCommand(**values, payload=payload, has_batch=has_batch)
