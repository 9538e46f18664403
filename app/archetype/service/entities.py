"""One entity through time: which archetype, which values, which commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.core.bulk import decode_batch
from archetype.errors import EntityNotFoundError
from archetype.log.lineage import Stretch
from archetype.log.pages import decode_page
from archetype.service.cache import SizedCache
from archetype.service.projection import EMPTY_STATE, Snapshot
from archetype.service.ranges import committed_range
from archetype.service.states import StateService
from archetype.service.values import json_value
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.history import commands_of_entity
from archetype.store.log import LogRow, checked
from archetype.store.snapshots import SnapshotRow, StoredPage, read_pages, snapshots_between
from archetype.store.ticks import TickRow, tick_rows
from archetype.store.worlds import WorldRow

__all__ = ["EntityCommand", "EntityMoment", "EntityService"]

TICKS_AT_ONCE = 64
"""Ticks whose pages are in memory at once."""


@dataclass(frozen=True, slots=True)
class EntityCommand:
    """A command that concerned an entity in a tick; `reason` says why it was rejected, if it was."""

    command_id: UUID
    position: int
    type: str
    payload: Mapping[str, Any]
    reason: str | None


@dataclass(frozen=True, slots=True)
class EntityMoment:
    """An entity after one tick, its values in their JSON forms.

    In the tick in which it ended, `is_active` is false and the values are its last.
    """

    tick: int
    is_active: bool
    archetype: str
    components: Mapping[str, Mapping[str, Any]]
    commands: Sequence[EntityCommand]


@dataclass(frozen=True, slots=True)
class _Found:
    """Where an entity stands in a stored snapshot: its table, and the page and the row in it."""

    tick: int
    row: SnapshotRow
    page: int
    offset: int

    @property
    def columns(self) -> dict[str, bytes]:
        """The pages that hold its values, by column."""
        return {name: hashes[self.page] for name, hashes in self.row.pages.items() if name != "entity_id"}

    @property
    def pages(self) -> Iterable[bytes]:
        """The same pages by their hashes alone."""
        return self.columns.values()


class EntityService:
    """Follows entities down a lineage."""

    def __init__(self, database: Database, worlds: WorldService, states: StateService) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states
        self._ids: SizedCache[bytes, np.ndarray] = SizedCache(16 * 1024 * 1024, lambda ids: ids.nbytes)

    async def history(
        self,
        world: WorldRow,
        entity_id: int,
        *,
        from_tick: int | None = None,
        to_tick: int | None = None,
    ) -> list[EntityMoment]:
        """Return the entity after each tick `from_tick` <= t < `to_tick` in which it was there, in order.

        Only the pages that hold it are read; ticks without a snapshot are computed again. Raises as
        `committed_range` does for ticks that are not committed or too many, and `EntityNotFoundError` when
        it was there in none.
        """
        ticks = committed_range(world, from_tick, to_tick)
        stretches = (await self._worlds.lineage(world.world_id)).stretches(ticks.start, ticks.stop)
        commands = await self._commands(stretches, entity_id)
        moments: list[EntityMoment] = []
        for stretch in stretches:
            for part in stretch.parts(TICKS_AT_ONCE):
                moments.extend(await self._part(world, part, entity_id, commands))
        if not moments:
            where = f"world {world.name!r} in the ticks from {ticks.start} to {ticks.stop - 1}"
            msg = f"entity {entity_id} is not in {where}"
            raise EntityNotFoundError(msg, entity_id=entity_id)
        return moments

    async def _commands(self, stretches: Sequence[Stretch], entity_id: int) -> dict[int, list[EntityCommand]]:
        rows: list[LogRow] = []
        for stretch in stretches:
            rows.extend(
                await self._database.read(partial(commands_of_entity, stretch=stretch, entity_id=entity_id))
            )
        return await asyncio.to_thread(_by_tick, rows, entity_id)

    async def _part(
        self,
        world: WorldRow,
        part: Stretch,
        entity_id: int,
        commands: Mapping[int, Sequence[EntityCommand]],
    ) -> list[EntityMoment]:
        """Return the moments of a few ticks: from their pages where they are stored, else computed again."""

        def fetch(
            connection: Connection,
        ) -> tuple[list[TickRow], dict[int, list[SnapshotRow]], list[StoredPage]]:
            stored = snapshots_between(connection, part)
            wanted = {page for rows in stored.values() for each in rows for page in each.pages["entity_id"]}
            known = self._ids.hold(wanted)
            rows = tick_rows(connection, part)
            return rows, stored, read_pages(connection, wanted - known.keys())

        rows, stored, read = await self._database.read(fetch)
        found = await asyncio.to_thread(self._locate, stored, read, entity_id)
        pages = await self._database.read(
            lambda connection: read_pages(connection, {page for each in found for page in each.pages})
        )
        values = await asyncio.to_thread(_values, found, pages)
        for row in rows:
            if row.tick not in stored and row.state_hash != EMPTY_STATE:
                projection = await self._states.projection(world, row.tick)
                values.extend(_computed_values(projection.snapshot, row.tick, entity_id))
        return [
            EntityMoment(tick, is_active, archetype.name, components, commands.get(tick, ()))
            for tick, is_active, archetype, components in sorted(values, key=itemgetter(0))
        ]

    def _locate(
        self, stored: Mapping[int, Sequence[SnapshotRow]], read: Iterable[StoredPage], entity_id: int
    ) -> list[_Found]:
        fresh = {
            page.page_hash: decode_page(page.checked(), name=page.page_hash.hex()).to_numpy() for page in read
        }
        hashes = {page for rows in stored.values() for each in rows for page in each.pages["entity_id"]}
        ids = fresh | self._ids.hold(hashes - fresh.keys())
        self._ids.keep(fresh)
        found: list[_Found] = []
        for tick, rows in stored.items():
            for row in rows:
                for page, page_hash in enumerate(row.pages["entity_id"]):
                    offset = _offset(ids[page_hash], entity_id)
                    if offset is not None:
                        found.append(_Found(tick, row, page, offset))
        return found


_Value = tuple[int, bool, Archetype, Mapping[str, Mapping[str, Any]]]
"""A tick, whether the entity is active after it, and what it is."""


def _offset(ids: np.ndarray, entity_id: int) -> int | None:
    """Return where an id stands among ascending ones, or None."""
    offset = int(np.searchsorted(ids, entity_id))
    return offset if offset < len(ids) and ids[offset] == entity_id else None


def _values(found: Sequence[_Found], pages: Iterable[StoredPage]) -> list[_Value]:
    """Take each row's values out of its pages; a page that many ticks share is decoded once."""
    arrays = {page.page_hash: decode_page(page.checked(), name=page.page_hash.hex()) for page in pages}
    return [
        _value(
            each.tick,
            each.row.archetype,
            {name: arrays[page][each.offset].as_py() for name, page in each.columns.items()},
        )
        for each in found
    ]


