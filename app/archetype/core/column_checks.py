"""Checks of whole columns: safe casts to a field's type, and a field's constraints."""

from __future__ import annotations

import enum
import inspect
import typing
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal

import annotated_types as at
import numpy as np
import pyarrow as pa

from archetype.core.arrow_types import optional_inner, strip_annotated
from archetype.core.frames import null_count_inside
from archetype.core.kernels import pc
from archetype.core.layout import FieldLayout

_UUID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
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
        if pa.types.is_float32(_leaf(target)) and _beyond_float32(array):
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


def _leaf(arrow: pa.DataType) -> pa.DataType:
    return arrow.value_type if _is_list(arrow) else arrow


def _beyond_float32(array: pa.Array) -> bool:
    values = array.flatten() if _is_list(array.type) else array
    finite = values.filter(pc.is_finite(values))
    largest = pc.max(pc.abs(finite)).as_py()
    return largest is not None and largest > _FLOAT32_MAX


def constraint_faults(array: pa.Array, plan: FieldLayout) -> Iterator[str]:
    """Check the bounds, lengths and allowed values that a field declares; nulls are passed over."""
    for mark in _marks(plan):
        for test, bound, compare, measure in _TESTS:
            if isinstance(mark, test):
                limit = getattr(mark, bound)
                bad = _count_false(compare(measure(array), limit))
                if bad:
                    yield f"breaks {bound}={limit} in {bad} rows"
    allowed = _allowed_values(plan.info.annotation)
    if allowed is not None:
        bad = _count_false(pc.or_(pc.is_in(array, pa.array(allowed, array.type)), pc.is_null(array)))
        if bad:
            yield f"has a value other than {allowed} in {bad} rows"
    if _bare(plan.info.annotation) is uuid.UUID:
        bad = _count_false(pc.match_substring_regex(array, _UUID_PATTERN))
        if bad:
            yield f"is not a lower-case UUID in {bad} rows"


def _marks(plan: FieldLayout) -> Iterator[Any]:
    for mark in plan.info.metadata:
        if isinstance(mark, at.GroupedMetadata):
            yield from mark
        else:
            yield mark


def _count_false(flags: pa.Array) -> int:
    return pc.sum(pc.invert(flags)).as_py() or 0


def _value(array: pa.Array) -> pa.Array:
    return array


def _length(array: pa.Array) -> pa.Array:
    if _is_text(array.type):
        return pc.utf8_length(array)
    if _is_binary(array.type):
        return pc.binary_length(array)
    return pc.list_value_length(array)


_TESTS: tuple[tuple[type, str, Callable[..., Any], Callable[[pa.Array], pa.Array]], ...] = (
    (at.Ge, "ge", pc.greater_equal, _value),
    (at.Gt, "gt", pc.greater, _value),
    (at.Le, "le", pc.less_equal, _value),
    (at.Lt, "lt", pc.less, _value),
    (at.MinLen, "min_length", pc.greater_equal, _length),
    (at.MaxLen, "max_length", pc.less_equal, _length),
)


def _bare(annotation: Any) -> Any:
    annotation, _ = strip_annotated(annotation)
    inner = optional_inner(annotation)
    return annotation if inner is None else strip_annotated(inner)[0]


def _allowed_values(annotation: Any) -> list[Any] | None:
    bare = _bare(annotation)
    if typing.get_origin(bare) is Literal:
        return list(typing.get_args(bare))
    if inspect.isclass(bare) and issubclass(bare, enum.Enum):
        return [member.value for member in bare]
    return None
