"""What differs between two states, and between the commands that led to them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.core.state import WorldState
from archetype.errors import InvalidInputError, TickNotFoundError
from archetype.log.hashes import state_hash
from archetype.log.lineage import Lineage
from archetype.log.pages import Page, array_pages
from archetype.service.cache import PageCache
from archetype.service.page_reading import cached_pages
from archetype.service.table_diff import (
    Entities,
    Located,
    differing_regions,
    match_entities,
)
from archetype.service.value_diff import ChangedValue, compare_values, list_values
from archetype.service.worlds import WorldService
from archetype.store.command_diff import DifferingCommands, differing_commands
from archetype.store.database import Database, Reading
from archetype.store.snapshots import SnapshotRow, snapshot_rows
from archetype.store.ticks import TickRow, tick_row
from archetype.store.worlds import WorldRow

__all__ = [
    "DiffService",
    "DiffSide",
    "DiffSummary",
    "FieldCount",
    "ListedEntity",
    "MovedEntity",
    "WorldDiff",
]


StateOf = Callable[[WorldRow, int], Awaitable[WorldState]]
"""Gives the state of a world after a committed tick whose snapshot is not stored."""


@dataclass(frozen=True, slots=True)
class DiffSide:
    """One of the two states: a world after a tick (-1: before its first); the state hash in hex."""

    world_id: UUID
    name: str
    tick: int
    state_hash: str
    entity_count: int


@dataclass(frozen=True, slots=True)
class DiffSummary:
    """How many entities were added, removed and moved; how many others changed; how many values differ.

    `values` counts those of moved entities, too, in the components that both their archetypes have.
    """

    added: int = 0
    removed: int = 0
    moved: int = 0
    changed: int = 0
    values: int = 0


@dataclass(frozen=True, slots=True)
class FieldCount:
    """In how many entities a field differs."""

    component: str
    field: str
    count: int


@dataclass(frozen=True, slots=True)
class ListedEntity:
    """An entity that one of the states lacks."""

    entity_id: int
    archetype: str


@dataclass(frozen=True, slots=True)
class MovedEntity:
    """An entity that has other components in the other state, or the same with other columns."""

    entity_id: int
    archetype_a: str
    archetype_b: str


@dataclass(frozen=True, slots=True)
class WorldDiff:
    """What leads from `a` to `b`: added is what only b has, removed what only a has.

    `summary`, `fields` and the counts of commands are complete. The listings hold the first `limit` by
    entity id, values then by component and field, commands by (tick, version); a listing that is shorter
    than its count goes on. `is_identical` compares state hashes, which cover also the last rows of entities
    that end in the tick: states that differ in no active entity need not be identical. `base_tick` is the
    last tick that both pasts share, None if they share none; the commands are those that belong to later
    ticks and that the other past has not.
    """

    a: DiffSide
    b: DiffSide
    tolerance: float
    limit: int
    is_identical: bool
    base_tick: int | None
    commands_a: DifferingCommands
    commands_b: DifferingCommands
    summary: DiffSummary = DiffSummary()
    fields: Sequence[FieldCount] = ()
    added: Sequence[ListedEntity] = ()
    removed: Sequence[ListedEntity] = ()
    moved: Sequence[MovedEntity] = ()
    values: Sequence[ChangedValue] = ()


@dataclass(frozen=True, slots=True)
class _Side:
    """What is known of one state before any page is read; `made` are pages of a state that is not stored."""

    world: WorldRow
    tick: int
    row: TickRow | None
    tables: Sequence[SnapshotRow] = ()
    made: Mapping[bytes, Page] = field(default_factory=dict[bytes, Page])

    @property
    def state_hash(self) -> bytes:
        return state_hash(()) if self.row is None else self.row.state_hash

    @property
    def entity_count(self) -> int:
        return 0 if self.row is None else self.row.entity_count

    def describe(self) -> DiffSide:
        world = self.world
        return DiffSide(world.world_id, world.name, self.tick, self.state_hash.hex(), self.entity_count)


class DiffService:
    """Compares states by their hashes first: a page that both have is not even read."""

    def __init__(self, database: Database, worlds: WorldService, state_of: StateOf, pages: PageCache) -> None:
        self._database = database
        self._worlds = worlds
        self._state_of = state_of
        self._pages = pages

    async def diff(
        self,
        a: WorldRow,
        tick_a: int,
        b: WorldRow,
        tick_b: int,
        *,
        tolerance: float = 0.0,
        limit: int = 100,
    ) -> WorldDiff:
        """Return what differs between two worlds, or one, after two committed ticks (-1: no tick at all).

        Only active entities count. Two finite floats x and y are equal if
        |x - y| <= tolerance * max(1, |x|, |y|), also inside of lists and structs; NaN equals NaN. Raises
        `InvalidInputError` on a tolerance that is no number from 0 on, `TickNotFoundError` for a tick
        that is not committed, and `CorruptionError` that names a damaged page.
        """
        if not (tolerance >= 0 and math.isfinite(tolerance)):
            msg = f"tolerance is {tolerance}; it must be a finite number, 0 or more"
            raise InvalidInputError(msg, tolerance=str(tolerance))
        lineage_a = await self._worlds.lineage(a.world_id)
        lineage_b = await self._worlds.lineage(b.world_id)
        base = lineage_a.merge_base(tick_a, lineage_b, tick_b)
        after = 0 if base is None else base[1] + 1
        own_a, own_b = lineage_a.between(after, tick_a + 1), lineage_b.between(after, tick_b + 1)

        def read(connection: Connection) -> tuple[_Side, _Side, tuple[DifferingCommands, DifferingCommands]]:
            side_a = _Side(a, tick_a, _tick_row(connection, a, lineage_a, tick_a))
            side_b = _Side(b, tick_b, _tick_row(connection, b, lineage_b, tick_b))
            if side_a.state_hash != side_b.state_hash:
                side_a, side_b = _with_tables(connection, side_a), _with_tables(connection, side_b)
            return side_a, side_b, differing_commands(connection, own_a, own_b, limit)

        made: dict[int, tuple[list[SnapshotRow], dict[bytes, Page]]] = {}
        while True:
            # In one transaction: between two of them, a snapshot might be dropped and its pages collected.
            async with self._database.reading() as reading:
                *sides, (commands_a, commands_b) = await reading.read(read)
                outcome = WorldDiff(
                    a=sides[0].describe(),
                    b=sides[1].describe(),
                    tolerance=tolerance,
                    limit=limit,
                    is_identical=sides[0].state_hash == sides[1].state_hash,
                    base_tick=None if base is None else base[1],
                    commands_a=commands_a,
                    commands_b=commands_b,
                )
                if outcome.is_identical:
                    return outcome
                sides = [_completed(side, made.get(number)) for number, side in enumerate(sides)]
                lacking = [n for n, side in enumerate(sides) if side.entity_count and not side.tables]
                if not lacking:
                    return await self._compare(reading, outcome, *sides)
            # Computed while no connection is held, since that takes others of its own.
            for n in lacking:
                state = await self._state_of(sides[n].world, sides[n].tick)
                made[n] = await asyncio.to_thread(_cut, state)

    async def _compare(self, reading: Reading, outcome: WorldDiff, a: _Side, b: _Side) -> WorldDiff:
        made = {**a.made, **b.made}
        regions = differing_regions(a.tables, b.tables)
        pages = await self._read(reading, {each for region in regions for each in region.hashes()}, made)
        entities = await asyncio.to_thread(match_entities, regions, pages)
        values = await self._read(reading, {*entities.hashes()} - pages.keys(), made)
        return await asyncio.to_thread(_filled, outcome, entities, {**pages, **values})

    async def _read(
        self, reading: Reading, wanted: set[bytes], made: Mapping[bytes, Page]
    ) -> dict[bytes, bytes]:
        own = {each: made[each].data for each in wanted if each in made}
        return own | await cached_pages(reading, self._pages, wanted - own.keys())


def _tick_row(connection: Connection, world: WorldRow, lineage: Lineage, tick: int) -> TickRow | None:
    if tick < 0:
        return None
    row = tick_row(connection, lineage.owner_of(tick), tick)
    if row is None:
        msg = f"tick {tick} of world {world.name!r} is not committed; its last is {world.committed_tick}"
        raise TickNotFoundError(msg, tick=tick, committed_tick=world.committed_tick)
    return row


def _with_tables(connection: Connection, side: _Side) -> _Side:
    if side.row is None:
        return side
    return replace(side, tables=snapshot_rows(connection, side.row.world_id, side.row.tick))


def _completed(side: _Side, made: tuple[list[SnapshotRow], dict[bytes, Page]] | None) -> _Side:
    """Give a state that is not stored the pages that were made of it."""
    return side if side.tables or made is None else replace(side, tables=made[0], made=made[1])


def _cut(state: WorldState) -> tuple[list[SnapshotRow], dict[bytes, Page]]:
    """Cut a state into pages, as if it were stored: those that the other state has too are found by name."""
    tables: list[SnapshotRow] = []
    made: dict[bytes, Page] = {}
    for table in state:
        hashes: dict[str, list[bytes]] = {}
        for name in table.archetype.table_schema.names:
            pages = list(array_pages(table.array(name)))
            hashes[name] = [page.page_hash for page in pages]
            made.update((page.page_hash, page) for page in pages)
        tables.append(SnapshotRow(table.archetype, table.row_count, table.row_count, hashes))
    return tables, made


def _filled(outcome: WorldDiff, entities: Entities, pages: Mapping[bytes, bytes]) -> WorldDiff:
    """Compare the values, and lay everything out."""
    limit = outcome.limit
    changed = compare_values(entities.stayed, pages, outcome.tolerance, limit)
    moved = compare_values(entities.moved, pages, outcome.tolerance, limit)
    counts = changed.count_by_column + moved.count_by_column
    moved_a, moved_b = entities.moved_a, entities.moved_b
    return replace(
        outcome,
        summary=DiffSummary(
            added=len(entities.added.ids),
            removed=len(entities.removed.ids),
            moved=len(moved_a.ids),
            changed=changed.entity_count,
            values=counts.total(),
        ),
        fields=[FieldCount(column.component, column.field, counts[column]) for column in sorted(counts)],
        added=_listed(entities.added, limit),
        removed=_listed(entities.removed, limit),
        moved=[
            MovedEntity(entity_id, moved_a.archetype_name(index), moved_b.archetype_name(index))
            for index, entity_id in enumerate(moved_a.ids[:limit].tolist())
        ],
        values=list_values([*changed.first, *moved.first], limit),
    )


def _listed(entities: Located, limit: int) -> list[ListedEntity]:
    return [
        ListedEntity(entity_id, entities.archetype_name(index))
        for index, entity_id in enumerate(entities.ids[:limit].tolist())
    ]
