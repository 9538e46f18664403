"""What a component class looks like as columns and as JSON, worked out once per class."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, SchemaValidator, core_schema, to_json

from archetype.core.arrow_types import arrow_type, field_annotation, optional_inner
from archetype.core.combine import Combine, Operation, combines, fits
from archetype.core.constraints import Constraints, constraints_of
from archetype.core.faults import too_many
from archetype.core.instances import Make, copier_of, maker_of
from archetype.core.plain import NO_FIELD, plain_fields
from archetype.core.values import Codec, Convert, codec_of, holds_enums
from archetype.errors import ComponentError, FieldFault, InvalidInputError
from archetype.limits import COMPONENT_FIELDS_MAX


@dataclass(frozen=True, slots=True)
class FieldLayout:
    """One field: its column in a table, the codec of its values, and how several writes of it combine.

    `constraints` are None where any value of the column's type will do.
    """

    name: str
    column: str
    codec: Codec
    arrow: pa.Field
    info: FieldInfo
    operation: Operation | None = None
    constraints: Constraints | None = None


Spelled = tuple[str | None, str, Convert | None]
PlainSpelled = tuple[str | None, str, Convert | None, frozenset[type], Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """A component class as columns: field order is the class's order.

    `make` makes a component of its values; `copy` makes of one another that shares nothing with it. `spelled`
    is for canonical JSON, in the order of its keys: each field's name, `"name":` and `to_json`; and whole,
    without a name, `"type":"Name"`. `plain` is there for classes that `plain_fields` describes: of each of
    `spelled`, also the types that its value may have, and its default.
    """

    type_name: str
    prefix: str
    fields: tuple[FieldLayout, ...]
    schema: pa.Schema
    prefixed_schema: pa.Schema
    to_json: tuple[tuple[str, Convert | None], ...]
    spelled: tuple[Spelled, ...]
    plain: tuple[PlainSpelled, ...] | None
    to_arrow: tuple[tuple[str, str, Convert | None], ...]
    from_json: Mapping[str, tuple[str, Convert | None]]
    from_arrow: tuple[tuple[str, str, Convert | None], ...]
    make: Make
    copy: Convert
    whole: SchemaValidator
    partial: SchemaValidator

    def json_fields(self, values: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Give the JSON normal form of the fields that are present in `values`.

        Raises ComponentError with the path of each value that JSON or its column cannot hold.
        """
        faults: list[FieldFault] = []
        fields: dict[str, Any] = {}
        for name, convert in self.to_json:
            if name not in values:
                continue
            try:
                fields[name] = values[name] if convert is None else convert(values[name])
            except (ValueError, TypeError, AttributeError) as exc:
                faults.append(FieldFault(join_path(path, name), str(exc)))
        if faults:
            raise component_error(self.type_name, faults)
        return fields

    def columns_of(self, components: Sequence[Any]) -> dict[str, pa.Array]:
        """Give the columns of some components of this class, in their order.

        Raises InvalidInputError on a value that its column cannot hold.
        """
        columns: dict[str, pa.Array] = {}
        for name, column, convert in self.to_arrow:
            plain = [component.__dict__[name] for component in components]
            values = plain if convert is None else map(convert, plain)
            try:
                columns[column] = pa.array(values, self.prefixed_schema.field(column).type)
            except (pa.ArrowException, OverflowError) as exc:
                raise InvalidInputError(f"{column}: {exc}", faults=[FieldFault(column, str(exc))]) from exc
        return columns


def layout_of(cls: type[BaseModel]) -> Layout:
    """Work out the layout of a component class; raises ComponentError on a field no column can hold."""
    type_name, prefix = cls.__name__, f"{cls.__name__.lower()}__"
    if len(cls.model_fields) > COMPONENT_FIELDS_MAX:
        raise ComponentError(
            f"{type_name} has {len(cls.model_fields)} fields, {COMPONENT_FIELDS_MAX} are allowed; put some "
            "into a component of their own, or into one list or struct."
        )
    keeps_enums = holds_enums(cls)
    fields: list[FieldLayout] = []
    for name, info in cls.model_fields.items():
        annotation = field_annotation(info)
        arrow, nullable = arrow_type(annotation, f"{type_name}.{name}")
        field = pa.field(prefix + name, arrow, nullable=nullable)
        codec = codec_of(annotation, keeps_enums=keeps_enums)
        operation = _operation_of(cls, name, info, arrow)
        constraints = constraints_of(info)
        fields.append(FieldLayout(name, field.name, codec, field, info, operation, constraints))
    spelled = _spelled(type_name, fields)
    return Layout(
        type_name=type_name,
        prefix=prefix,
        fields=tuple(fields),
        schema=pa.schema([field.arrow.with_name(field.name) for field in fields]),
        prefixed_schema=pa.schema([field.arrow for field in fields]),
        to_json=tuple((field.name, field.codec.to_json) for field in fields),
        spelled=spelled,
        plain=_plain(cls, spelled),
        to_arrow=tuple((field.name, field.column, field.codec.to_arrow) for field in fields),
        from_json={field.name: (field.column, field.codec.from_json) for field in fields},
        from_arrow=tuple((field.name, field.column, field.codec.from_arrow) for field in fields),
        make=maker_of(cls),
        copy=copier_of(cls, [(each.name, each.codec.copy) for each in fields if each.codec.copy is not None]),
        whole=cast("SchemaValidator", cls.__pydantic_validator__),
        partial=_partial_validator(cls),
    )


