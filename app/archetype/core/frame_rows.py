"""What comes back from Daft, held to what went in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from archetype.core.archetype import Archetype
from archetype.core.frames import null_count_inside
from archetype.core.kernels import pc
from archetype.core.state import ArchetypeTable, Int64s, take_rows


class RowsError(Exception):
    """A frame's rows cannot be believed; the message completes "its output …"."""


@dataclass(frozen=True, eq=False)
class CheckedRows:
    """The rows that go on, and those that came back inactive; None where there are none."""

    active: ArchetypeTable | None
    inactive: ArchetypeTable | None


@dataclass(frozen=True, eq=False)
class CheckedColumns:
    """A frame's columns by the table's names, in its order of rows; `is_active` is None if all rows are.

    A column whose memory is untouched is the very object that the table holds; any other has its own memory.
    """

    arrays: Mapping[str, pa.Array]
    is_active: npt.NDArray[np.bool_] | None


def check_columns(before: ArchetypeTable, output: pa.Table) -> CheckedColumns:
    """Hold a collected frame (entity_id, is_active, component columns) to the rows it came from.

    The order may differ and is put right. Raises RowsError if rows are lost, added or repeated, or a value
    does not fit its column.
    """
    output = in_order(before, output)
    arrays = {
        column.name: _kept(one_array(output.column(column.name)), before.array(column.name), column)
        for column in before.archetype.schema
    }
    is_active = one_array(output.column("is_active"))
    if is_active.null_count:
        raise RowsError(f"has a null is_active in {is_active.null_count} rows; set it to true or false")
    flags = is_active.to_numpy(zero_copy_only=False) if is_active.false_count else None
    return CheckedColumns(arrays, flags)


def check_rows(before: ArchetypeTable, output: pa.Table) -> CheckedRows:
    """Hold a collected frame to the rows it came from, as `check_columns` does, and part the ended ones."""
    archetype = before.archetype
    checked = check_columns(before, output)
    arrays = [before.array("entity_id"), *checked.arrays.values()]
    if checked.is_active is None:
        unchanged = all(new is old for new, old in zip(arrays, _arrays(before), strict=True))
        return CheckedRows(before if unchanged else ArchetypeTable.from_arrays(archetype, arrays), None)
    rows = pa.table(arrays, schema=archetype.table_schema)
    active, inactive = np.flatnonzero(checked.is_active), np.flatnonzero(~checked.is_active)
    return CheckedRows(
        ArchetypeTable(archetype, take_rows(rows, active)) if len(active) else None,
        ArchetypeTable(archetype, take_rows(rows, inactive)),
    )


def _arrays(table: ArchetypeTable) -> list[pa.Array]:
    return [table.array(name) for name in table.rows.column_names]


def in_order(before: ArchetypeTable, output: pa.Table) -> pa.Table:
    """Give rows in the order of a table's, found by their entity_id.

    Raises RowsError if rows are lost, added or repeated.
    """
    column = one_array(output.column("entity_id"))
    if column.null_count:
        raise RowsError(f"has a null entity_id in {column.null_count} rows")
    ids: Int64s = column.to_numpy()
    want = before.entity_ids
    if len(ids) == len(want) and bool(np.array_equal(ids, want)):
        return output
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if len(ordered) == len(want) and bool(np.array_equal(ordered, want)):
        return take_rows(output, order)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    faults = {
        "lost": np.setdiff1d(want, ordered),
        "added": np.setdiff1d(ordered, want),
        "repeated": repeated,
    }
    said = [f"{name} {len(found)} ({_first(found)})" for name, found in faults.items() if len(found)]
    raise RowsError(
        f"{' and '.join(said)} of {len(want)} entities; return every row once, and set is_active to false "
        "to end an entity"
    )


def _first(ids: Int64s) -> str:
    return ", ".join(str(entity_id) for entity_id in ids[:5]) + (", …" if len(ids) > 5 else "")


