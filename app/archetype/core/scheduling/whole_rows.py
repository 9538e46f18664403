"""Writes of single columns, put together to whole components where the component is the unit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.columns import overwrite
from archetype.core.scheduling.slots import TableSlots
from archetype.core.state import Int64s
from archetype.errors import InvalidInputError

__all__ = ["WholeRows"]


class WholeRows:
    """What one processor wrote of a component's columns: one write of the whole component for each row.

    Its Deltas are another write, after the plain one. `pieces` are its writes as (column, rows, values), in
    order; where two meet in a cell, the later stands.
    """

    def __init__(self, table: TableSlots, component: str, *, is_delta: bool) -> None:
        self.is_delta = is_delta
        self.pieces: list[tuple[str, Int64s | None, pa.Array]] = []
        self._table = table
        self._component = component

    def add(self, column: str, rows: Int64s | None, values: pa.Array) -> None:
        """Take in a write of one column."""
        self.pieces.append((column, rows, values))

    def rows(self) -> Int64s | None:
        """Give the rows that were written, ascending; None is every row."""
        return _union([rows for _, rows, _ in self.pieces])

    def values(self) -> dict[str, pa.Array]:
        """Give every column of the component for `rows`; what was not written is as the group's state has it.

        Raises InvalidInputError if a Delta leaves fields out: nothing stands for no change.
        """
        rows = self.rows()
        columns = self._table.columns_of(self._component) or ()
        return {column.name: self._column(column.name, rows) for column in columns}

    def _column(self, column: str, rows: Int64s | None) -> pa.Array:
        pieces = [(own, values) for name, own, values in self.pieces if name == column]
        if self.is_delta:
            self._require_all(column, [own for own, _ in pieces], rows)
        stored = self._table.table.array(column)
        current = stored if rows is None else pc.take(stored, pa.array(rows))
        for own, values in pieces:
            if own is None:
                current = values
            else:
                current = overwrite(current, own if rows is None else np.searchsorted(rows, own), values)
        return current

    def _require_all(self, column: str, written: list[Int64s | None], rows: Int64s | None) -> None:
        row_count = self._table.table.row_count
        covered = _union(written) if written else np.empty(0, dtype=np.int64)
        if (row_count if covered is None else len(covered)) < (row_count if rows is None else len(rows)):
            field = column[len(self._component) + 2 :]
            raise InvalidInputError(
                f"A Delta of {self._component} is combined by its __combine__, but lacks values of "
                f"{self._component}.{field}; write all its fields.",
                column=column,
            )


def _union(parts: list[Int64s | None]) -> Int64s | None:
    listed = [rows for rows in parts if rows is not None]
    if len(listed) < len(parts):
        return None
    return listed[0] if len(listed) == 1 else np.unique(np.concatenate(listed))
