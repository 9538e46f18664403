"""Questions about a world's state at any committed tick, answered in columns."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.core.state import WorldState
from archetype.errors import EntityNotFoundError, TickNotFoundError
from archetype.log.pages import decode_page
from archetype.service.cache import PageCache
from archetype.service.frames import TableSlice, flat_table, json_rows
from archetype.service.page_reading import cached_pages
from archetype.service.projection import EMPTY_STATE, active_only, decode_column
from archetype.service.states import StateService
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.pages import PageSet, read_pages
from archetype.store.snapshots import SnapshotRow, snapshot_rows
from archetype.store.ticks import TickRow, tick_row
from archetype.store.worlds import WorldRow

__all__ = ["EntityState", "QueryService", "Selection", "WorldSnapshot"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a state is wanted: entities that have all of `components`, and of those these columns.

    `components` None means every entity with all it has; `entity_ids` None means all of them; without
    `has_values` only the ids are read.
    """

    components: tuple[str, ...] | None = None
    entity_ids: tuple[int, ...] | None = None
    has_values: bool = True

    def stored_columns(self, row: SnapshotRow) -> list[str]:
        """Return the columns of a stored table that must be read: ids, flags if it has them, values."""
        flags = ["is_active"] if "is_active" in row.pages else []
        return ["entity_id", *flags, *self.columns_of(row.archetype)]

    def covered(self, rows: Sequence[SnapshotRow]) -> list[SnapshotRow]:
        """Return the stored tables whose entities have all of the wanted components."""
        return [each for each in rows if each.archetype.covers(self.components or ())]

    def hashes(self, rows: Sequence[SnapshotRow]) -> set[bytes]:
        """Return the pages that must be read of these tables."""
        return {page for each in rows for name in self.stored_columns(each) for page in each.pages[name]}

    def columns_of(self, archetype: Archetype) -> list[str]:
        """Return the wanted component columns of an archetype, in its order."""
        if not self.has_values:
            return []
        names = archetype.components if self.components is None else self.components
        wanted = {field.name for name in names for field in archetype.component_fields(name)}
        return [name for name in archetype.schema.names if name in wanted]


@dataclass(frozen=True, slots=True)
class WorldSnapshot:
    """A world after a tick: each entity's component names, and how many entities each archetype has."""

    world_id: UUID
    tick: int
    entities: Mapping[int, Sequence[str]]
    archetype_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EntityState:
    """One entity after a tick, its values in their JSON forms."""

    world_id: UUID
    entity_id: int
    tick: int
    archetype: str
    components: Mapping[str, Mapping[str, Any]]