def _spelled(type_name: str, fields: Sequence[FieldLayout]) -> tuple[Spelled, ...]:
    parts: list[Spelled] = [(None, f'"type":"{type_name}"', None)]
    parts += [(field.name, f'"{field.name}":', field.codec.to_json) for field in fields]
    return tuple(sorted(parts, key=lambda part: (part[0] or "type").encode("utf-16-be")))


def _plain(cls: type[BaseModel], spelled: Sequence[Spelled]) -> tuple[PlainSpelled, ...] | None:
    fields = plain_fields(cls)
    if fields is None:
        return None
    plain: list[PlainSpelled] = []
    for name, begin, convert in spelled:
        field = NO_FIELD if name is None else fields[name]
        plain.append((name, begin, convert, field.types, field.default))
    return tuple(plain)


def _operation_of(cls: type[BaseModel], name: str, info: FieldInfo, arrow: pa.DataType) -> Operation | None:
    """Give the operation that a field is marked with; raises ComponentError if it cannot be meant."""
    mark = _combine_mark(info)
    if mark is None:
        return None
    where, operation = f"{cls.__name__}.{name}", mark.operation
    if combines(cls):
        raise ComponentError(
            f"{where} is marked {operation!r}, but {cls.__name__} defines __combine__. Keep one of them."
        )
    if getattr(cls, "merge_unit", "field") == "component":
        raise ComponentError(
            f"{where} is marked {operation!r}, but merge_unit = 'component' lets no field combine by "
            "itself. Keep one of them."
        )
    if not fits(operation, arrow):
        raise ComponentError(f"{where} is {arrow}, whose values cannot be combined by {operation!r}.")
    return operation


def _combine_mark(info: FieldInfo) -> Combine | None:
    """Find the mark on a field, or on the T of its Optional[T]."""
    marks = list(info.metadata)
    inner = optional_inner(info.annotation)
    while typing.get_origin(inner) is typing.Annotated:
        inner, *inside = typing.get_args(inner)
        marks.extend(inside)
    return next((mark for mark in marks if isinstance(mark, Combine)), None)


def _partial_validator(cls: type[BaseModel]) -> SchemaValidator:
    """Check any subset of a model's fields by the model's own rules, without filling defaults."""
    schema = cast("dict[str, Any]", cls.__pydantic_core_schema__)
    definitions: list[Any] = []
    while schema["type"] != "model-fields":
        if schema["type"] == "definitions":
            definitions.extend(schema["definitions"])
        if schema["type"] == "definition-ref":
            schema = next(known for known in definitions if known.get("ref") == schema["schema_ref"])
        else:
            schema = schema["schema"]
    fields = {
        name: core_schema.typed_dict_field(_without_default(field["schema"]), required=False)
        for name, field in schema["fields"].items()
    }
    config = core_schema.CoreConfig(val_json_bytes="base64")
    partial = core_schema.typed_dict_schema(fields, extra_behavior="forbid", config=config)
    return SchemaValidator(core_schema.definitions_schema(partial, definitions) if definitions else partial)


def _without_default(schema: Any) -> Any:
    return schema["schema"] if schema["type"] == "default" else schema


def validate_json(
    validator: SchemaValidator, fields: Mapping[str, Any], path: str, type_name: str, *, is_new: bool = False
) -> Any:
    """Validate fields as strict JSON; raises ComponentError with the path of each bad field.

    Of what `is_new`, models inside of the fields may have no unknown names either: they would be lost.
    """
    try:
        return validator.validate_json(to_json(fields), strict=True, extra="forbid" if is_new else None)
    except ValidationError as exc:
        if (many := too_many(exc, path or type_name)) is not None:
            raise component_error(type_name, [many]) from None
        faults = [
            FieldFault(join_path(path, *error["loc"]), _message(error))
            for error in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise component_error(type_name, faults) from exc
    except (PydanticSerializationError, ValueError) as exc:
        raise component_error(type_name, [FieldFault(path or type_name, f"is not JSON: {exc}")]) from exc


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such field"
    return str(error["msg"])


def join_path(path: str, *parts: str | int) -> str:
    """Append parts to a dotted path; the root path is empty."""
    return ".".join(str(part) for part in ((path, *parts) if path else parts))


def component_error(type_name: str, faults: list[FieldFault]) -> ComponentError:
    """Make the error for a component value that does not fit, from its faults."""
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ComponentError(f"{type_name}: {first['path']}: {first['message']}{more}", faults=faults)
