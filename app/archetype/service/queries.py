"""Questions about a world's state at any committed tick, answered in columns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype, base_schema
from archetype.core.component import Component
from archetype.errors import EntityNotFoundError, TickNotFoundError
from archetype.service.projection import active_only, decode_column
from archetype.service.values import json_values
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.snapshots import read_pages, snapshot_rows
from archetype.store.ticks import TickRow, tick_row
from archetype.store.worlds import WorldRow

__all__ = ["EntityState", "QueryService", "Selection", "TableSlice", "WorldSnapshot", "flat_schema"]

PAGE_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a state is wanted: entities that have all of `components`, and of those these columns.

    `components` None means every entity with all it has; `entity_ids` None means all of them.
    """

    components: tuple[str, ...] | None = None
    entity_ids: tuple[int, ...] | None = None

    def columns_of(self, archetype: Archetype) -> list[str]:
        """Return the wanted component columns of an archetype, in its order."""
        names = archetype.components if self.components is None else self.components
        wanted = {field.name for name in names for field in archetype.component_fields(name)}
        return [name for name in archetype.schema.names if name in wanted]


@dataclass(frozen=True, slots=True)
class TableSlice:
    """Active rows of one archetype after a tick, sorted: `entity_id`, then the wanted columns."""

    archetype: Archetype
    tick: int
    run_id: UUID
    rows: pa.Table


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

    def __init__(self, database: Database, worlds: WorldService) -> None:
        self._database = database
        self._worlds = worlds
        self._pages = _PageCache(PAGE_CACHE_BYTES)

    async def resolve_tick(self, world: WorldRow, tick: int | None) -> int:
        """Return the tick to read, by default the last one committed (-1 before the first).

        Raises `TickNotFoundError` for one that is not committed or lies before the world's birth.
        """
        if tick is None:
            return world.committed_tick
        if 0 <= tick <= world.committed_tick:
            return tick
        last = world.committed_tick
        known = f"its ticks go from 0 to {last}" if last >= 0 else "it has no committed tick yet"
        msg = f"tick {tick} of world {world.name!r} is not committed; {known}"
        raise TickNotFoundError(msg, tick=tick, committed_tick=last)

    async def select(self, world: WorldRow, tick: int, selection: Selection) -> list[TableSlice]:
        """Return the selected rows after a tick, one slice per archetype, in order of archetype id."""
        if tick < 0:
            return []
        wanted = (
            None
            if selection.entity_ids is None
            else np.unique(np.array(selection.entity_ids, dtype=np.int64))
        )
        projection = self._worlds.live(world.world_id).projection
        if projection is not None and projection.committed_tick == tick:
            owner_id = (await self._worlds.lineage(world.world_id)).owner_of(tick)
            row = await self._tick_row(owner_id, tick)
            tables = [
                (table.archetype, table.rows.select(["entity_id", *selection.columns_of(table.archetype)]))
                for table in projection.state
                if table.archetype.covers(selection.components or ())
            ]
        else:
            row, tables = await self._read(world, tick, selection)
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
    ) -> tuple[TickRow, list[tuple[Archetype, pa.Table]]]:
        owner_id = (await self._worlds.lineage(world.world_id)).owner_of(tick)

        def fetch(connection: Connection) -> tuple[TickRow | None, list[tuple[Archetype, pa.Table]]]:
            tables: list[tuple[Archetype, pa.Table]] = []
            row = tick_row(connection, owner_id, tick)
            for each in snapshot_rows(connection, owner_id, tick):
                if not each.archetype.covers(selection.components or ()):
                    continue
                flags = ["is_active"] if "is_active" in each.pages else []
                names = ["entity_id", *flags, *selection.columns_of(each.archetype)]
                hashes = {page for name in names for page in each.pages[name]}
                pages = self._pages.fetch(connection, hashes)
                columns = [decode_column(each.pages[name], pages) for name in names]
                tables.append((each.archetype, active_only(pa.table(columns, names=names))))
            return row, tables

        row, tables = await self._database.read(fetch)
        if row is None:
            msg = f"tick {tick} of world {world.name!r} is not committed"
            raise TickNotFoundError(msg, tick=tick)
        return row, tables

    async def snapshot(self, world: WorldRow, tick: int | None = None) -> WorldSnapshot:
        """Describe a world after a tick: who is there, with which components."""
        chosen = await self.resolve_tick(world, tick)
        slices = await self.select(world, chosen, Selection(components=None))
        entities: dict[int, Sequence[str]] = {}
        counts: dict[str, int] = {}
        for each in slices:
            counts[each.archetype.name] = each.rows.num_rows
            names = list(each.archetype.components)
            entities.update(dict.fromkeys(each.rows.column("entity_id").to_pylist(), names))
        return WorldSnapshot(world.world_id, chosen, dict(sorted(entities.items())), counts)

    async def entity(self, world: WorldRow, entity_id: int, tick: int | None = None) -> EntityState:
        """Return one entity after a tick; `EntityNotFoundError` if it is not active then."""
        chosen = await self.resolve_tick(world, tick)
        for each in await self.select(world, chosen, Selection(entity_ids=(entity_id,))):
            (components,) = json_rows(each)
            return EntityState(world.world_id, entity_id, chosen, each.archetype.name, components)
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
            [await self.resolve_tick(world, tick) for tick in sorted(ticks)]
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