class QueryService:
    """Reads states; the newest comes from memory where this process holds it, any other from its pages."""

    def __init__(
        self, database: Database, worlds: WorldService, states: StateService, pages: PageCache
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states
        self._pages = pages

    async def select(self, world: WorldRow, tick: int, selection: Selection) -> list[TableSlice]:
        """Return the selected rows after a tick, one slice per archetype, in order of archetype id."""
        if tick < 0:
            return []
        wanted = (
            None
            if selection.entity_ids is None
            else np.unique(np.array(selection.entity_ids, dtype=np.int64))
        )
        projection = self._worlds.live_worlds.of(world.world_id).projection
        if projection is not None and projection.committed_tick == tick:
            owner_id = (await self._worlds.lineage(world.world_id)).owner_of(tick)
            row = await self._tick_row(owner_id, tick)
            tables = _selected(projection.state, selection)
        else:
            row, tables = await self._read(world, tick, selection)
            if tables is None:
                tables = _selected(await self._states.state(world, tick), selection)
        slices = [TableSlice(archetype, tick, row.run_id, _only(rows, wanted)) for archetype, rows in tables]
        return [each for each in slices if each.rows.num_rows]

    async def _tick_row(self, owner_id: UUID, tick: int) -> TickRow:
        row = await self._database.read(lambda connection: tick_row(connection, owner_id, tick))
        if row is None:
            msg = f"tick {tick} is not committed"
            raise TickNotFoundError(msg, tick=tick)
        return row

    async def _read(
        self, world: WorldRow, tick: int, selection: Selection
    ) -> tuple[TickRow, list[tuple[Archetype, pa.Table]] | None]:
        """Read the selected columns of a stored snapshot, or None where the tick has none."""
        owner_id = (await self._worlds.lineage(world.world_id)).owner_of(tick)

        held: dict[bytes, bytes] = {}

        def fetch(connection: Connection) -> tuple[TickRow | None, list[SnapshotRow], PageSet]:
            row = tick_row(connection, owner_id, tick)
            stored = snapshot_rows(connection, owner_id, tick)
            hashes: set[bytes] = set()
            if selection.entity_ids is None:
                hashes = selection.hashes(selection.covered(stored))
            held.update(self._pages.hold(hashes))
            return row, stored, read_pages(connection, hashes - held.keys(), self._pages.hold)

        async with self._database.reading() as reading:
            row, stored, read = await reading.read(fetch)
            if row is None:
                msg = f"tick {tick} of world {world.name!r} is not committed"
                raise TickNotFoundError(msg, tick=tick)
            if not stored and row.state_hash != EMPTY_STATE:
                return row, None
            rows = selection.covered(stored)
            if selection.entity_ids is not None:
                hashes = {page for each in rows for page in each.pages["entity_id"]}
                ids = await cached_pages(reading, self._pages, hashes)
                rows = await asyncio.to_thread(_narrowed, rows, ids, selection.entity_ids)
                held = await cached_pages(reading, self._pages, selection.hashes(rows))
        return row, await asyncio.to_thread(self._decoded, rows, held, read, selection)

    def _decoded(
        self,
        rows: Sequence[SnapshotRow],
        held: Mapping[bytes, bytes],
        read: PageSet,
        selection: Selection,
    ) -> list[tuple[Archetype, pa.Table]]:
        fresh = read.checked()
        self._pages.keep(fresh)
        pages = {**held, **fresh}
        tables: list[tuple[Archetype, pa.Table]] = []
        for each in rows:
            names = selection.stored_columns(each)
            columns = [decode_column(each.pages[name], pages) for name in names]
            tables.append((each.archetype, active_only(pa.table(columns, names=names))))
        return tables

    async def snapshot(self, world: WorldRow, tick: int | None = None) -> WorldSnapshot:
        """Describe a world after a tick: who is there, with which components."""
        chosen = self._worlds.committed(world, tick)
        slices = await self.select(world, chosen, Selection(has_values=False))
        entities: dict[int, Sequence[str]] = {}
        counts: dict[str, int] = {}
        for each in slices:
            name = each.archetype.name
            counts[name] = counts.get(name, 0) + each.rows.num_rows
            names = list(each.archetype.components)
            entities.update(dict.fromkeys(each.rows.column("entity_id").to_pylist(), names))
        return WorldSnapshot(world.world_id, chosen, dict(sorted(entities.items())), counts)

    async def entity(self, world: WorldRow, entity_id: int, tick: int | None = None) -> EntityState:
        """Return one entity after a tick; `EntityNotFoundError` if it is not active then."""
        chosen = self._worlds.committed(world, tick)
        for each in await self.select(world, chosen, Selection(entity_ids=(entity_id,))):
            (components,) = json_rows(each)
            return EntityState(world.world_id, entity_id, chosen, each.archetype.name, components)
        if chosen < 0:
            msg = (
                f"world {world.name!r} has no committed tick yet, so nothing is active in it, nor entity "
                f"{entity_id}; step it first"
            )
        else:
            msg = f"entity {entity_id} is not active in world {world.name!r} after tick {chosen}"
        raise EntityNotFoundError(msg, entity_id=entity_id, tick=chosen)

    async def frame(
        self,
        world: WorldRow,
        *,
        components: Sequence[str] | None = None,
        ticks: Collection[int] | None = None,
        entity_ids: Sequence[int] | None = None,
    ) -> pa.Table:
        """Return active rows as one flat table: the base columns, then `component__field` ones.

        `ticks` None means the last committed one. Rows are sorted by tick, then entity id; where archetypes
        differ in their columns, those that a row's archetype lacks are null.
        """
        chosen = (
            [self._worlds.committed(world, tick) for tick in sorted(ticks)]
            if ticks is not None
            else [world.committed_tick]
        )
        selection = Selection(
            tuple(components) if components is not None else None,
            tuple(entity_ids) if entity_ids is not None else None,
        )
        slices: list[TableSlice] = []
        for tick in chosen:
            slices.extend(await self.select(world, tick, selection))
        return flat_table(world.world_id, slices, components)


def _narrowed(
    rows: Sequence[SnapshotRow], ids: Mapping[bytes, bytes], entity_ids: Sequence[int]
) -> list[SnapshotRow]:
    """Keep of each table the pages that hold one of the entities; all columns are cut at the same rows."""
    wanted = np.unique(np.array(entity_ids, dtype=np.int64))
    narrowed: list[SnapshotRow] = []
    for each in rows:
        kept = [
            index
            for index, page in enumerate(each.pages["entity_id"])
            if np.isin(decode_page(ids[page], name=page.hex()).to_numpy(), wanted).any()
        ]
        if kept:
            pages = {name: [listed[index] for index in kept] for name, listed in each.pages.items()}
            narrowed.append(replace(each, pages=pages))
    return narrowed


def _selected(state: WorldState, selection: Selection) -> list[tuple[Archetype, pa.Table]]:
    return [
        (table.archetype, table.rows.select(["entity_id", *selection.columns_of(table.archetype)]))
        for table in state
        if table.archetype.covers(selection.components or ())
    ]


def _only(rows: pa.Table, wanted: np.ndarray | None) -> pa.Table:
    if wanted is None:
        return rows
    return rows.filter(pa.array(np.isin(rows.column("entity_id").to_numpy(), wanted)))
