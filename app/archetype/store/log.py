"""The log: recording facts, and reading them and the commands back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from archetype.clock import new_id
from archetype.errors import CorruptionError
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandStatus
from archetype.log.facts import Fact
from archetype.log.hashes import HashedEvent, event_hash
from archetype.store.acceptance import NewCommand
from archetype.store.given import is_given
from archetype.store.schema import events, log_head, worlds

__all__ = [
    "Copied",
    "LogRow",
    "Waiting",
    "checked",
    "commands_of_tick",
    "copy_waiting",
    "first_commands",
    "log_row",
    "pending",
    "pending_count",
    "record_facts",
    "row_at",
    "write_first_commands",
]


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the log as it is read; a command that `history` reads has what became of it."""

    event: HashedEvent
    hash: bytes
    status: CommandStatus | None = None
    reason: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The payload, parsed."""
        return json.loads(self.event.payload)

    @property
    def entity_count(self) -> int:
        """How many entity ids a spawn was given, from `first_entity_id` on; 0 for anything else."""
        if self.event.first_entity_id is None:
            return 0
        return self.payload["row_count"] if self.event.batch is not None else 1

    @property
    def next_entity_id(self) -> int:
        """The lowest id behind those that it was given, 1 without any."""
        first = self.event.first_entity_id
        return 1 if first is None else first + self.entity_count


_INSERT = events.insert()
_ADVANCE = (
    sa.update(log_head)
    .values(position=log_head.c.position + sa.bindparam("count"))
    .returning(log_head.c.position)
)


def record_facts(
    connection: Connection, world_id: UUID, facts: Sequence[Fact], *, first_version: int, moment: datetime
) -> int:
    """Write facts behind everything in the log and return the position of the first.

    The caller took the log's lock at `moment`, and has advanced the world's head to cover them.
    """
    position = _take_positions(connection, len(facts))
    recorded: list[HashedEvent] = []
    for offset, fact in enumerate(facts):
        event = HashedEvent(
            position=position + offset,
            world_id=world_id,
            version=first_version + offset,
            event_id=new_id(),
            kind="fact",
            type=fact.type,
            schema_version=1,
            due_tick=fact.tick,
            tick=fact.tick,
            priority=0,
            actor_id=None,
            cause_id=fact.cause_id,
            first_entity_id=None,
            recorded_at=moment,
            batch=None,
            payload=canonical_json(fact.payload),
        )
        recorded.append(event)
    _write(connection, recorded)
    return position


def _take_positions(connection: Connection, count: int) -> int:
    """Return the first of the next `count` positions."""
    return connection.execute(_ADVANCE, {"count": count}).scalar_one() - count + 1


def _write(connection: Connection, recorded: Sequence[HashedEvent]) -> None:
    rows = [event._asdict() | {"hash": event_hash(event)} for event in recorded]
    connection.execute(_INSERT, rows)


def write_first_commands(
    connection: Connection, firsts: Sequence[tuple[NewCommand, int]], *, moment: datetime
) -> None:
    """Write the commands that make worlds, each as version 1 of its own and in the tick beside it.

    The caller took the log's lock at `moment`, and knows that none of the worlds is there yet: what an append
    would have to look up is known.
    """
    position = _take_positions(connection, len(firsts))
    recorded = [
        HashedEvent(
            position=position + offset,
            world_id=command.world_id,
            version=1,
            event_id=command.event_id,
            kind="command",
            type=command.type,
            schema_version=command.schema_version,
            due_tick=command.due_tick,
            tick=tick,
            priority=command.priority,
            actor_id=command.actor_id,
            cause_id=None,
            first_entity_id=None,
            recorded_at=moment,
            batch=None,
            payload=command.payload,
        )
        for offset, (command, tick) in enumerate(firsts)
    ]
    _write(connection, recorded)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The commands of these types that waited in a world behind a tick, before a position if one is given."""

    world_id: UUID
    tick: int
    types: Sequence[str]
    before_position: int | None


@dataclass(frozen=True, slots=True)
class Copied:
    """How many commands were copied, and the lowest entity id that is free behind them."""

    count: int
    next_entity_id: int


