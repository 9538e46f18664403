"""How a world's scheduler stands in its log, and how people write it.

{"max_concurrent": 10, "retry_policy": {"max_attempts": 3}, "group_builder": "single"}
{"group_builder": {"name": "frequency", "parameters": {"inner": "dependency"}}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from archetype.core.recorded import class_fingerprint
from archetype.core.registry import loaded_class, type_path
from archetype.core.scheduling.builders import (
    ConditionGroupBuilder,
    ExecutionGroupBuilder,
    FrequencyGroupBuilder,
    PriorityGroupBuilder,
    SequentialGroupBuilder,
    SingleGroupBuilder,
    takes_context,
)
from archetype.core.scheduling.dependencies import DependencyGroupBuilder
from archetype.core.scheduling.policy import SchedulerConfig
from archetype.limits import CODE_NAME_CHARACTERS_MAX

__all__ = [
    "BUILT_IN_BUILDERS",
    "BuilderSettings",
    "SchedulerSettings",
    "is_builder_form",
    "loaded_builder",
    "map_parts",
    "named_class",
]

BUILT_IN_BUILDERS: Final[Mapping[str, type[ExecutionGroupBuilder]]] = {
    "priority": PriorityGroupBuilder,
    "single": SingleGroupBuilder,
    "sequential": SequentialGroupBuilder,
    "dependency": DependencyGroupBuilder,
    "frequency": FrequencyGroupBuilder,
    "condition": ConditionGroupBuilder,
}

_WITH_INNER = frozenset({"frequency", "condition"})
_DEFAULT = "priority"


def loaded_builder(name: str) -> type[Any] | None:
    """Give the loaded class of that full name, if its instances can build, else None."""
    kind = loaded_class(name)
    return None if kind is None or takes_context(kind) is None else kind


def is_builder_form(value: object) -> bool:
    """Tell whether a recorded value stands for a builder: it has a name, and nothing else but its like."""
    if not isinstance(value, Mapping):
        return False
    keys = cast("set[object]", set(value))
    return isinstance(value.get("name"), str) and keys <= set(BuilderSettings.model_fields)


def map_parts(value: Any, wanted: Callable[[Any], bool], change: Callable[[Any], Any]) -> Any:
    """Give a value with each part of it that is wanted changed; parts of mappings and lists are looked at."""
    if wanted(value):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_parts(part, wanted, change) for key, part in cast("Any", value).items()}
    if isinstance(value, (list, tuple)):
        return [map_parts(part, wanted, change) for part in cast("Any", value)]
    return value


def _recorded_parameter(value: Any, inner: Callable[[Any], Any]) -> Any:
    del inner
    try:
        spelled = map_parts(value, is_builder_form, _normal_form)
    except RecursionError:
        raise PydanticCustomError("json", "is nested too deeply") from None
    try:
        return json.loads(json.dumps(spelled, allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise PydanticCustomError("json", "must be JSON: {fault}", {"fault": str(exc)}) from exc


def _normal_form(form: Any) -> dict[str, Any]:
    return BuilderSettings.model_validate(form).model_dump(exclude_defaults=True)


class BuilderSettings(BaseModel):
    """A builder: the name of one of BUILT_IN_BUILDERS, or the `module.Name` of a loaded class.

    A plain string is the name alone. A parameter that is a builder is an object of this form again; the
    built-in builders' `inner` may be a plain string too. `fingerprint` is the SHA-256 of a class's source;
    where it is absent it is that of the loaded class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=CODE_NAME_CHARACTERS_MAX)]
    parameters: dict[str, Annotated[Any, WrapValidator(_recorded_parameter)]] = {}
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_fingerprint(cls, data: Any) -> Any:
        """Take a plain name, and look up a class whose code is not told."""
        form: Any = {"name": data} if isinstance(data, str) else data
        if not isinstance(form, (Mapping, BuilderSettings)):
            raise PydanticCustomError("group_builder", "must be a builder's name, or an object with its name")
        if not isinstance(form, Mapping) or not isinstance(form.get("name"), str):
            return form
        name: str = form["name"]
        if name in BUILT_IN_BUILDERS or form.get("fingerprint") is not None:
            return form
        kind = loaded_builder(name)
        if kind is None:
            raise PydanticCustomError(
                "group_builder",
                "names {name}, which is no builder: choose one of {known}, or the module.Name of a loaded "
                "class with build(systems, context)",
                {"name": name, "known": ", ".join(BUILT_IN_BUILDERS)},
            )
        return {**form, **named_class(kind)}

    @field_validator("parameters", mode="before")
    @classmethod
    def _fit_built_in(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name")
        if name not in BUILT_IN_BUILDERS or not isinstance(value, Mapping):
            return value
        given = dict(cast("Mapping[str, Any]", value))
        inner = given.pop("inner", None) if name in _WITH_INNER else None
        if given:
            fault = {"name": name, "names": ", ".join(map(str, given))}
            raise PydanticCustomError("group_builder", "{name} takes no parameter {names}", fault)
        if isinstance(inner, str):
            inner = {"name": inner}
        return {} if inner is None else {"inner": inner}

    @field_validator("parameters", mode="after")
    @classmethod
    def _without_default(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Spell a built-in builder in one way; its inner builder can only be a builder."""
        if info.data.get("name") not in _WITH_INNER or "inner" not in value:
            return value
        if not is_builder_form(value["inner"]):
            raise PydanticCustomError(
                "group_builder", "inner must be a builder: a name, or an object with one"
            )
        return {} if value["inner"] == {"name": _DEFAULT} else value

    @field_validator("fingerprint", mode="after")
    @classmethod
    def _only_of_others(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("name") in BUILT_IN_BUILDERS:
            raise PydanticCustomError("group_builder", "a built-in builder has no fingerprint; leave it away")
        return value


def named_class(kind: type[Any]) -> dict[str, str]:
    """Give the name under which a builder's class is recorded, and its fingerprint if it has one."""
    for name, known in BUILT_IN_BUILDERS.items():
        if kind is known:
            return {"name": name}
    return {"name": type_path(kind), "fingerprint": class_fingerprint(kind)}


class SchedulerSettings(SchedulerConfig):
    """A world's scheduler; an empty object is SimpleScheduler()."""

    group_builder: BuilderSettings = BuilderSettings(name=_DEFAULT)
