"""How a field's annotation becomes an Arrow type, and how an Arrow type is written down.

The written form is our own grammar, because it is hashed and stored: `float64`, `list<item:float64?>`
(a `?` marks a child that may be null), `fixed_size_list<float64>[3]`, `struct<x:float64,"two words":string>`,
`timestamp[us,UTC]`.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import json
import re
import types
import typing
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import pyarrow as pa
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from archetype.errors import ComponentError, InvalidInputError
from archetype.limits import TYPE_DEPTH_MAX

SIMPLE_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "timestamp[us,UTC]": pa.timestamp("us", tz="UTC"),
}
_SIMPLE_NAMES = {arrow: name for name, arrow in SIMPLE_TYPES.items()}
_SCALARS: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    dt.datetime: SIMPLE_TYPES["timestamp[us,UTC]"],
    uuid.UUID: pa.string(),
}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Vector:
    """Marks a list field as a vector of fixed length: `Annotated[list[float], Vector(3)]`.

    `length` counts the items, and every value must have exactly so many; `item` is "float64" or
    "float32". A value with a `tolist` method (a NumPy array) is taken as well.
    """

    length: int
    item: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        if self.length < 1 or self.item not in {"float64", "float32"}:
            raise ComponentError("Vector needs a length of at least 1 and an item of 'float64' or 'float32'.")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Hold values to the length."""
        schema = core_schema.list_schema(
            core_schema.float_schema(), min_length=self.length, max_length=self.length
        )
        return core_schema.no_info_before_validator_function(_as_plain_list, schema)


