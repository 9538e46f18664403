"""Components: typed records that users define, checked here and stored as columns.

    class Position(Component):
        x: float
        y: float = 0.0

becomes the columns `position__x` and `position__y`, and the payload
`{"type": "Position", "x": 1.0, "y": 0.0}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, PydanticUserError

from archetype.core.layout import Layout, component_error, join_path, layout_of, validate_json
from archetype.core.registry import TypeRegistry, type_path
from archetype.errors import ComponentError, FieldFault


class Component(BaseModel):
    """The base of every component class.

    Field types must be ones a column can hold (`arrow_types.arrow_type`); the class definition is
    refused otherwise. A naive datetime means UTC. Unknown fields are refused.

    `merge_unit` says what processors that run together write apart from each other: each field by itself, or
    the component as a whole, as it also is where the class defines `__combine__`.
    """

    merge_unit: ClassVar[Literal["field", "component"]] = "field"

    model_config = ConfigDict(
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        validate_assignment=True,
        validate_by_name=True,
        validate_by_alias=False,
    )

    _registry: ClassVar[TypeRegistry[Component]] = TypeRegistry("Component")
    _layout_cache: ClassVar[Layout | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class as soon as it is defined, and make it known by its name."""
        super().__pydantic_init_subclass__(**kwargs)
        if "__" in cls.__name__:
            raise ComponentError(
                f"{type_path(cls)}: a component's name may not contain '__', which ends its prefix."
            )
        if "type" in cls.model_fields:
            raise ComponentError(
                f"{type_path(cls)}: a field cannot be called 'type'; payloads use it for the class name."
            )
        if cls.merge_unit not in {"field", "component"}:
            raise ComponentError(
                f"{type_path(cls)}: merge_unit is 'field' or 'component', not {cls.merge_unit!r}."
            )
        cls._layout_cache = None
        if cls.__pydantic_complete__:
            cls.layout()
        Component._registry.record(cls)

    @classmethod
    def layout(cls) -> Layout:
        """Give the class as columns; raises ComponentError while a forward reference is unresolved."""
        layout = cls._layout_cache  # its own: each class begins with None
        if layout is None:
            if not cls.__pydantic_complete__:
                cls._resolve_forward_references()
            layout = cls._layout_cache = layout_of(cls)
        return layout

    @classmethod
    def _resolve_forward_references(cls) -> None:
        try:
            cls.model_rebuild()
        except (PydanticUserError, NameError) as exc:
            raise ComponentError(
                f"{type_path(cls)} refers to a type that is not defined: {exc}. Define it, then call "
                f"{cls.__name__}.model_rebuild()."
            ) from exc

    @classmethod
    def get_type_by_name(cls, name: str) -> type[Component]:
        """Give the loaded component class of that name or `module.Name`.

        Raises ComponentError if there is none, or if several share the name.
        """
        return Component._registry.resolve(name)

    @classmethod
    def find_type(cls, name: str) -> type[Component] | None:
        """Give the loaded class of that name, or None; raises ComponentError if several share it."""
        return Component._registry.find(name)

    @classmethod
    def type_registry(cls) -> TypeRegistry[Component]:
        """Give the registry of the loaded classes."""
        return Component._registry

    @classmethod
    def loaded_types(cls) -> dict[str, type[Component]]:
        """Give every loaded component class by name (by `module.Name` where a name is shared)."""
        return Component._registry.loaded()

    @classmethod
    def get_prefix(cls) -> str:
        """Give the prefix of this class's columns, such as `position__`."""
        return f"{cls.__name__.lower()}__"

    @classmethod
    def to_pyarrow_schema(cls) -> pa.Schema:
        """Give the Arrow schema of the fields, under their own names."""
        return cls.layout().schema

    @classmethod
    def get_prefixed_schema(cls) -> pa.Schema:
        """Give the Arrow schema of the fields, under their column names."""
        return cls.layout().prefixed_schema

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a component from Python values; a "type" key names the class.

        Raises ComponentError on values that do not fit, and on the base class without a "type".
        """
        fields = dict(data)
        kind = cls._payload_class(fields.pop("type", None), "")
        try:
            return cast("Self", kind(**fields))
        except ValueError as exc:
            raise _python_error(kind, exc) from exc

    @classmethod
    def from_payload(cls, data: Mapping[str, Any], path: str = "") -> Self:
        """Make a component from a JSON payload `{"type": Name, **fields}`, strictly.

        `path` is where the payload stands in its input. Raises ComponentError whose faults carry
        the path of each bad field.
        """
        kind, fields = cls._split_payload(data, path)
        layout = kind.layout()
        component = validate_json(layout.whole, fields, path, layout.type_name)
        layout.json_fields(component.__dict__, path)
        return cast("Self", component)

    @classmethod
    def checked(cls, data: Mapping[str, Any], path: str = "") -> tuple[type[Component], dict[str, Any]]:
        """Check a new payload; give its class, and its values with defaults filled in.

        It is checked as `from_payload` does it, and may have no unknown names at any depth.
        """
        kind, fields = cls._split_payload(data, path)
        layout = kind.layout()
        return kind, validate_json(layout.whole, fields, path, layout.type_name, is_new=True).__dict__

    @classmethod
    def checked_part(cls, data: Mapping[str, Any], path: str = "") -> tuple[type[Component], dict[str, Any]]:
        """Check a partial payload; give its class, and the values of the fields that are present.

        There must be at least one. Raises ComponentError whose faults carry the path of each bad field.
        """
        kind, fields = cls._split_payload(data, path)
        layout = kind.layout()
        if not fields:
            fault = FieldFault(path or layout.type_name, "names no field to update")
            raise component_error(layout.type_name, [fault])
        return kind, validate_json(layout.partial, fields, path, layout.type_name, is_new=True)

    @classmethod
    def row_values_from_payload(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Turn fields in the JSON normal form into values for this class's columns.

        A "type" key is passed over. Raises KeyError on a field that the class does not have.
        """
        converters = cls.layout().from_json
        values: dict[str, Any] = {}
        for name, value in fields.items():
            if name != "type":
                column, convert = converters[name]
                values[column] = value if convert is None else convert(value)
        return values

    def to_payload(self) -> dict[str, Any]:
        """Give the JSON form `{"type": Name, **fields}`.

        Raises ComponentError if a value has no JSON form (NaN) or fits no 64-bit column.
        """
        layout, values = type(self).layout(), self.__dict__
        payload: dict[str, Any] = {"type": layout.type_name}
        try:
            for name, convert in layout.to_json:
                payload[name] = values[name] if convert is None else convert(values[name])
        except (ValueError, TypeError, AttributeError):  # a default is not validated, and may be anything
            layout.json_fields(values, "")
            raise
        return payload

    def to_row_dict(self) -> dict[str, Any]:
        """Give the values by column name, ready for Arrow."""
        values = self.__dict__
        return {
            column: values[name] if convert is None else convert(values[name])
            for name, column, convert in type(self).layout().to_arrow
        }

    @classmethod
    def _split_payload(cls, data: Any, path: str) -> tuple[type[Component], dict[str, Any]]:
        if type(data) is not dict and not isinstance(data, Mapping):
            raise component_error(cls.__name__, [FieldFault(path or cls.__name__, "must be a JSON object")])
        fields: dict[str, Any] = dict(data)
        return cls._payload_class(fields.pop("type", None), path), fields

    @classmethod
    def _payload_class(cls, name: Any, path: str) -> type[Component]:
        if name is None and cls is not Component:
            return cls
        if not isinstance(name, str):
            fault = FieldFault(join_path(path, "type"), "must name a component type")
            raise component_error("Component", [fault])
        try:
            kind = Component.get_type_by_name(name)
        except ComponentError as exc:
            faults = [FieldFault(join_path(path, "type"), exc.message)]
            raise ComponentError(exc.message, faults=faults, **exc.details) from exc
        wanted: type[Any] = cls
        if wanted is not Component and not issubclass(kind, wanted):
            fault = FieldFault(join_path(path, "type"), f"names {name}, not {cls.__name__}")
            raise component_error(cls.__name__, [fault])
        return kind


def _python_error(kind: type[Component], exc: ValueError) -> ComponentError:
    errors = getattr(exc, "errors", None)
    if errors is None:
        return ComponentError(f"{kind.__name__}: {exc}")
    faults = [FieldFault(join_path("", *error["loc"]), str(error["msg"])) for error in errors()]
    return component_error(kind.__name__, faults)
