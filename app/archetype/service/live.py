"""Live feeds: the log read forward from a position, and on as it grows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import POSITION_MAX
from archetype.log.command import CommandType
from archetype.log.facts import FactType
from archetype.service.watch import Bell, Watch
from archetype.store.database import Database
from archetype.store.feed import EVERY_EVENT, EventFilter, EventRow, Place, page_after, place_at

__all__ = ["Event", "EventKind", "Feed", "LiveService", "event_filter"]


class EventKind(StrEnum):
    """What a row of the log is: something that was asked for, or something that the engine records."""

    COMMAND = "command"
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the log. `tick` is the one it belongs to; `version` is the world's with it.

    `command_id` is the command's id, or that of the command which caused a fact, if one did. Of a bulk
    command's Arrow batch only the size is told.
    """

    position: int
    world_id: UUID
    version: int
    kind: EventKind
    type: str
    tick: int
    command_id: UUID | None
    actor_id: UUID | None
    payload: dict[str, Any]
    batch_size_bytes: int | None
    recorded_at: datetime

    @classmethod
    def of(cls, row: EventRow) -> Self:
        """Read a row."""
        kind = EventKind(row.kind)
        return cls(
            position=row.position,
            world_id=row.world_id,
            version=row.version,
            kind=kind,
            type=row.type,
            tick=row.tick,
            command_id=row.event_id if kind is EventKind.COMMAND else row.cause_id,
            actor_id=row.actor_id,
            payload=json.loads(row.payload),
            batch_size_bytes=row.batch_size_bytes,
            recorded_at=row.recorded_at,
        )


class Feed:
    """One reader's way through the log. Nothing is read ahead: whoever reads slowly holds nothing up.

    `place.position` is how far everything has been given out: a feed that is opened behind it goes on exactly
    there. It must be closed.
    """

    def __init__(self, database: Database, bell: Bell, place: Place, wanted: EventFilter) -> None:
        self._database = database
        self._bell = bell
        self._wanted = wanted
        self.place = place
        self.is_at_end = False
        self.is_final = False

    @property
    def is_over(self) -> bool:
        """Whether no more will come of it: the world was removed and all was read, or the services end."""
        return self.is_final or self._bell.is_closed

    async def read(self) -> list[Event]:
        """Return the next events in the order of their positions; none where there are none at present.

        `is_at_end` then says whether the log held no more, and `is_final` whether it never will, since the
        world was removed. Raises `CorruptionError` where a row is missing.
        """
        self._bell.silence()
        page = await self._database.read_to_end(
            lambda connection: page_after(connection, self.place, self._wanted)
        )
        self.place = page.place
        self.is_at_end, self.is_final = page.is_last, page.is_final
        if not page.is_last or page.is_final:
            self._bell.ring()
        return [Event.of(row) for row in page.rows]

    async def wait(self) -> None:
        """Return when there may be more than `read` gave."""
        await self._bell.wait()

    def close(self) -> None:
        """Stop waiting for the log; closing it twice does no harm."""
        self._bell.close()


class LiveService:
    """Opens feeds over one database."""

    def __init__(self, database: Database, watch: Watch) -> None:
        self._database = database
        self._watch = watch

    async def feed(
        self, after: int | None = None, world_id: UUID | None = None, wanted: EventFilter = EVERY_EVENT
    ) -> Feed:
        """Open a feed of the events behind a position, by default of those that come from now on.

        Of a world it gives the rows of its own log, of a fork those since its birth: the shared past is its
        ancestors'. Raises `InvalidInputError` for a position that the log has not reached.
        """
        if after is not None and not 0 <= after <= POSITION_MAX:
            msg = f"must be a position of the log, from 0 on, not {after}"
            raise InvalidInputError(f"after {msg}", faults=[FieldFault("after", msg)])
        bell = self._watch.join(world_id)
        try:
            place = await self._database.read_to_end(lambda connection: place_at(connection, after, world_id))
        except BaseException:
            bell.close()
            raise
        return Feed(self._database, bell, place, wanted)

    async def events(
        self, after: int | None = None, world_id: UUID | None = None, wanted: EventFilter = EVERY_EVENT
    ) -> AsyncGenerator[Event]:
        """Give the events behind a position one by one, and wait for further ones; see `feed`.

        It ends behind the last event of a removed world, and when the services end.
        """
        with closing(await self.feed(after, world_id, wanted)) as feed:
            while not feed.is_over:
                for event in await feed.read():
                    yield event
                await feed.wait()


def event_filter(kinds: Sequence[str] | None = None, types: Sequence[str] | None = None) -> EventFilter:
    """Return the filter for events of these kinds and types; None does not restrict.

    Raises `InvalidInputError` on one that does not exist, with those that do.
    """
    _check("kinds", kinds, list(EventKind))
    _check("types", types, [*CommandType, *FactType])
    return EventFilter(kinds, types)


def _check(field: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in names or ():
        if name not in known:
            msg = f"{name!r} is unknown; known are {', '.join(known)}"
            raise InvalidInputError(f"{field}: {msg}", faults=[FieldFault(field, msg)])
