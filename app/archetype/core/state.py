"""A world's state: per archetype, one immutable Arrow table of the active rows, sorted by entity_id."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.archetype import Archetype
from archetype.errors import InvalidInputError

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ArchetypeTable:
    """The rows of one archetype: single-chunk columns, sorted by a unique entity_id.

    Make it with `of`, which sees to that.
    """

    archetype: Archetype
    rows: pa.Table

    @classmethod
    def of(cls, archetype: Archetype, rows: pa.Table) -> ArchetypeTable:
        """Take rows in any order and chunking; columns must have the archetype's names and types.

        Raises InvalidInputError on other columns, or on a null or repeated entity_id.
        """
        schema = archetype.table_schema
        if rows.schema != schema:
            rows = _matched(rows, schema, archetype)
        if any(column.num_chunks != 1 for column in rows.columns):
            rows = pa.table([_one_chunk(column) for column in rows.columns], schema=schema)
        ids = _ids(rows)
        if len(ids) > 1 and not bool(np.all(ids[1:] > ids[:-1])):
            order = np.argsort(ids, kind="stable")
            _refuse_repeated(ids[order], archetype)
            rows = take_rows(rows, order)
        return cls(archetype, rows)

    @classmethod
    def from_arrays(cls, archetype: Archetype, arrays: Sequence[pa.Array]) -> ArchetypeTable:
        """Take sorted columns, in the order of the table schema; `array` then gives these very objects."""
        table = cls(archetype, pa.table(list(arrays), schema=archetype.table_schema))
        table.__dict__["_arrays"] = dict(zip(archetype.table_schema.names, arrays, strict=True))
        return table

    @functools.cached_property
    def entity_ids(self) -> Int64s:
        """The entity ids, ascending, as a view on the column."""
        return _ids(self.rows)

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.rows.num_rows

    def array(self, column: str) -> pa.Array:
        """Give one column as one array: the same object in every state it did not change in."""
        return self._arrays[column]

    @functools.cached_property
    def _arrays(self) -> dict[str, pa.Array]:
        return {name: self.rows.column(name).chunk(0) for name in self.rows.column_names}


@dataclass(frozen=True, eq=False)
class WorldState:
    """Every active row of a world; tables are in the order of their archetype ids, and never empty."""

    tables: Mapping[bytes, ArchetypeTable]

    @classmethod
    def empty(cls) -> WorldState:
        """Give the state of a world at birth."""
        return cls({})

    @classmethod
    def of(cls, tables: Iterable[ArchetypeTable]) -> WorldState:
        """Give the state made of these tables; empty ones are left out."""
        kept = {table.archetype.archetype_id: table for table in tables if table.row_count}
        return cls(dict(sorted(kept.items())))

    def __iter__(self) -> Iterator[ArchetypeTable]:
        return iter(self.tables.values())

    @functools.cached_property
    def entity_count(self) -> int:
        """How many entities are active."""
        return sum(table.row_count for table in self)

    def replace(self, tables: Iterable[ArchetypeTable]) -> WorldState:
        """Give the state with these tables in place of those of the same archetypes.

        An empty table removes its archetype. Gives this very object if nothing differs.
        """
        merged = dict(self.tables)
        changed = False
        for table in tables:
            key = table.archetype.archetype_id
            if merged.get(key) is not table and (table.row_count or key in merged):
                merged[key] = table
                changed = True
        return WorldState.of(merged.values()) if changed else self

    def locate(self, entity_ids: Int64s) -> tuple[Int64s, Int64s]:
        """Find entities: for each id the index of its table and of its row, both -1 if not active."""
        wanted = np.asarray(entity_ids, dtype=np.int64)
        table_index = np.full(len(wanted), -1, dtype=np.int64)
        row_index = np.full(len(wanted), -1, dtype=np.int64)
        for index, table in enumerate(self):
            known = table.entity_ids
            rows = np.searchsorted(known, wanted)
            inside = rows < len(known)
            found = inside & (known[np.where(inside, rows, 0)] == wanted)
            table_index[found] = index
            row_index[found] = rows[found]
        return table_index, row_index

    def find(self, entity_id: int) -> tuple[Archetype, dict[str, Any]] | None:
        """Give an entity's archetype and its row by column name, or None if it is not active."""
        for table in self:
            ids = table.entity_ids
            row = int(np.searchsorted(ids, entity_id))
            if row < len(ids) and ids[row] == entity_id:
                return table.archetype, table.rows.slice(row, 1).to_pylist()[0]
        return None


def take_rows(rows: pa.Table, indices: npt.NDArray[np.integer[Any]]) -> pa.Table:
    """Give the rows at these indices, in their order, one chunk per column."""
    wanted = pa.array(indices)
    arrays = [pc.take(_one_chunk(column), wanted) for column in rows.columns]
    return pa.table(arrays, schema=rows.schema)


def _matched(rows: pa.Table, schema: pa.Schema, archetype: Archetype) -> pa.Table:
    missing = set(schema.names) ^ set(rows.column_names)
    if missing:
        raise InvalidInputError(f"Rows of {archetype.name} do not match its columns: {sorted(missing)}.")
    rows = rows.select(schema.names)
    for have, want in zip(rows.schema, schema, strict=True):
        if have.type != want.type:
            raise InvalidInputError(
                f"Column {want.name} of {archetype.name} is {have.type}, not {want.type}."
            )
        if not want.nullable and rows.column(want.name).null_count:
            raise InvalidInputError(f"Column {want.name} of {archetype.name} holds nulls.")
    return pa.table(rows.columns, schema=schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        raise InvalidInputError("A column larger than 2 GiB cannot be kept in one chunk.")
    return combined


def _ids(rows: pa.Table) -> Int64s:
    column = rows.column("entity_id")
    if column.null_count:
        raise InvalidInputError("entity_id holds nulls.")
    return _one_chunk(column).to_numpy(zero_copy_only=False)


def _refuse_repeated(ordered: Int64s, archetype: Archetype) -> None:
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(repeated):
        raise InvalidInputError(
            f"{len(repeated)} entities appear twice in {archetype.name}: {repeated[:5].tolist()}."
        )