def _kept(array: pa.Array, before: pa.Array, column: pa.Field) -> pa.Array:
    """Give values as ones of a column in memory of their own, or `before` itself where they lie in its."""
    return before if same_memory(before, array) else owned(conformed(array, column))


def owned(array: pa.Array) -> pa.Array:
    """Copy an array: what users hand in may lie in memory that they write to later."""
    return pa.concat_arrays([array])


def conformed(array: pa.Array, column: pa.Field) -> pa.Array:
    """Give values as ones of a column; raises RowsError if they do not fit."""
    if array.null_count and not column.nullable:
        raise RowsError(f"has {array.null_count} nulls in {column.name}, which is not Optional")
    try:
        cast = array if array.type == column.type else pc.cast(array, column.type, safe=True)
    except pa.ArrowException as exc:
        raise RowsError(f"has values in {column.name} that do not fit {column.type}: {exc}") from exc
    inside = null_count_inside(cast)
    if inside:
        raise RowsError(f"has {inside} null items in {column.name}, whose items are not Optional")
    return cast


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give a column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def same_memory(before: pa.Array, after: pa.Array) -> bool:
    """Say whether two arrays have the same values because they lie in the same memory.

    That holds while nobody writes to it, so `before` must be `owned`. Offsets may have been written anew
    (Daft widens them), so those are compared by value. False says nothing: the values may still be equal.
    """
    if len(before) != len(after) or before.null_count != after.null_count:
        return False
    if before.null_count and not pc.all(pc.equal(before.is_valid(), after.is_valid())).as_py():
        return False
    kind = before.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_list(kind):
        return _same_variable(before, after)
    if pa.types.is_fixed_size_list(kind):
        return pa.types.is_fixed_size_list(after.type) and _same_children(before, after)
    if pa.types.is_struct(kind):
        return pa.types.is_struct(after.type) and _same_fields(before, after)
    if kind != after.type:
        return False
    first, second = before.buffers()[1], after.buffers()[1]
    if first is None or second is None:
        return first is second
    if pa.types.is_boolean(kind):
        return first.address == second.address and before.offset == after.offset
    width = kind.bit_width // 8
    return first.address + before.offset * width == second.address + after.offset * width


def _same_variable(before: pa.Array, after: pa.Array) -> bool:
    first, second = _offsets(before), _offsets(after)
    if first is None or second is None or not np.array_equal(first, second):
        return False
    if pa.types.is_list(before.type):
        nested = pa.types.is_list(after.type) or pa.types.is_large_list(after.type)
        return nested and same_memory(before.values, after.values)
    texts = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    if after.type not in {before.type, texts[before.type]}:
        return False
    if first[0] == first[-1]:
        return True
    first_data, second_data = before.buffers()[2], after.buffers()[2]
    if first_data is None or second_data is None:
        return False
    return first_data.address == second_data.address


def _offsets(array: pa.Array) -> np.ndarray | None:
    kind = array.type
    large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) or pa.types.is_large_list(kind)
    if not (large or pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_list(kind)):
        return None
    buffer = array.buffers()[1]
    if buffer is None:
        return None
    numbers = np.frombuffer(buffer, dtype=np.int64 if large else np.int32)
    return numbers[array.offset : array.offset + len(array) + 1]


def _same_children(before: pa.Array, after: pa.Array) -> bool:
    if before.type.list_size != after.type.list_size or before.null_count:
        return False
    return same_memory(before.flatten(), after.flatten())


def _same_fields(before: pa.Array, after: pa.Array) -> bool:
    if [field.name for field in before.type] != [field.name for field in after.type] or before.null_count:
        return False
    return all(same_memory(before.field(i), after.field(i)) for i in range(before.type.num_fields))


def merged_tombstones(
    archetype: Archetype, first: ArchetypeTable | None, second: ArchetypeTable | None
) -> ArchetypeTable | None:
    """Give the ended rows of two steps of one tick together."""
    if first is None or second is None:
        return first or second
    return ArchetypeTable.of(archetype, pa.concat_tables([first.rows, second.rows]))
