"""Components so plain that a payload can be checked without a model: each field is a scalar without rules.

That is how most are. What is checked here is only whether each value has exactly its field's type, so whoever
asks must leave all other payloads, also those with a fault, to the class's own validator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import SchemaValidator

__all__ = ["MISSING", "NO_FIELD", "PlainField", "plain_fields"]

MISSING: Final = object()
"""Stands for a value that is not given, and for the default of a field that has none."""

_TYPES: Mapping[str, type] = {"float": float, "int": int, "str": str, "bool": bool}
_CONFIG: Mapping[str, Any] = {
    "extra_fields_behavior": "forbid",
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "validate_by_alias": False,
    "validate_by_name": True,
}
"""What the configuration of `Component` is to pydantic's core."""
_MODEL_KEYS = {"type", "cls", "config", "custom_init", "metadata", "ref", "root_model", "schema"}
_FIELDS_KEYS = {"type", "fields", "computed_fields", "model_name"}
_FIELD_KEYS = {"type", "schema", "metadata"}


class PlainField(NamedTuple):
    """The types that a value of a field may have, and its default."""

    types: frozenset[type]
    default: Any


NO_FIELD = PlainField(frozenset(), MISSING)


def plain_fields(cls: type[BaseModel]) -> dict[str, PlainField] | None:
    """Describe the fields of a component class that has no rule of its own.

    None stands for a class with any validator, constraint, alias, post-init or default factory, or with a
    field that is more than a float, int, str or bool, or one of these or None: all that would be asked for
    more than the type of a value. It is told from pydantic's core schema, in which all of them stand.
    """
    schema = cast("dict[str, Any]", cls.__pydantic_core_schema__)
    is_plain = (
        type(cls.__pydantic_validator__) is SchemaValidator
        and schema["type"] == "model"
        and schema.keys() <= _MODEL_KEYS
        and not schema.get("custom_init")
        and not schema.get("root_model")
        and {name: value for name, value in schema["config"].items() if name != "title"} == _CONFIG
        and schema["schema"]["type"] == "model-fields"
        and schema["schema"].keys() <= _FIELDS_KEYS
    )
    if not is_plain:
        return None
    fields: dict[str, PlainField] = {}
    for name, field in schema["schema"]["fields"].items():
        found = _plain_field(field["schema"]) if field.keys() <= _FIELD_KEYS else None
        if found is None:
            return None
        fields[name] = found
    return fields


def _plain_field(schema: Mapping[str, Any]) -> PlainField | None:
    default: Any = MISSING
    if schema["type"] == "default":
        if set(schema) != {"type", "schema", "default"}:
            return None
        schema, default = schema["schema"], schema["default"]
    types: set[type] = set()
    if schema["type"] == "nullable" and set(schema) == {"type", "schema"}:
        types.add(type(None))
        schema = schema["schema"]
    if set(schema) != {"type"} or schema["type"] not in _TYPES:
        return None
    types.add(_TYPES[schema["type"]])
    if default is not MISSING and type(default) not in types:
        return None
    return PlainField(frozenset(types), default)