def _computed_values(snapshot: Snapshot, tick: int, entity_id: int) -> Iterator[_Value]:
    for table in snapshot.tables.values():
        offset = _offset(table.columns["entity_id"].array.to_numpy(), entity_id)
        if offset is not None:
            values = {
                name: column.array[offset].as_py()
                for name, column in table.columns.items()
                if name != "entity_id"
            }
            yield _value(tick, table.row.archetype, values)


def _value(tick: int, archetype: Archetype, values: Mapping[str, Any]) -> _Value:
    components = {
        component: {
            field.name[len(component) + 2 :]: json_value(values[field.name])
            for field in archetype.component_fields(component)
        }
        for component in archetype.components
    }
    return tick, values.get("is_active", True), archetype, components


def _by_tick(rows: Sequence[LogRow], entity_id: int) -> dict[int, list[EntityCommand]]:
    found: dict[int, list[EntityCommand]] = {}
    for row in checked(rows):
        if _concerns(row, entity_id):
            event = row.event
            command = EntityCommand(event.event_id, event.position, event.type, row.payload, row.reason)
            found.setdefault(event.tick, []).append(command)
    return found


def _concerns(row: LogRow, entity_id: int) -> bool:
    event = row.event
    if event.first_entity_id is not None:
        return event.first_entity_id <= entity_id < row.next_entity_id
    if event.batch is not None:
        return bool(np.isin(entity_id, decode_batch(event.batch).column("entity_id").to_numpy()))
    return True
