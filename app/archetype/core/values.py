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
from archetype.core.instances import copier_of, maker_of

Convert = Callable[[Any], Any]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Codec:
    """Converters between the forms of one field's values; None means unchanged.

    `to_json` raises ValueError on a value that JSON or the column cannot hold. `from_arrow` takes what
    `to_pylist` gives, and shares nothing with it that can be changed; `copy` makes of a Python value one
    that shares nothing with it, None where values cannot be changed.
    """

    to_json: Convert | None = None
    to_arrow: Convert | None = None
    from_json: Convert | None = None
    from_arrow: Convert | None = None
    copy: Convert | None = None


def codec_of(annotation: Any, *, keeps_enums: bool = True) -> Codec:
    """Make the codec for an annotation that `arrow_type` accepts.

    `keeps_enums` is false for the fields of a model that holds the values of its enums, not the members.
    """
    annotation, vector = strip_annotated(annotation)
    inner = optional_inner(annotation)
    if inner is not None:
        inner = inner if vector is None else typing.Annotated[inner, vector]
        return _optional(codec_of(inner, keeps_enums=keeps_enums))
    if vector is not None:
        item = Codec(to_json=_finite if vector.item == "float64" else _finite_float32, from_json=float)
        return _sequence(item, list)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {list, tuple}:
        return _sequence(codec_of(args[0], keeps_enums=keeps_enums), origin)
    if origin is Literal:
        return Codec(to_json=_in_int64)
    if issubclass(annotation, enum.Enum):
        return Codec(_enum_value, _enum_value, from_arrow=annotation if keeps_enums else None)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    return _SCALAR_CODECS[annotation]


def holds_enums(model: type[BaseModel]) -> bool:
    """Say whether a model's fields hold the members of enums, and not their values."""
    return not model.model_config.get("use_enum_values", False)


def _optional(inner: Codec) -> Codec:
    def lift(convert: Convert | None) -> Convert | None:
        return None if convert is None else (lambda value: None if value is None else convert(value))

    return Codec(
        lift(inner.to_json),
        lift(inner.to_arrow),
        lift(inner.from_json),
        lift(inner.from_arrow),
        lift(inner.copy),
    )


def _sequence(item: Codec, kind: type[list[Any]] | type[tuple[Any, ...]]) -> Codec:
    def lift(convert: Convert | None) -> Convert:
        if convert is None:
            return list
        return lambda values: [convert(value) for value in values]

    def restore(convert: Convert | None) -> Convert:
        if convert is None:
            return kind
        return lambda values: kind(convert(value) for value in values)

    return Codec(
        lift(item.to_json),
        lift(item.to_arrow),
        lift(item.from_json),
        restore(item.from_arrow),
        None if kind is tuple and item.copy is None else restore(item.copy),
    )


def _struct(model: type[BaseModel]) -> Codec:
    make, keeps_enums = maker_of(model), holds_enums(model)
    fields = [
        (name, codec_of(field_annotation(info), keeps_enums=keeps_enums))
        for name, info in model.model_fields.items()
    ]

    def dump(form: Literal["to_json", "to_arrow"]) -> Convert:
        plan = [(name, getattr(codec, form) or _same) for name, codec in fields]
        return lambda value: {name: convert(getattr(value, name)) for name, convert in plan}

    def load(form: Literal["from_json", "from_arrow"]) -> Convert:
        plan = [(name, getattr(codec, form) or _same) for name, codec in fields]
        return lambda value: {name: convert(value[name]) for name, convert in plan}

    values_of = load("from_arrow")
    return Codec(
        dump("to_json"),
        dump("to_arrow"),
        load("from_json"),
        lambda value: make(values_of(value)),
        copier_of(model, [(name, codec.copy) for name, codec in fields if codec.copy is not None]),
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


def _in_utc(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC)


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
    dt.datetime: Codec(_instant_text, _aware, dt.datetime.fromisoformat, _in_utc),
    uuid.UUID: Codec(to_json=str, to_arrow=str, from_arrow=uuid.UUID),
}
