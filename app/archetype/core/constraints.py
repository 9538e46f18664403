"""What a field's annotation demands of its values beyond their type, held against whole columns."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import typing
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import annotated_types as at
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from archetype.core.arrow_types import optional_inner
from archetype.core.kernels import pc

__all__ = ["Constraints", "constraints_of"]

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One demand: whether each value meets it, where nulls do; `says` completes "it …"."""

    says: str
    holds: Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class Constraints:
    """The demands on a column's values, on the items of its lists, and on the fields of its structs."""

    rules: tuple[_Rule, ...]
    items: Constraints | None = None
    fields: tuple[tuple[int, Constraints], ...] = ()

    def broken(self, array: pa.Array) -> Iterator[tuple[str, Int64s]]:
        """Give each demand that is not met, and the rows that do not meet it, ascending."""
        for rule in self.rules:
            rows = np.flatnonzero(~_flags(rule.holds(array)))
            if len(rows):
                yield rule.says, rows
        if self.items is not None:
            rows = np.flatnonzero(_flags(array.is_valid()))
            present = array.take(pa.array(rows))
            parents = rows[pc.list_parent_indices(present).to_numpy()]
            for says, places in self.items.broken(present.flatten()):
                yield says, np.unique(parents[places])
        if self.fields:
            children = array.flatten()
            for place, constraints in self.fields:
                yield from constraints.broken(children[place])


def constraints_of(info: FieldInfo) -> Constraints | None:
    """Give what a field demands, None if nothing: bounds, lengths, allowed values, years that Python has.

    Demands that only a validator of its own knows are not among them.
    """
    return _constraints(info.annotation, info.metadata)


def _constraints(annotation: Any, metadata: list[Any]) -> Constraints | None:
    annotation, marks = _unwrapped(annotation, metadata)
    rules = (*_marked(marks), *_of_type(annotation))
    items, fields = None, ()
    if typing.get_origin(annotation) in {list, tuple}:
        items = _constraints(typing.get_args(annotation)[0], [])
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        found = [constraints_of(info) for info in annotation.model_fields.values()]
        fields = tuple((place, each) for place, each in enumerate(found) if each is not None)
    return Constraints(rules, items, fields) if rules or items or fields else None


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Take `Annotated` and `Optional` off; give what is inside, and all marks on it."""
    marks = list(metadata)
    while True:
        inner = optional_inner(annotation)
        if inner is None and typing.get_origin(annotation) is not typing.Annotated:
            return annotation, marks
        if inner is None:
            inner, *own = typing.get_args(annotation)
            for mark in own:
                marks.extend(mark.metadata if isinstance(mark, FieldInfo) else [mark])
        annotation = inner


def _marked(marks: list[Any]) -> Iterator[_Rule]:
    for mark in marks:
        for each in mark if isinstance(mark, at.GroupedMetadata) else [mark]:
            for test, bound, compare, measure in _TESTS:
                if isinstance(each, test):
                    yield _bounded(bound, getattr(each, bound), compare, measure)


def _bounded(
    bound: str, limit: Any, compare: Callable[..., pa.Array], measure: Callable[[pa.Array], pa.Array]
) -> _Rule:
    return _Rule(f"breaks {bound}={limit}", lambda array: compare(measure(array), limit))


def _of_type(annotation: Any) -> Iterator[_Rule]:
    allowed = _allowed_values(annotation)
    if allowed is not None:
        yield _Rule(
            f"is none of {allowed}",
            lambda array: pc.or_(pc.is_in(array, pa.array(allowed, array.type)), pc.is_null(array)),
        )
    if annotation is uuid.UUID:
        yield _Rule("is not a lower-case UUID", lambda array: pc.match_substring_regex(array, _UUID_PATTERN))
    if annotation is dt.datetime:
        yield _Rule("is outside of the years 1 to 9999", _has_year)


def _has_year(array: pa.Array) -> pa.Array:
    counted = array.view(pa.int64())
    return pc.and_(pc.greater_equal(counted, _FIRST_US), pc.less_equal(counted, _LAST_US))


_UUID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_EPOCH, _MICROSECOND = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(microseconds=1)
_FIRST_US = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND


def _allowed_values(annotation: Any) -> list[Any] | None:
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    # Flags have values beside those of their members.
    if (
        inspect.isclass(annotation)
        and issubclass(annotation, enum.Enum)
        and not issubclass(annotation, enum.Flag)
    ):
        members: type[enum.Enum] = annotation
        return [member.value for member in members]
    return None


def _flags(array: pa.Array) -> npt.NDArray[np.bool_]:
    return pc.fill_null(array, fill_value=True).to_numpy(zero_copy_only=False)


def _value(array: pa.Array) -> pa.Array:
    return array


def _length(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return pc.utf8_length(array)
    if pa.types.is_binary(array.type):
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
