"""Writing values into immutable columns: in place of rows, or merged in by entity_id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.state import ArchetypeTable, Int64s


def overwrite(array: pa.Array, rows: Int64s, values: pa.Array) -> pa.Array:
    """Give `array` with `values` at these row indices, which must be distinct; types must be equal."""
    if len(rows) == len(array) and bool(np.all(rows == np.arange(len(rows)))):
        return values
    if is_plain_number(array.type) and not array.null_count and not values.null_count:
        out = np.array(array.to_numpy())
        out[rows] = values.to_numpy()
        return pa.array(out, array.type)
    source = np.arange(len(array), dtype=np.int64)
    source[rows] = len(array) + np.arange(len(rows), dtype=np.int64)
    return pc.take(pa.concat_arrays([array, values]), pa.array(source))


def overwrite_columns(
    table: ArchetypeTable, rows: Mapping[str, Int64s], values: Mapping[str, pa.Array]
) -> ArchetypeTable:
    """Give a table with some columns overwritten at some rows; the other columns stay the same objects."""
    arrays = [
        overwrite(table.array(name), rows[name], values[name]) if name in values else table.array(name)
        for name in table.rows.column_names
    ]
    return ArchetypeTable.from_arrays(table.archetype, arrays)


def merge_rows(table: ArchetypeTable | None, leaving: Int64s, arriving: ArchetypeTable) -> ArchetypeTable:
    """Give a table without the rows at the indices `leaving`, and with the rows of `arriving`.

    No arriving entity may be among those that stay.
    """
    if table is None:
        return arriving
    staying = np.ones(table.row_count, dtype=np.bool_)
    staying[leaving] = False
    ids = np.concatenate([table.entity_ids[staying], arriving.entity_ids])
    order: npt.NDArray[np.int64] | None = np.argsort(ids, kind="stable")
    if bool(np.all(ids[1:] > ids[:-1])):
        order = None
    mask = pa.array(staying) if len(leaving) else None
    arrays: list[pa.Array] = []
    for name in table.rows.column_names:
        stayed = table.array(name) if mask is None else table.array(name).filter(mask)
        joined = pa.concat_arrays([stayed, arriving.array(name)]) if arriving.row_count else stayed
        arrays.append(joined if order is None else pc.take(joined, pa.array(order)))
    return ArchetypeTable.from_arrays(table.archetype, arrays)


def gather(
    parts: Sequence[pa.Array], places: Sequence[Sequence[int] | Int64s], arrow: pa.DataType
) -> pa.Array:
    """Give one array that has each part's values at that part's places; the places cover 0 to n once."""
    if len(parts) == 1:
        where = np.asarray(places[0], dtype=np.int64)
        if bool(np.all(where[1:] > where[:-1])):
            return parts[0]
    joined = pa.concat_arrays(parts) if parts else pa.array([], arrow)
    source = np.empty(len(joined), dtype=np.int64)
    source[np.concatenate([np.asarray(place, dtype=np.int64) for place in places])] = np.arange(len(joined))
    return pc.take(joined, pa.array(source))


def is_plain_number(arrow: Any) -> bool:
    """Say whether values of this type are fixed-width numbers, which NumPy holds without change."""
    return bool(pa.types.is_integer(arrow) or pa.types.is_float32(arrow) or pa.types.is_float64(arrow))
