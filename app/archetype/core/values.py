"""One value, three forms: the Python value in a component, its JSON in a payload, and what Arrow takes.

A codec is made once per field. Its functions are None where the forms are the same, so that plain
numbers and strings cost nothing.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import inspect
import math
import typing
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from archetype.core.arrow_types import field_annotation, optional_inner, strip_annotated

Convert = Callable[[Any], Any]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Codec:
    """Converters between the forms of one field's values; None means unchanged.

    `to_json` raises ValueError on a value that JSON or the column cannot hold.
    """

    to_json: Convert | None = None
    to_arrow: Convert | None = None
    from_json: Convert | None = None


def codec_of(annotation: Any) -> Codec:
    """Make the codec for an annotation that `arrow_type` accepts."""
    annotation, vector = strip_annotated(annotation)
    inner = optional_inner(annotation)
    if inner is not None:
        return _optional(codec_of(inner if vector is None else typing.Annotated[inner, vector]))
    if vector is not None:
        item = Codec(to_json=_finite if vector.item == "float64" else _finite_float32, from_json=float)
        return _sequence(item)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {list, tuple}:
        return _sequence(codec_of(args[0]))
    if origin is Literal:
        return Codec(to_json=_in_int64)
    if issubclass(annotation, enum.Enum):
        return Codec(to_json=_enum_value, to_arrow=_enum_value)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    return _SCALAR_CODECS[annotation]


def _optional(inner: Codec) -> Codec:
    def lift(convert: Convert | None) -> Convert | None:
        return None if convert is None else (lambda value: None if value is None else convert(value))

    return Codec(lift(inner.to_json), lift(inner.to_arrow), lift(inner.from_json))


def _sequence(item: Codec) -> Codec:
    def lift(convert: Convert | None) -> Convert:
        if convert is None:
            return list
        return lambda values: [convert(value) for value in values]

    return Codec(lift(item.to_json), lift(item.to_arrow), lift(item.from_json))


def _struct(model: type[BaseModel]) -> Codec:
    fields = [(name, codec_of(field_annotation(info))) for name, info in model.model_fields.items()]

    def dump(form: Literal["to_json", "to_arrow"]) -> Convert:
        plan = [(name, getattr(codec, form) or _same) for name, codec in fields]
        return lambda value: {name: convert(getattr(value, name)) for name, convert in plan}

    load = [(name, codec.from_json or _same) for name, codec in fields]
    return Codec(
        dump("to_json"),
        dump("to_arrow"),
        lambda value: {name: convert(value[name]) for name, convert in load},
    )


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("NaN and infinity cannot be written as JSON; use a bulk Arrow table for them")
    return value


def _finite_float32(value: float) -> float:
    if abs(_finite(value)) > _FLOAT32_MAX:
        raise ValueError("is outside the range of a 32-bit float")
    return value


def _in_int64(value: Any) -> Any:
    if isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
        raise ValueError("is outside the range of a 64-bit integer")
    return value


def _enum_value(value: Any) -> Any:
    return _in_int64(value.value if isinstance(value, enum.Enum) else value)


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate, which is not text") from None
    return value


def _aware(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _instant_text(value: dt.datetime) -> str:
    return _aware(value).isoformat().removesuffix("+00:00") + "Z"


def _base64_text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode("ascii")


_SCALAR_CODECS: dict[Any, Codec] = {
    bool: Codec(),
    int: Codec(to_json=_in_int64),
    float: Codec(to_json=_finite, from_json=float),
    str: Codec(to_json=_utf8),
    bytes: Codec(to_json=_base64_text, from_json=base64.urlsafe_b64decode),
    dt.datetime: Codec(to_json=_instant_text, to_arrow=_aware, from_json=dt.datetime.fromisoformat),
    uuid.UUID: Codec(to_json=str, to_arrow=str),
}
