"""Checks of whole columns: safe casts to a field's type, and a field's constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from archetype.core.frames import null_count_inside
from archetype.core.kernels import pc
from archetype.core.layout import FieldLayout

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def cast_column(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast a column without loss to a field's type.

    Raises ValueError if the kinds differ, a child is null that may not be; ArrowException if a value does
    not survive.
    """
    if array.type == target:
        cast = array
    else:
        if not _same_kind(array.type, target):
            raise ValueError(f"is {array.type}, not {target}")
        if _beyond_float32(array, target):
            raise ValueError("holds values outside the range of a 32-bit float")
        cast = pc.cast(array, target, safe=True)
    inside = null_count_inside(cast)
    if inside:
        raise ValueError(f"has {inside} null items, but its items are not Optional")
    return cast


def _same_kind(have: pa.DataType, want: pa.DataType) -> bool:
    if pa.types.is_null(have):
        return True
    if _is_list(have) and _is_list(want):
        return _same_kind(have.value_type, want.value_type)
    if pa.types.is_struct(have) and pa.types.is_struct(want):
        named = {child.name: child.type for child in have}
        if set(named) != {child.name for child in want}:
            return False
        return all(_same_kind(named[child.name], child.type) for child in want)
    return any(test(have) and test(want) for test in _KINDS)


def _is_list(arrow: pa.DataType) -> bool:
    return pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow)


def _is_number(arrow: pa.DataType) -> bool:
    return pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)


def _is_text(arrow: pa.DataType) -> bool:
    return pa.types.is_string(arrow) or pa.types.is_large_string(arrow)


def _is_binary(arrow: pa.DataType) -> bool:
    return (
        pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow) or pa.types.is_fixed_size_binary(arrow)
    )


_KINDS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_boolean,
    _is_number,
    _is_text,
    _is_binary,
    pa.types.is_timestamp,
)


def _beyond_float32(array: pa.Array, target: pa.DataType) -> bool:
    """Say whether a finite number, at any depth, is too large for a 32-bit float; a cast lets it pass."""
    if pa.types.is_float32(target) and not pa.types.is_null(array.type):
        largest = pc.max(pc.abs(array.filter(pc.is_finite(array)))).as_py()
        return largest is not None and largest > _FLOAT32_MAX
    if _is_list(target) and _is_list(array.type):
        return _beyond_float32(array.flatten(), target.value_type)
    if pa.types.is_struct(target) and pa.types.is_struct(array.type):
        children = dict(zip((child.name for child in array.type), array.flatten(), strict=True))
        return any(_beyond_float32(children[child.name], child.type) for child in target)
    return False


def constraint_faults(array: pa.Array, plan: FieldLayout) -> Iterator[str]:
    """Check the bounds, lengths and allowed values that a field declares, nested ones too."""
    if plan.constraints is not None:
        for says, rows in plan.constraints.broken(array):
            yield f"{says} in {len(rows)} rows"
