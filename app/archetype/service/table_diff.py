"""Two stored states side by side: which pages tell them apart, and which entities are where.

No more is read than must be: tables and pages with the same hashes are the same; the ids of the others say
who is where; and only then is it known which values can differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from archetype.core.diff import match_ids
from archetype.core.state import Int64s
from archetype.log.pages import PAGE_ROWS
from archetype.service.projection import decode_column
from archetype.store.snapshots import SnapshotRow

__all__ = ["Column", "Entities", "Located", "Pages", "Pairs", "differing_regions", "match_entities"]

Pages = Mapping[bytes, bytes]
"""The bytes of pages by their hashes."""


class Column(NamedTuple):
    """A column that two tables have, as people call it."""

    component: str
    field: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of a stored table: the pages that hold them, and their places in these (None: all)."""

    table: SnapshotRow
    pages: Sequence[int]
    places: Int64s | None = None

    @classmethod
    def at(cls, table: SnapshotRow, indices: Int64s) -> Rows:
        """Take rows by their ascending indices; each page of a column but its last one is full."""
        page = indices // PAGE_ROWS
        is_first = np.diff(page, prepend=-1) > 0
        whole = cls(table, page[is_first].tolist())
        if len(indices) == whole.row_count:
            return whole
        return cls(table, whole.pages, (np.cumsum(is_first) - 1 - page) * PAGE_ROWS + indices)

    @property
    def row_count(self) -> int:
        """How many rows the pages hold."""
        return sum(min(PAGE_ROWS, self.table.row_count - page * PAGE_ROWS) for page in self.pages)

    def hashes(self, column: str) -> list[bytes]:
        """Return the pages of a column that must be read."""
        listed = self.table.pages[column]
        return [listed[page] for page in self.pages]

    def column(self, column: str, pages: Pages) -> pa.Array:
        """Return the values of a column."""
        if not self.pages:
            return pa.array([], self.table.archetype.table_schema.field(column).type)
        values = decode_column(self.hashes(column), pages).chunk(0)
        return values if self.places is None else values.take(pa.array(self.places))


@dataclass(frozen=True, slots=True)
class Region:
    """Pages of one archetype in which two states may differ, and the columns in which they may."""

    a: Rows | None
    b: Rows | None
    columns: Sequence[Column]

    def hashes(self) -> Iterator[bytes]:
        """Yield the pages that say who is there."""
        for rows in (self.a, self.b):
            if rows is not None:
                for name in ("entity_id", "is_active"):
                    if name in rows.table.pages:
                        yield from rows.hashes(name)


def differing_regions(a: Sequence[SnapshotRow], b: Sequence[SnapshotRow]) -> list[Region]:
    """Find where two states may differ, by their hashes alone."""
    tables_a = {table.archetype.archetype_id: table for table in a}
    tables_b = {table.archetype.archetype_id: table for table in b}
    regions: list[Region] = []
    for archetype_id in sorted(tables_a.keys() | tables_b.keys()):
        table_a, table_b = tables_a.get(archetype_id), tables_b.get(archetype_id)
        if table_a is None or table_b is None:
            regions.append(Region(_every_page(table_a), _every_page(table_b), ()))
        elif table_a.pages != table_b.pages:
            regions.extend(_regions_of(table_a, table_b))
    return regions


def _every_page(table: SnapshotRow | None) -> Rows | None:
    return None if table is None else Rows(table, range(len(table.pages["entity_id"])))


def _regions_of(a: SnapshotRow, b: SnapshotRow) -> Iterator[Region]:
    """Pages with the same ids hold the same entities row by row; whoever is elsewhere is in other pages."""
    ids_a, ids_b = a.pages["entity_id"], b.pages["entity_id"]
    columns = _shared_columns(a, b)
    aligned = [page for page, pair in enumerate(zip(ids_a, ids_b, strict=False)) if pair[0] == pair[1]]
    for page in aligned:
        found = tuple(each for each in columns if a.pages[each.name][page] != b.pages[each.name][page])
        if found or _flags(a, page) != _flags(b, page):
            yield Region(Rows(a, [page]), Rows(b, [page]), found)
    rest_a, rest_b = (sorted(set(range(len(ids))) - set(aligned)) for ids in (ids_a, ids_b))
    if rest_a or rest_b:
        yield Region(Rows(a, rest_a), Rows(b, rest_b), columns)


def _flags(table: SnapshotRow, page: int) -> bytes | None:
    return table.pages["is_active"][page] if "is_active" in table.pages else None


