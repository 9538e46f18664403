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
from archetype.store.schema import events, log_head, worlds

__all__ = [
    "LogRow",
    "checked",
    "commands_of_tick",
    "log_row",
    "pending",
    "pending_count",
    "record_facts",
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
    last = connection.execute(_ADVANCE, {"count": len(facts)}).scalar_one()
    position = last - len(facts) + 1
    rows: list[dict[str, Any]] = []
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
        rows.append(event._asdict() | {"hash": event_hash(event)})
    connection.execute(events.insert(), rows)
    return position


def commands_of_tick(connection: Connection, world_id: UUID, tick: int) -> list[LogRow]:
    """Return the commands of a tick in the order in which they are applied, unchecked."""
    statement = (
        sa.select(*events.columns)
        .where(events.c.world_id == world_id, events.c.tick == tick, events.c.kind == "command")
        .order_by(events.c.due_tick, events.c.priority, events.c.version)
    )
    return [log_row(row) for row in connection.execute(statement)]


def pending(connection: Connection, world_id: UUID, types: Sequence[str]) -> list[LogRow]:
    """Return the commands of these types that no committed tick has applied, in order, unchecked."""
    statement = (
        sa.select(*events.columns)
        .join(worlds, worlds.c.world_id == events.c.world_id)
        .where(
            events.c.world_id == world_id,
            events.c.kind == "command",
            events.c.tick > worlds.c.committed_tick,
            events.c.type.in_(types),
        )
        .order_by(events.c.tick, events.c.due_tick, events.c.priority, events.c.version)
    )
    return [log_row(row) for row in connection.execute(statement)]


def pending_count(connection: Connection, world_id: UUID, types: Sequence[str]) -> int:
    """Count the commands of these types that no committed tick has applied yet."""
    committed = sa.select(worlds.c.committed_tick).where(worlds.c.world_id == world_id).scalar_subquery()
    statement = sa.select(sa.func.count()).where(
        events.c.world_id == world_id,
        events.c.kind == "command",
        events.c.tick > committed,
        events.c.type.in_(types),
    )
    return connection.scalar(statement) or 0


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
