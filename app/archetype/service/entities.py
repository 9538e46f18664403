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
import pyarrow as pa

from archetype.core.archetype import Archetype
from archetype.core.bulk import decode_batch
from archetype.errors import EntityNotFoundError
from archetype.log.lineage import Stretch
from archetype.log.pages import decode_page
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.cache import ENTRY_BYTES
from archetype.service.projection import EMPTY_STATE, Snapshot
from archetype.service.ranges import committed_range
from archetype.service.states import StateService
from archetype.service.values import json_value
from archetype.service.worlds import WorldService
from archetype.store.database import Database, Reading
from archetype.store.history import commands_of_entity
from archetype.store.log import LogRow, checked
from archetype.store.pages import PageSet, read_pages
from archetype.store.snapshots import SnapshotRow, snapshots_between
from archetype.store.ticks import tick_rows
from archetype.store.worlds import WorldRow

__all__ = ["EntityCommand", "EntityMoment", "EntityService"]

FIRST_TICKS, MIN_TICKS, MAX_TICKS = 64, 8, 1024
READ_BYTES = 32 * 1024 * 1024
"""Pages that are in memory at once, more or less: as many ticks as that holds are read together."""


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

    def __init__(
        self, database: Database, worlds: WorldService, states: StateService, budget: MemoryBudget
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states
        self._ids: Cache[bytes, np.ndarray] = budget.cache("entity ids", lambda ids: ids.nbytes + ENTRY_BYTES)

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
        values: list[_Value] = []
        missing: list[int] = []
        # In one transaction: between two of them, pages that nothing refers to any more might be collected.
        async with self._database.reading() as reading:
            commands = await self._commands(reading, stretches, entity_id)
            for stretch in stretches:
                start = stretch.from_tick
                ticks_at_once = FIRST_TICKS
                while start < stretch.to_tick:
                    end = min(start + ticks_at_once, stretch.to_tick)
                    part = Stretch(stretch.world_id, start, end)
                    found = await self._part(reading, part, entity_id)
                    values.extend(found.values)
                    missing.extend(found.missing)
                    start, ticks_at_once = end, _fitting(found.size_bytes, end - start)
        for tick in missing:
            projection = await self._states.projection(world, tick)
            values.extend(_computed_values(projection.snapshot, tick, entity_id))
        if not values:
            where = f"world {world.name!r} in the ticks from {ticks.start} to {ticks.stop - 1}"
            msg = f"entity {entity_id} is not in {where}"
            raise EntityNotFoundError(msg, entity_id=entity_id)
        return [
            EntityMoment(tick, is_active, archetype.name, components, commands.get(tick, ()))
            for tick, is_active, archetype, components in sorted(values, key=itemgetter(0))
        ]

    async def _commands(
        self, reading: Reading, stretches: Sequence[Stretch], entity_id: int
    ) -> dict[int, list[EntityCommand]]:
        rows: list[LogRow] = []
        for stretch in stretches:
            rows.extend(await reading.read(partial(commands_of_entity, stretch=stretch, entity_id=entity_id)))
        return await asyncio.to_thread(_by_tick, rows, entity_id)

    async def _part(self, reading: Reading, part: Stretch, entity_id: int) -> _Part:
        """Return the values of those of a few ticks that are stored."""
        stored = await reading.read(lambda connection: snapshots_between(connection, part))
        rows = await reading.read(lambda connection: tick_rows(connection, part))
        ids = await self._id_pages(reading, stored)
        found = _locate(stored, ids, entity_id)
        wanted = {page for each in found for page in each.pages}
        pages = await reading.read(lambda connection: read_pages(connection, wanted))
        values = await asyncio.to_thread(_values, found, pages)
        missing = [row.tick for row in rows if row.tick not in stored and row.state_hash != EMPTY_STATE]
        return _Part(values, missing, pages.content_size_bytes)

    async def _id_pages(
        self, reading: Reading, stored: Mapping[int, Sequence[SnapshotRow]]
    ) -> dict[bytes, np.ndarray]:
        """Return the pages of entity ids; they seldom change from tick to tick."""
        wanted = {page for rows in stored.values() for each in rows for page in each.pages["entity_id"]}
        held = self._ids.hold(wanted)
        missing = wanted - held.keys()
        if not missing:
            return held
        pages = await reading.read(lambda connection: read_pages(connection, missing))
        arrays = await asyncio.to_thread(_decoded, pages)
        fresh = {page_hash: array.to_numpy() for page_hash, array in arrays.items()}
        self._ids.keep(fresh)
        return held | fresh


_Value = tuple[int, bool, Archetype, Mapping[str, Mapping[str, Any]]]
"""A tick, whether the entity is active after it, and what it is."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a few ticks gave, in no order, which of them are not stored, and how many bytes were read."""

    values: Sequence[_Value]
    missing: Sequence[int]
    size_bytes: int


def _fitting(size_bytes: int, ticks_read: int) -> int:
    """Return how many ticks to read at once, if each takes as much as those before."""
    return max(MIN_TICKS, min(MAX_TICKS, READ_BYTES * ticks_read // max(size_bytes, 1)))


def _locate(
    stored: Mapping[int, Sequence[SnapshotRow]], ids: Mapping[bytes, np.ndarray], entity_id: int
) -> list[_Found]:
    found: list[_Found] = []
    for tick, rows in stored.items():
        for row in rows:
            for page, page_hash in enumerate(row.pages["entity_id"]):
                offset = _offset(ids[page_hash], entity_id)
                if offset is not None:
                    found.append(_Found(tick, row, page, offset))
    return found


def _decoded(pages: PageSet) -> dict[bytes, pa.Array]:
    contents = pages.checked()
    return {page_hash: decode_page(content, name=page_hash.hex()) for page_hash, content in contents.items()}


def _offset(ids: np.ndarray, entity_id: int) -> int | None:
    """Return where an id stands among ascending ones, or None."""
    offset = int(np.searchsorted(ids, entity_id))
    return offset if offset < len(ids) and ids[offset] == entity_id else None


def _values(found: Sequence[_Found], pages: PageSet) -> list[_Value]:
    """Take each row's values out of its pages; a page that many ticks share is decoded once."""
    arrays = _decoded(pages)
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