def _shared_columns(a: SnapshotRow, b: SnapshotRow) -> tuple[Column, ...]:
    names_b = {
        (component, column.name)
        for component in b.archetype.components
        for column in b.archetype.component_fields(component)
    }
    return tuple(
        Column(component, column.name[len(component) + 2 :], column.name)
        for component in a.archetype.components
        for column in a.archetype.component_fields(component)
        if (component, column.name) in names_b
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Entities that both states have, with the columns in which they may differ."""

    ids: Int64s
    a: Rows
    b: Rows
    columns: Sequence[Column]

    def hashes(self) -> Iterator[bytes]:
        """Yield the pages that hold their values."""
        for column in self.columns:
            yield from self.a.hashes(column.name)
            yield from self.b.hashes(column.name)


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Entities of one state by id, ascending, with their table and their row in it."""

    tables: Sequence[SnapshotRow]
    ids: Int64s
    table: Int64s
    row: Int64s

    @classmethod
    def of(cls, found: Sequence[tuple[SnapshotRow, Int64s, Int64s]]) -> Located:
        """Put together what was found, as (table, ids, rows)."""
        none = np.empty(0, dtype=np.int64)
        tables = {table.archetype.archetype_id: table for table, _, _ in found}
        number = {archetype_id: index for index, archetype_id in enumerate(tables)}
        ids = np.concatenate([none, *(ids for _, ids, _ in found)])
        numbers = np.array([number[table.archetype.archetype_id] for table, _, _ in found], dtype=np.int64)
        table = np.repeat(numbers, [len(ids) for _, ids, _ in found])
        row = np.concatenate([none, *(rows for _, _, rows in found)])
        order = np.argsort(ids, kind="stable")
        return cls(list(tables.values()), ids[order], table[order], row[order])

    def take(self, indices: Int64s) -> Located:
        """Keep some of them, by their ascending indices."""
        return Located(self.tables, self.ids[indices], self.table[indices], self.row[indices])

    def archetype_name(self, index: int) -> str:
        """Name the archetype of one of them."""
        return self.tables[int(self.table[index])].archetype.name


@dataclass(frozen=True, slots=True)
class Entities:
    """Who is in one state only, who is in both but in other archetypes, and whose values may differ."""

    added: Located
    removed: Located
    moved_a: Located
    moved_b: Located
    stayed: Sequence[Pairs]
    moved: Sequence[Pairs]

    def hashes(self) -> Iterator[bytes]:
        """Yield the pages that hold the values to compare."""
        for pairs in (*self.stayed, *self.moved):
            yield from pairs.hashes()


def match_entities(regions: Sequence[Region], pages: Pages) -> Entities:
    """Find out who is where; only active entities count."""
    stayed: list[Pairs] = []
    only_a: list[tuple[SnapshotRow, Int64s, Int64s]] = []
    only_b: list[tuple[SnapshotRow, Int64s, Int64s]] = []
    for region in regions:
        ids_a, rows_a = _active(region.a, pages)
        ids_b, rows_b = _active(region.b, pages)
        matched = match_ids(ids_a, ids_b)
        if region.a is not None:
            only_a.append((region.a.table, ids_a[matched.only_a], rows_a[matched.only_a]))
        if region.b is not None:
            only_b.append((region.b.table, ids_b[matched.only_b], rows_b[matched.only_b]))
        if region.a is not None and region.b is not None and region.columns and len(matched.both_a):
            a, b = _chosen(region.a, rows_a, matched.both_a), _chosen(region.b, rows_b, matched.both_b)
            stayed.append(Pairs(ids_a[matched.both_a], a, b, region.columns))
    gone, come = Located.of(only_a), Located.of(only_b)
    matched = match_ids(gone.ids, come.ids)
    moved_a, moved_b = gone.take(matched.both_a), come.take(matched.both_b)
    return Entities(
        added=come.take(matched.only_b),
        removed=gone.take(matched.only_a),
        moved_a=moved_a,
        moved_b=moved_b,
        stayed=stayed,
        moved=list(_moved_pairs(moved_a, moved_b)),
    )


def _active(rows: Rows | None, pages: Pages) -> tuple[Int64s, Int64s]:
    """Return the ids of whole pages' active rows, and the indices of these rows in their table."""
    if rows is None or not rows.pages:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    ids = rows.column("entity_id", pages).to_numpy()
    starts = [page * PAGE_ROWS for page in rows.pages]
    indices = np.concatenate([np.arange(start, start + PAGE_ROWS) for start in starts])[: len(ids)]
    if "is_active" not in rows.table.pages:
        return ids, indices
    is_active = rows.column("is_active", pages).to_numpy(zero_copy_only=False)
    return ids[is_active], indices[is_active]


def _chosen(rows: Rows, indices: Int64s, chosen: Int64s) -> Rows:
    return rows if len(chosen) == rows.row_count else Rows.at(rows.table, indices[chosen])


def _moved_pairs(a: Located, b: Located) -> Iterator[Pairs]:
    way = a.table * len(b.tables) + b.table
    for each in np.unique(way).tolist():
        chosen = np.flatnonzero(way == each)
        table_a, table_b = a.tables[each // len(b.tables)], b.tables[each % len(b.tables)]
        rows_a, rows_b = Rows.at(table_a, a.row[chosen]), Rows.at(table_b, b.row[chosen])
        yield Pairs(a.ids[chosen], rows_a, rows_b, _shared_columns(table_a, table_b))
