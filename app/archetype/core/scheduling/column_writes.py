"""What frame processors return, as writes of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from archetype.core.combine import Delta
from archetype.core.diff import differing
from archetype.core.frame_rows import (
    CheckedColumns,
    RowsError,
    check_columns,
    conformed,
    one_array,
    owned,
)
from archetype.core.scheduling.expression_values import expression_values
from archetype.core.scheduling.frames import Frames, said
from archetype.core.scheduling.plan import SystemDescriptor
from archetype.core.scheduling.writes import ColumnWrite
from archetype.core.state import Int64s
from archetype.errors import ProcessorError

if TYPE_CHECKING:
    from daft import DataFrame, Expression

__all__ = ["ColumnValues", "FrameWrites", "evaluated", "frame_writes", "mapping_writes"]

ACTIVITY = "is_active"


@dataclass(frozen=True, slots=True, eq=False)
class FrameWrites:
    """What a processor wrote on one archetype, and the rows whose entities it ended."""

    columns: Sequence[ColumnWrite] = ()
    ended: Int64s | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ColumnValues:
    """One entry of a returned mapping: values for a column, not evaluated yet if they are an expression."""

    column: str
    values: Expression | pa.Array
    is_delta: bool


def frame_writes(frames: Frames, system: SystemDescriptor, output: pa.Table) -> FrameWrites:
    """Give the cells in which a whole frame differs from what its processor was given.

    A column that was carried along is no write. Floats are compared by their bits, but a NaN equals a NaN.
    Raises ProcessorError if the frame cannot be believed, AccessViolationError on a column that the
    processor may not write.
    """
    try:
        checked = check_columns(frames.shown, output)
    except RowsError as exc:
        raise frames.error(system, said(exc)) from exc
    writes: list[ColumnWrite] = []
    for name, array in checked.arrays.items():
        before = frames.shown.array(name)
        if array is before:
            continue
        rows: Int64s = np.flatnonzero(differing(before, array, None))
        if len(rows) == len(array):
            writes.append(_written(frames, system, name, None, array))
        elif len(rows):
            writes.append(_written(frames, system, name, rows, array.take(pa.array(rows))))
    return FrameWrites(writes, _ended(frames, system, checked))


def mapping_writes(
    frames: Frames, system: SystemDescriptor, returned: Mapping[str, Any]
) -> list[ColumnValues]:
    """Take a returned mapping apart; each of its cells counts as written, whatever it held.

    Raises ProcessorError on a name that is no column and on an array of another length.
    """
    from daft import Expression  # noqa: PLC0415

    found: list[ColumnValues] = []
    known = frames.shown.archetype.schema.names
    for name, given in returned.items():
        if name not in known and name != ACTIVITY:
            raise _no_column(frames, system, name)
        is_delta = isinstance(given, Delta)
        values: Any = given.value if is_delta else given
        if not isinstance(values, Expression):
            values = _array(frames, system, name, values)
        found.append(ColumnValues(name, values, is_delta))
    return found


async def evaluated(
    frames: Frames, df: DataFrame, returned: Sequence[tuple[SystemDescriptor, Sequence[ColumnValues]]]
) -> list[FrameWrites]:
    """Evaluate what processors returned over one frame in a single query, and give their writes in order.

    Where the query fails, each processor's expressions are evaluated alone, so that the error names the one
    at fault.
    """
    expressions = [
        each.values
        for _, listed in returned
        for each in listed
        if not isinstance(each.values, (pa.Array, pa.ChunkedArray))
    ]
    values: list[pa.Array] = []
    is_shared = len(returned) > 1
    if expressions:
        try:
            values = await expression_values(frames, df, expressions, may_be_aggregates=not is_shared)
        except Exception as exc:
            if is_shared:
                return [(await evaluated(frames, df, [each]))[0] for each in returned]
            system = returned[0][0]
            frames.require_readable(system, exc)
            raise frames.error(system, said(exc)) from exc
    following = iter(values)
    writes: list[FrameWrites] = []
    for system, listed in returned:
        arrays = [each.values if isinstance(each.values, pa.Array) else next(following) for each in listed]
        writes.append(_as_writes(frames, system, listed, arrays))
    return writes


def _as_writes(
    frames: Frames, system: SystemDescriptor, listed: Sequence[ColumnValues], arrays: Sequence[pa.Array]
) -> FrameWrites:
    writes: list[ColumnWrite] = []
    ended: Int64s | None = None
    for each, array in zip(listed, arrays, strict=True):
        if len(array) != frames.table.row_count:
            raise frames.error(
                system,
                f"gave {len(array)} values for {each.column}, which has {frames.table.row_count} rows",
            )
        if each.column == ACTIVITY:
            arrays_by_name = {name: frames.shown.array(name) for name in frames.shown.archetype.schema.names}
            checked = CheckedColumns(arrays_by_name, _flags(frames, system, array))
            ended = _ended(frames, system, checked)
            continue
        field = frames.shown.archetype.schema.field(each.column)
        if each.is_delta:
            field = field.with_nullable(True)  # noqa: FBT003
        try:
            values = conformed(array, field)
        except RowsError as exc:
            raise frames.error(system, said(exc)) from exc
        writes.append(_written(frames, system, each.column, None, values, is_delta=each.is_delta))
    return FrameWrites(writes, ended)


def _flags(frames: Frames, system: SystemDescriptor, array: pa.Array) -> Any:
    if not pa.types.is_boolean(array.type) or array.null_count:
        raise frames.error(system, "gave values for is_active that are not all true or false")
    return array.to_numpy(zero_copy_only=False) if array.false_count else None


def _ended(frames: Frames, system: SystemDescriptor, checked: CheckedColumns) -> Int64s | None:
    if checked.is_active is None:
        return None
    for component in frames.table.archetype.components:
        system.rights.require_write(system.name, component)
    return np.flatnonzero(~checked.is_active)


def _written(
    frames: Frames,
    system: SystemDescriptor,
    column: str,
    rows: Int64s | None,
    values: pa.Array,
    *,
    is_delta: bool = False,
) -> ColumnWrite:
    archetype = frames.table.archetype
    system.rights.require_write(system.name, archetype.component_of(column))
    if not is_delta:
        ids = frames.table.entity_ids
        frames.require_valid(system, column, values, ids if rows is None else ids[rows])
    return ColumnWrite(archetype.archetype_id, column, rows, values, is_delta)


def _array(frames: Frames, system: SystemDescriptor, name: str, values: Any) -> pa.Array:
    """Give plain values as an array of its own memory: one for each row, or one for all of them."""
    field = pa.field(ACTIVITY, pa.bool_()) if name == ACTIVITY else frames.shown.archetype.schema.field(name)
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            return owned(one_array(values))
        if hasattr(values, "to_arrow"):
            return owned(one_array(values.to_arrow()))
        if isinstance(values, np.ndarray):
            return owned(pa.array(values, None if values.dtype.kind in "biuf" else field.type))
        if isinstance(values, (list, tuple)):
            return _untruncated(values, field.type)
        scalar = values if isinstance(values, pa.Scalar) else _untruncated([values], field.type)[0]
        return pa.repeat(scalar, frames.table.row_count)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise frames.error(system, f"gave values for {name} that are none of {field.type}: {exc}") from exc


def _untruncated(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Give values as an array of a type, or of floats where it would cut their fractions off."""
    array = pa.array(values, kind)
    if pa.types.is_integer(_leaf(kind)):
        as_given = pa.array(values)
        if pa.types.is_floating(_leaf(as_given.type)):
            return as_given
    return array


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _no_column(frames: Frames, system: SystemDescriptor, name: str) -> ProcessorError:
    archetype = frames.table.archetype
    if name in archetype.schema.names:
        system.rights.require_write(system.name, archetype.component_of(name))
    known = ", ".join(frames.shown.archetype.schema.names)
    return frames.error(system, f"gave values for {name!r}, which is no component column of it ({known})")
