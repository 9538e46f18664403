"""Reading the log forward: from a place in it, in bounded pages, the whole log's rows or one world's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.errors import CorruptionError, FieldFault, InvalidInputError
from archetype.store.schema import events, log_head, worlds

__all__ = [
    "EVERY_EVENT",
    "PAGE_CHARACTERS",
    "PAGE_EVENTS",
    "EventFilter",
    "EventRow",
    "Moved",
    "Page",
    "Place",
    "moved_since",
    "page_after",
    "place_at",
]

PAGE_EVENTS = 100
PAGE_CHARACTERS = 512 * 1024
"""Characters of payloads behind which a page takes no further event: a stream holds a page for its reader."""

SCANNED_EVENTS_MAX = 10_000
"""Rows that one page goes through, however few of them a filter lets pass."""

MOVED_EVENTS_MAX = 1_000
"""New rows up to which it pays to say whose they are."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted: of these kinds (command, fact) and types; None does not restrict."""

    kinds: Sequence[str] | None = None
    types: Sequence[str] | None = None


EVERY_EVENT = EventFilter()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands: everything up to `position` has been read.

    For the reader of one world it is also everything up to the world's `version`, by which it goes on.
    """

    position: int
    world_id: UUID | None = None
    version: int = 0

    @property
    def ordinal(self) -> int:
        """The number that the reader goes by."""
        return self.position if self.world_id is None else self.version


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of the log as it is stored; of a batch only its size."""

    position: int
    world_id: UUID
    version: int
    event_id: UUID
    kind: str
    type: str
    tick: int
    actor_id: UUID | None
    cause_id: UUID | None
    payload: str
    batch_size_bytes: int | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """What stands behind a place, in order, and the place behind it.

    `is_last` says that the log held no more, `is_final` that it never will: the world was removed.
    """

    rows: Sequence[EventRow]
    place: Place
    is_last: bool
    is_final: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """The log's last position, and the worlds with rows behind an earlier one; None where they are many."""

    position: int
    world_ids: frozenset[UUID] | None


_HEAD = sa.select(log_head.c.position)


def place_at(connection: Connection, after: int | None, world_id: UUID | None = None) -> Place:
    """Return the place behind a position, by default behind all that is there.

    Raises `InvalidInputError` for a position that the log has not reached.
    """
    head = connection.execute(_HEAD).scalar_one()
    position = head if after is None else after
    if position > head:
        msg = f"position {position} is not reached yet: the log ends at {head}; is it another log's?"
        raise InvalidInputError(msg, faults=[FieldFault("after", msg)], head=head)
    if world_id is None:
        return Place(position)
    version = connection.scalar(sa.select(worlds.c.head_version).where(worlds.c.world_id == world_id)) or 0
    return Place(position, world_id, _version_at(connection, world_id, position, version))


def _version_at(connection: Connection, world_id: UUID, position: int, newest: int) -> int:
    """Return the version that a world had at a position; both grow together, so halving finds it."""
    low, high = 0, newest
    while low < high:
        middle = (low + high + 1) // 2
        statement = sa.select(events.c.position).where(
            events.c.world_id == world_id, events.c.version == middle
        )
        found = connection.scalar(statement)
        if found is None:
            raise _missing(f"version {middle} of world {world_id}")
        low, high = (middle, high) if found <= position else (low, middle - 1)
    return low


def _missing(what: str) -> CorruptionError:
    return CorruptionError(f"the log row at {what} is missing; `archetype verify` says what else is")


_COLUMNS = (
    events.c.position,
    events.c.world_id,
    events.c.version,
    events.c.event_id,
    events.c.kind,
    events.c.type,
    events.c.tick,
    events.c.actor_id,
    events.c.cause_id,
    events.c.payload,
    sa.func.length(events.c.batch).label("batch_size_bytes"),
    events.c.recorded_at,
)


def page_after(connection: Connection, place: Place, wanted: EventFilter = EVERY_EVENT) -> Page:
    """Return up to `PAGE_EVENTS` wanted events behind a place; the caller reads one state of the database.

    The event with which the payloads reach `PAGE_CHARACTERS` is the last of its page.

    Raises `CorruptionError` where a row that must be there is missing.
    """
    head, ordinals, is_removed = _heads(connection, place)
    until = min(place.ordinal + SCANNED_EVENTS_MAX, ordinals)
    rows = [EventRow(**row) for row in connection.execute(_statement(place, until, wanted)).mappings()]
    is_full = len(rows) == PAGE_EVENTS or sum(len(row.payload) for row in rows) >= PAGE_CHARACTERS
    reached = _ordinal(rows[-1], place) if is_full else until
    if wanted == EVERY_EVENT:
        _check_contiguous(rows, place, reached)
    is_last = reached == ordinals
    if is_last:
        position = head
    elif place.world_id is None:
        position = reached
    else:
        position = rows[-1].position if rows else place.position
    version = reached if place.world_id is not None else 0
    behind = replace(place, position=position, version=version)
    return Page(rows, behind, is_last=is_last, is_final=is_last and is_removed)


def _heads(connection: Connection, place: Place) -> tuple[int, int, bool]:
    """Return the log's last position, the last ordinal of the reader's rows, and whether more can come."""
    if place.world_id is None:
        head = connection.execute(_HEAD).scalar_one()
        return head, head, False
    statement = sa.select(_HEAD.scalar_subquery(), worlds.c.head_version, worlds.c.archived_at)
    head, version, archived_at = connection.execute(
        statement.where(worlds.c.world_id == place.world_id)
    ).one()
    return head, version, archived_at is not None


def _statement(place: Place, until: int, wanted: EventFilter) -> sa.Select[*tuple[Any, ...]]:
    ordinal = events.c.position if place.world_id is None else events.c.version
    statement = sa.select(*_COLUMNS).where(ordinal > place.ordinal, ordinal <= until)
    if place.world_id is not None:
        statement = statement.where(events.c.world_id == place.world_id)
    if wanted.kinds is not None:
        statement = statement.where(events.c.kind.in_(wanted.kinds))
    if wanted.types is not None:
        statement = statement.where(events.c.type.in_(wanted.types))
    page = statement.order_by(ordinal).limit(PAGE_EVENTS).subquery()
    characters = sa.func.length(page.c.payload)
    before = sa.func.sum(characters).over(order_by=page.c[ordinal.name], rows=(None, 0)) - characters
    sized = sa.select(page, before.label("characters_before")).subquery()
    columns = [sized.c[column.name] for column in page.c]
    fitting = sa.select(*columns).where(sized.c.characters_before < PAGE_CHARACTERS)
    return fitting.order_by(sized.c[ordinal.name])


def _ordinal(row: EventRow, place: Place) -> int:
    return row.position if place.world_id is None else row.version


def _check_contiguous(rows: Sequence[EventRow], place: Place, reached: int) -> None:
    expected = range(place.ordinal + 1, reached + 1)
    found = [_ordinal(row, place) for row in rows]
    if found == list(expected):
        return
    missing = min(set(expected).difference(found))
    what = f"position {missing}" if place.world_id is None else f"version {missing} of world {place.world_id}"
    raise _missing(what)


def moved_since(connection: Connection, position: int | None) -> Moved:
    """Return how far the log has come, and which worlds have rows behind a position if it is given."""
    head = connection.execute(_HEAD).scalar_one()
    if position is None or head - position > MOVED_EVENTS_MAX:
        return Moved(head, None)
    statement = sa.select(events.c.world_id).where(events.c.position > position, events.c.position <= head)
    return Moved(head, frozenset(connection.scalars(statement.distinct())))
