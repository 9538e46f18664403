"""The history of a world: the commands of its whole lineage, newest first, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from archetype.log.command import QUEUED_TYPES, CommandStatus, CommandType
from archetype.log.facts import FactType
from archetype.log.lineage import Lineage, Stretch
from archetype.store.given import OPEN_END, owned_ticks
from archetype.store.log import LogRow, log_row
from archetype.store.schema import events, ticks, worlds

__all__ = ["EVERY_COMMAND", "HistoryFilter", "commands_of_entity", "history"]


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which commands of a lineage are wanted; None does not restrict.

    Ticks are those that the commands belong to, `from_tick` inclusive and `to_tick` exclusive. Receiver,
    sender and channel are those of messages.
    """

    types: Sequence[str] | None = None
    actor_id: UUID | None = None
    from_tick: int | None = None
    to_tick: int | None = None
    status: CommandStatus | None = None
    receiver_id: int | None = None
    sender_id: int | None = None
    channel: str | None = None


EVERY_COMMAND = HistoryFilter()

_GROWTH = 32
_FEW_TICKS = 1_000
"""Of so many ticks all commands are looked at and sorted; of more, the newest are, until there are enough."""


def history(
    connection: Connection,
    lineage: Lineage,
    *,
    before_position: int | None,
    limit: int,
    wanted: HistoryFilter = EVERY_COMMAND,
) -> list[LogRow]:
    """Return the newest `limit` commands of a lineage below `before_position`, newest first, unchecked.

    An ancestor contributes the commands that belong to the ticks it owns in this lineage, so those that it
    accepted for later ticks are its own affair. All of them stand in the log before the fork does: further
    worlds are read only if the nearer ones hold too few.
    """
    committed_tick = _committed_tick(lineage.segments[-1].world_id)
    conditions = [*_conditions(wanted, committed_tick), *_message_conditions(connection, wanted)]
    if before_position is not None:
        conditions.append(events.c.position < before_position)
    from_tick, by_tick = _beginning(connection, wanted, committed_tick)
    segments = lineage.between(from_tick, wanted.to_tick)[::-1]
    found: list[LogRow] = []
    start, size = 0, 1
    while start < len(segments) and len(found) < limit:
        count = limit - len(found)
        owned = owned_ticks(connection, segments[start : start + size])
        positions = _newest(connection, owned, conditions, count, by_tick=by_tick)
        found += _rows(connection, positions, committed_tick)
        start, size = start + size, size * _GROWTH
    return found


def _beginning(
    connection: Connection, wanted: HistoryFilter, committed_tick: sa.ScalarSelect[int]
) -> tuple[int, bool]:
    """Return the first tick that can be meant, and whether from there on the ticks are few."""
    is_pending = wanted.status is CommandStatus.PENDING
    if wanted.from_tick is None and not is_pending:
        return 0, False
    open_tick = connection.scalars(sa.select(committed_tick)).one() + 1
    from_tick = max(wanted.from_tick or 0, open_tick if is_pending else 0)
    end = open_tick if wanted.to_tick is None else min(wanted.to_tick, open_tick)
    return from_tick, end - from_tick <= _FEW_TICKS


def _newest(
    connection: Connection,
    owned: sa.FromClause,
    conditions: Sequence[sa.ColumnElement[bool]],
    count: int,
    *,
    by_tick: bool,
) -> sa.Select[int]:
    """Select the newest positions of some worlds.

    Each world gives its own newest by version, for which there is an index, and of these the newest count.
    Sealing a tick fixed the last version that can belong to it, so that what came later is not even met.
    Where few are looked for, all of their ticks are gone through instead: `by_tick`.
    """
    # As sums they are no columns of an index. No planner knows which of two to take: the one of ticks would
    # bring all that a world ever did, to be sorted.
    version = events.c.version + 0 if by_tick else events.c.version
    tick = events.c.tick if by_tick else events.c.tick + 0
    sealed = (
        sa.select(ticks.c.sealed_version)
        .where(ticks.c.world_id == owned.c.world_id, ticks.c.tick == owned.c.to_tick - 1)
        .scalar_subquery()
        .correlate(owned)
    )
    of_world = (
        sa.select(events.c.position)
        .where(
            events.c.world_id == owned.c.world_id,
            events.c.version <= sa.func.coalesce(sealed, OPEN_END),
            events.c.kind == "command",
            tick >= owned.c.from_tick,
            tick < owned.c.to_tick,
            *conditions,
        )
        .order_by(version.desc())
        .limit(count)
        .correlate(owned)
    )
    if connection.dialect.name == "postgresql":
        each = of_world.lateral("each")
        joined = owned.join(each, sa.true())
    else:
        each = events.alias("each")
        joined = owned.join(each, each.c.position.in_(of_world))
    return sa.select(each.c.position).select_from(joined).order_by(each.c.position.desc()).limit(count)