def flat_table(
    world_id: UUID, slices: Sequence[TableSlice], components: Sequence[str] | None = None
) -> pa.Table:
    """Put slices together as one table under one schema, sorted by tick and entity id."""
    schema = flat_schema(slices, components)
    parts = [_flat(world_id, each, schema) for each in slices]
    if not parts:
        return schema.empty_table()
    table = pa.concat_tables(parts)
    if len(parts) > 1:
        table = table.sort_by([("tick", "ascending"), ("entity_id", "ascending")])
    return table


def flat_schema(slices: Sequence[TableSlice], components: Sequence[str] | None = None) -> pa.Schema:
    """Return the one schema of several slices; a column that some of them lack is nullable.

    With no rows at all, named components that are loaded still give their columns.
    """
    archetypes = {each.archetype.archetype_id: each for each in slices}.values()
    fields: dict[str, pa.Field] = {}
    for each in archetypes:
        for column in each.rows.schema:
            if column.name != "entity_id":
                fields.setdefault(column.name, column)
    if not fields and components is not None:
        for name in components:
            fields.update(
                {column.name: column for column in Component.get_type_by_name(name).get_prefixed_schema()}
            )
    shared = [set(each.rows.column_names) for each in archetypes]
    return pa.schema(
        [
            *base_schema,
            *(
                column
                if all(column.name in names for names in shared)
                else column.with_nullable(nullable=True)
                for column in fields.values()
            ),
        ]
    )


def _flat(world_id: UUID, each: TableSlice, schema: pa.Schema) -> pa.Table:
    count = each.rows.num_rows
    constants = {
        "world_id": pa.repeat(str(world_id), count),
        "run_id": pa.repeat(str(each.run_id), count),
        "tick": pa.repeat(pa.scalar(each.tick, pa.int64()), count),
        "is_active": pa.repeat(pa.scalar(value=True), count),
    }
    columns: list[Any] = []
    for field in schema:
        if field.name in constants:
            columns.append(constants[field.name])
        elif field.name in each.rows.column_names:
            columns.append(each.rows.column(field.name))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.table(columns, schema=schema)


def json_rows(each: TableSlice) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield each row as {component: {field: value}} in JSON forms, in order of entity id."""
    present = set(each.rows.column_names)
    names: list[tuple[str, list[str]]] = []
    columns: list[list[Any]] = []
    for component in each.archetype.components:
        fields = [field.name for field in each.archetype.component_fields(component) if field.name in present]
        if fields or not each.archetype.component_fields(component):
            names.append((component, [field[len(component) + 2 :] for field in fields]))
            columns.extend(json_values(each.rows.column(field)) for field in fields)
    for row in zip(*columns, strict=True) if columns else iter([()] * each.rows.num_rows):
        values = iter(row)
        yield {component: {field: next(values) for field in fields} for component, fields in names}


def _only(rows: pa.Table, wanted: np.ndarray | None) -> pa.Table:
    if wanted is None:
        return rows
    return rows.filter(pa.array(np.isin(rows.column("entity_id").to_numpy(), wanted)))


class _PageCache:
    """The pages read last, up to a size; content named by its hash can never be stale."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pages: OrderedDict[bytes, bytes] = OrderedDict()
        self._size_bytes = 0

    def fetch(self, connection: Connection, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return these pages, reading those that are not here."""
        found = {page_hash: self._pages[page_hash] for page_hash in hashes if page_hash in self._pages}
        for page_hash in found:
            self._pages.move_to_end(page_hash)
        missing = [page_hash for page_hash in hashes if page_hash not in found]
        for page_hash, data in read_pages(connection, missing).items():
            found[page_hash] = self._pages[page_hash] = data
            self._size_bytes += len(data)
        while self._size_bytes > self._limit_bytes:
            _, dropped = self._pages.popitem(last=False)
            self._size_bytes -= len(dropped)
        return found