def copy_waiting(
    connection: Connection, waiting: Waiting, world_id: UUID, *, cause_id: UUID, moment: datetime
) -> Copied:
    """Write commands that wait in one world into the log of its new fork, in their order.

    Each keeps its id, tick, actor and assigned entity ids, and names the fork's own command as its cause.
    The caller took the log's lock at `moment`, wrote that command as version 1, and advances the head.
    """
    statement = (
        sa.select(*events.columns)
        .where(
            events.c.world_id == waiting.world_id,
            events.c.kind == "command",
            events.c.tick > waiting.tick,
            events.c.type.in_(waiting.types),
        )
        .order_by(events.c.version)
    )
    if waiting.before_position is not None:
        statement = statement.where(events.c.position < waiting.before_position)
    rows = checked([log_row(row) for row in connection.execute(statement)])
    if not rows:
        return Copied(0, 1)
    position = _take_positions(connection, len(rows))
    copies = [
        row.event._replace(
            position=position + offset,
            world_id=world_id,
            version=2 + offset,
            cause_id=cause_id,
            recorded_at=moment,
        )
        for offset, row in enumerate(rows)
    ]
    _write(connection, copies)
    return Copied(len(rows), max(row.next_entity_id for row in rows))


def commands_of_tick(connection: Connection, world_id: UUID, tick: int) -> list[LogRow]:
    """Return the commands of a tick in the order in which they are applied, unchecked."""
    statement = (
        sa.select(*events.columns)
        .where(events.c.world_id == world_id, events.c.tick == tick, events.c.kind == "command")
        .order_by(events.c.due_tick, events.c.priority, events.c.version)
    )
    return [log_row(row) for row in connection.execute(statement)]


def first_commands(connection: Connection, world_ids: Sequence[UUID]) -> list[LogRow]:
    """Return the commands that made worlds, in the order of their ids here, unchecked; of those there are."""
    statement = sa.select(*events.columns).where(
        is_given(connection, events.c.world_id, world_ids), events.c.version == 1
    )
    rows = {row.world_id: log_row(row) for row in connection.execute(statement)}
    return [rows[each] for each in world_ids if each in rows]


def row_at(connection: Connection, position: int) -> LogRow:
    """Return the row at a position, unchecked; `CorruptionError` if it is missing."""
    row = connection.execute(_ROW_AT, {"at": position}).one_or_none()
    if row is None:
        msg = f"the log row at position {position} is missing"
        raise CorruptionError(msg, position=position)
    return log_row(row)


_ROW_AT = sa.select(*events.columns).where(events.c.position == sa.bindparam("at"))


def pending(connection: Connection, world_id: UUID, types: Sequence[str]) -> list[LogRow]:
    """Return the commands of these types that no committed tick has applied, in order, unchecked."""
    statement = (
        sa.select(*events.columns)
        .where(*_waiting(connection, world_id, types))
        .order_by(events.c.tick, events.c.due_tick, events.c.priority, events.c.version)
    )
    return [log_row(row) for row in connection.execute(statement)]


def pending_count(connection: Connection, world_id: UUID, types: Sequence[str]) -> int:
    """Count the commands of these types that no committed tick has applied yet."""
    statement = sa.select(sa.func.count()).where(*_waiting(connection, world_id, types))
    return connection.scalar(statement) or 0


def _waiting(
    connection: Connection, world_id: UUID, types: Sequence[str]
) -> Sequence[sa.ColumnElement[bool]]:
    committed = sa.select(worlds.c.committed_tick).where(worlds.c.world_id == world_id).scalar_subquery()
    known = connection.scalar(sa.select(committed))
    return (
        events.c.world_id == world_id,
        events.c.kind == "command",
        events.c.type.in_(types),
        events.c.tick > committed,
        # As it was a moment ago: to a planner that sees no number, they are a third of the log.
        events.c.tick > (-1 if known is None else known),
    )


def checked(rows: Sequence[LogRow]) -> Sequence[LogRow]:
    """Return the rows if each matches its hash; `CorruptionError` names the first position that does not.

    A tick may have very many, so whoever reads them checks them away from the event loop.
    """
    for row in rows:
        if event_hash(row.event) != row.hash:
            position = row.event.position
            msg = f"the log row at position {position} does not match its hash: it was edited or damaged"
            raise CorruptionError(msg, position=position)
    return rows


def log_row(row: Row[Any]) -> LogRow:
    """Read a row that was selected with all columns of the log."""
    event = HashedEvent(
        position=row.position,
        world_id=row.world_id,
        version=row.version,
        event_id=row.event_id,
        kind=row.kind,
        type=row.type,
        schema_version=row.schema_version,
        due_tick=row.due_tick,
        tick=row.tick,
        priority=row.priority,
        actor_id=row.actor_id,
        cause_id=row.cause_id,
        first_entity_id=row.first_entity_id,
        recorded_at=row.recorded_at,
        batch=row.batch,
        payload=row.payload,
    )
    return LogRow(event, bytes(row.hash))