def _committed_tick(world_id: UUID) -> sa.ScalarSelect[int]:
    return sa.select(worlds.c.committed_tick).where(worlds.c.world_id == world_id).scalar_subquery()


def _conditions(wanted: HistoryFilter, committed_tick: sa.ScalarSelect[int]) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.types is not None:
        conditions.append(events.c.type.in_(wanted.types))
    if wanted.actor_id is not None:
        conditions.append(events.c.actor_id == wanted.actor_id)
    if wanted.status is not None:
        is_pending = _is_pending(committed_tick)
        is_rejected = sa.exists().where(_rejects(_rejection))
        conditions.append(
            {
                CommandStatus.PENDING: is_pending,
                CommandStatus.APPLIED: sa.not_(sa.or_(is_pending, is_rejected)),
                CommandStatus.REJECTED: is_rejected,
            }[wanted.status]
        )
    return conditions


def _message_conditions(connection: Connection, wanted: HistoryFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for field in ("receiver_id", "sender_id"):
        entity_id = getattr(wanted, field)
        if entity_id is not None:
            conditions.append(_names(connection, field, entity_id))
    if wanted.channel is not None:
        conditions.append(_payload_text(connection, "channel") == wanted.channel)
    return conditions and [events.c.type == CommandType.MESSAGE.value, *conditions]


def _is_pending(committed_tick: sa.ScalarSelect[int]) -> sa.ColumnElement[bool]:
    return sa.and_(events.c.type.in_(QUEUED_TYPES), events.c.tick > committed_tick)


_rejection = events.alias("rejection")


def _rejects(fact: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        fact.c.world_id == events.c.world_id,
        fact.c.cause_id == events.c.event_id,
        fact.c.type == FactType.COMMAND_REJECTED.value,
    )


def _rows(
    connection: Connection, positions: sa.Select[int], committed_tick: sa.ScalarSelect[int]
) -> list[LogRow]:
    statement = (
        sa.select(
            *events.columns,
            _rejection.c.payload.label("rejection"),
            _is_pending(committed_tick).label("is_pending"),
        )
        .outerjoin(_rejection, _rejects(_rejection))
        .where(events.c.position.in_(positions))
        .order_by(events.c.position.desc())
    )
    rows: list[LogRow] = []
    for row in connection.execute(statement):
        status = CommandStatus.PENDING if row.is_pending else CommandStatus.APPLIED
        rows.append(_with_reason(replace(log_row(row), status=status), row.rejection))
    return rows


def _with_reason(row: LogRow, rejection: str | None) -> LogRow:
    """Return a row with what became of it, by the payload of its rejection if there is one."""
    if rejection is None:
        return row
    return replace(row, status=CommandStatus.REJECTED, reason=json.loads(rejection)["reason"])


def commands_of_entity(connection: Connection, stretch: Stretch, entity_id: int) -> list[LogRow]:
    """Return the commands of a stretch that may concern an entity, in their order, unchecked.

    Those that name it, the stretch's last spawn at or before its id, and bulk updates, whose rows only their
    batch names.
    """
    own = (events.c.world_id == stretch.world_id, events.c.kind == "command")
    within = (events.c.tick >= stretch.from_tick, events.c.tick < stretch.to_tick)
    spawned = sa.select(sa.func.max(events.c.first_entity_id)).where(
        *own, *within, events.c.type == "spawn", events.c.first_entity_id <= entity_id
    )
    statement = (
        sa.select(*events.columns, _rejection.c.payload.label("rejection"))
        .outerjoin(_rejection, _rejects(_rejection))
        .where(
            *own,
            *within,
            sa.or_(
                events.c.first_entity_id == spawned.scalar_subquery(),
                _names(connection, "entity_id", entity_id),
                sa.and_(events.c.type == "update", events.c.batch.is_not(None)),
            ),
        )
        .order_by(events.c.tick, events.c.due_tick, events.c.priority, events.c.version)
    )
    return [_with_reason(log_row(row), row.rejection) for row in connection.execute(statement)]


def _names(connection: Connection, field: str, entity_id: int) -> sa.ColumnElement[bool]:
    """Say whether a payload's field is this entity; a custom command may hold anything under it."""
    is_text = connection.dialect.name == "postgresql"
    return _payload_text(connection, field) == (str(entity_id) if is_text else entity_id)


def _payload_text(connection: Connection, field: str) -> sa.ColumnElement[Any]:
    if connection.dialect.name == "postgresql":
        return sa.cast(events.c.payload, postgresql.JSONB)[field].astext
    return sa.func.json_extract(events.c.payload, f"$.{field}")
