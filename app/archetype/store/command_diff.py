"""The commands that one past has and another has not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.log.lineage import Segment
from archetype.store.given import given_rows, owned_ticks
from archetype.store.schema import events

__all__ = ["DifferingCommand", "DifferingCommands", "differing_commands"]


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


_NONE = DifferingCommands(0, {}, ())


def differing_commands(
    connection: Connection, a: Sequence[Segment], b: Sequence[Segment], limit: int
) -> tuple[DifferingCommands, DifferingCommands]:
    """Return the commands that only `a` has, and those that only `b` has.

    Both have a command if it has the same id, type, payload, batch, due tick, priority and tick in both: one
    that was copied into a fork is the same command. The database compares; no batch is read.
    """
    shared_a, shared_b = _shared(connection, a, b) if a and b else ((), ())
    return _only(connection, a, shared_a, limit), _only(connection, b, shared_b, limit)


def _only(
    connection: Connection, segments: Sequence[Segment], shared: Sequence[int], limit: int
) -> DifferingCommands:
    if not segments:
        return _NONE
    commands = _commands(connection, segments)
    if shared:
        positions = [(position,) for position in shared]
        given = given_rows(connection, {"position": sa.BigInteger}, positions, name="shared")
        commands = commands.where(events.c.position.not_in(sa.select(given.c.position)))
    counted = commands.with_only_columns(events.c.type, sa.func.count().label("commands"))
    counted = counted.group_by(events.c.type).order_by(events.c.type)
    count_by_type = {row.type: row.commands for row in connection.execute(counted)}
    if not count_by_type:
        return _NONE
    listed = commands.with_only_columns(*_LISTED, events.c.batch.is_not(None).label("has_batch"))
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


def _commands(connection: Connection, segments: Sequence[Segment]) -> sa.Select[*tuple[Any, ...]]:
    owned = owned_ticks(connection, segments)
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


def _shared(
    connection: Connection, a: Sequence[Segment], b: Sequence[Segment]
) -> tuple[list[int], list[int]]:
    """Return the positions of the commands that both have, on either side.

    Few have an id in common, so that few contents are compared. One pass over the ids finds them: a join
    of both sides would take what plan the statistics of the moment suggest.
    """
    sides = [
        _commands(connection, segments).add_columns(sa.literal(number).label("side"))
        for number, segments in enumerate((a, b))
    ]
    every = sa.union_all(*sides).subquery("every")
    counted = sa.select(
        every,
        sa.func.min(every.c.side).over(partition_by=every.c.event_id).label("first_side"),
        sa.func.max(every.c.side).over(partition_by=every.c.event_id).label("last_side"),
    ).subquery("counted")
    common = sa.select(counted).where(counted.c.first_side != counted.c.last_side)
    found: dict[UUID, tuple[list[int], list[int]]] = {}
    for row in connection.execute(common):
        found.setdefault(row.event_id, ([], []))[row.side].append(row.position)
    pairs = [pair for positions in found.values() for pair in product(*positions)]
    if not pairs:
        return [], []
    same = connection.execute(_same_content(connection, pairs)).all()
    return [row.a for row in same], [row.b for row in same]


def _same_content(connection: Connection, pairs: Sequence[tuple[int, ...]]) -> sa.Select[*tuple[Any, ...]]:
    given = given_rows(connection, {"a": sa.BigInteger, "b": sa.BigInteger}, pairs, name="pairs")
    one, other = events.alias("one"), events.alias("other")
    contents = ("type", "payload", "batch", "due_tick", "priority", "tick")
    return (
        sa.select(given.c.a, given.c.b)
        .join(one, one.c.position == given.c.a)
        .join(other, other.c.position == given.c.b)
        .where(*(one.c[name].is_not_distinct_from(other.c[name]) for name in contents))
    )


def _command(values: dict[str, Any]) -> DifferingCommand:
    payload, has_batch = json.loads(values.pop("payload")), bool(values.pop("has_batch"))
    return DifferingCommand(**values, payload=payload, has_batch=has_batch)