def _as_plain_list(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def arrow_type(annotation: Any, where: str = "value") -> tuple[pa.DataType, bool]:
    """Give the Arrow type of a field annotation, and whether it may be null.

    Raises ComponentError naming `where` (the class and field) if no column can hold such values.
    """
    return _arrow_type(annotation, where, 0)


def _arrow_type(  # noqa: C901 (one branch per kind)
    annotation: Any, where: str, depth: int
) -> tuple[pa.DataType, bool]:
    if depth > TYPE_DEPTH_MAX:
        raise ComponentError(f"{where} nests too deeply; a component cannot contain itself.")
    annotation, vector = strip_annotated(annotation)
    inner = optional_inner(annotation)
    if inner is not None:
        return _arrow_type(inner if vector is None else Annotated[inner, vector], where, depth + 1)[0], True
    if vector is not None:
        if annotation != list[float]:
            raise ComponentError(f"{where}: Vector marks list[float] fields, not {annotation!r}.")
        item = pa.field("item", SIMPLE_TYPES[vector.item], nullable=False)
        return pa.list_(item, vector.length), False
    if annotation in _SCALARS:
        return _SCALARS[annotation], False
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _values_type(args, where), False
    if origin is list:
        item_type, item_nullable = _arrow_type(args[0], where, depth + 1)
        return pa.list_(pa.field("item", item_type, nullable=item_nullable)), False
    if origin is tuple and args and Ellipsis not in args and len(set(args)) == 1:
        item_type, item_nullable = _arrow_type(args[0], where, depth + 1)
        return pa.list_(pa.field("item", item_type, nullable=item_nullable), len(args)), False
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return _values_type([member.value for member in annotation], where), False
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return _struct_type(annotation, where, depth), False
    raise ComponentError(
        f"{where} has the type {_show(annotation)}, which no column can hold. Use bool, int, float, str, "
        "bytes, datetime, UUID, an Enum, a Literal, Optional, list[T], a fixed tuple, a Vector or a nested "
        "model; write anything else as JSON into a str."
    )


def _struct_type(model: type[BaseModel], where: str, depth: int) -> pa.DataType:
    if not model.model_fields:
        raise ComponentError(f"{where} nests {model.__name__}, which has no fields.")
    children: list[pa.Field] = []
    for name, info in model.model_fields.items():
        child_type, nullable = _arrow_type(field_annotation(info), f"{where}.{name}", depth + 1)
        if child_type == pa.binary() and model.model_config.get("val_json_bytes") != "base64":
            raise ComponentError(
                f"{where}.{name} holds bytes in a nested model; give {model.__name__} "
                "model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')."
            )
        children.append(pa.field(name, child_type, nullable=nullable))
    return pa.struct(children)


def _values_type(values: typing.Iterable[Any], where: str) -> pa.DataType:
    kinds = {type(value) for value in values}
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return pa.string()
    if kinds and all(issubclass(kind, int) and kind is not bool for kind in kinds):
        return pa.int64()
    raise ComponentError(f"{where}: the values of an Enum or Literal must be all str or all int.")


def strip_annotated(annotation: Any) -> tuple[Any, Vector | None]:
    """Take `Annotated` off, keeping a Vector mark if there is one."""
    vector = None
    while typing.get_origin(annotation) is Annotated:
        annotation, *marks = typing.get_args(annotation)
        vector = next((mark for mark in marks if isinstance(mark, Vector)), vector)
    return annotation, vector


def optional_inner(annotation: Any) -> Any | None:
    """Give T of `Optional[T]`, or None for anything else."""
    if typing.get_origin(annotation) not in {Union, types.UnionType}:
        return None
    rest = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
    if len(rest) == 1 and len(typing.get_args(annotation)) == 2:
        return rest[0]
    return None


def field_annotation(info: Any) -> Any:
    """Give a Pydantic field's annotation with its Vector mark, which Pydantic keeps apart."""
    vector = next((mark for mark in info.metadata if isinstance(mark, Vector)), None)
    return info.annotation if vector is None else Annotated[info.annotation, vector]


def _show(annotation: Any) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else repr(annotation)


def type_name(arrow: pa.DataType) -> str:
    """Write an Arrow type in the canonical grammar.

    Raises InvalidInputError for a type that no stored column has.
    """
    simple = _SIMPLE_NAMES.get(arrow)
    if simple is not None:
        return simple
    if pa.types.is_fixed_size_list(arrow):
        return f"fixed_size_list<{_child_name(arrow.value_field)}>[{arrow.list_size}]"
    if pa.types.is_list(arrow):
        return f"list<item:{_child_name(arrow.value_field)}>"
    if pa.types.is_struct(arrow):
        children = [f"{_quoted(child.name)}:{_child_name(child)}" for child in arrow]
        return f"struct<{','.join(children)}>"
    raise InvalidInputError(f"The Arrow type {arrow} has no stored form.")


def _child_name(field: pa.Field) -> str:
    return type_name(field.type) + ("?" if field.nullable else "")


def _quoted(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def parse_type(text: str) -> pa.DataType:
    """Read a type that `type_name` wrote; raises InvalidInputError on anything else."""
    parser = _TypeParser(text)
    arrow = parser.type(0)
    if parser.at != len(text):
        raise parser.error()
    return arrow


class _TypeParser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def error(self) -> InvalidInputError:
        return InvalidInputError(f"{self.text[:200]!r} is not a column type (at character {self.at}).")

    def take(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def expect(self, literal: str) -> None:
        if not self.take(literal):
            raise self.error()

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.error()
        self.at = found.end()
        return found.group()

    def type(self, depth: int) -> pa.DataType:
        if depth > TYPE_DEPTH_MAX:
            raise self.error()
        if self.take("fixed_size_list<"):
            item = self.child("item", depth)
            self.expect(">[")
            size = int(self.match(re.compile(r"[0-9]{1,9}")))
            self.expect("]")
            return pa.list_(item, size)
        if self.take("list<item:"):
            item = self.child("item", depth)
            self.expect(">")
            return pa.list_(item)
        if self.take("struct<"):
            return self.struct(depth)
        if self.take("timestamp[us,UTC]"):
            return SIMPLE_TYPES["timestamp[us,UTC]"]
        simple = SIMPLE_TYPES.get(self.match(_IDENTIFIER))
        if simple is None:
            raise self.error()
        return simple

    def struct(self, depth: int) -> pa.DataType:
        children: list[pa.Field] = []
        while not self.take(">"):
            if children:
                self.expect(",")
            name = self.name()
            self.expect(":")
            children.append(self.child(name, depth))
        return pa.struct(children)

    def name(self) -> str:
        if not self.text.startswith('"', self.at):
            return self.match(_IDENTIFIER)
        try:
            name, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
        except ValueError as exc:
            raise self.error() from exc
        return str(name)

    def child(self, name: str, depth: int) -> pa.Field:
        arrow = self.type(depth + 1)
        return pa.field(name, arrow, nullable=self.take("?"))
