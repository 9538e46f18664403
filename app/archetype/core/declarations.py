"""What a processor's class declares, checked when the class is defined."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, cast

from archetype.core.component import Component
from archetype.errors import InvalidInputError

__all__ = ["DECLARATIONS", "checked_declarations"]

DECLARATIONS = ("components", "priority", "reads", "writes", "depends_on", "every", "offset", "condition")


def checked_declarations(name: str, declared: dict[str, Any]) -> dict[str, Any]:
    """Give those of `DECLARATIONS` that a processor of that name has to keep in another form.

    `components`, `reads`, `writes` and `depends_on` become tuples. A condition that takes the view
    alone is no method. Values that only an instance has (a property, a slot) are passed over. Raises
    InvalidInputError.
    """
    fixed = {
        key: value for key, value in declared.items() if key == "condition" or not _is_bound_later(value)
    }
    kept: dict[str, Any] = {}
    for key in ("components", "reads", "writes"):
        if fixed.get(key) is not None:
            kept[key] = _component_classes(name, key, fixed[key])
    if "depends_on" in fixed:
        kept["depends_on"] = _dependencies(name, fixed["depends_on"])
    if "priority" in fixed and (
        not isinstance(fixed["priority"], int) or isinstance(fixed["priority"], bool)
    ):
        raise _refused(name, f"priority must be a whole number, not {fixed['priority']!r}")
    if "every" in fixed and "offset" in fixed:
        _check_frequency(name, fixed["every"], fixed["offset"])
    kept["condition"] = _condition(name, fixed.get("condition"))
    return {key: value for key, value in kept.items() if value is not fixed.get(key)}


def _is_bound_later(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(type(value), "__get__")


def _component_classes(name: str, key: str, value: Any) -> tuple[type[Component], ...]:
    if isinstance(value, type):
        raise _refused(name, f"{key} must be a tuple of component classes; write {key}=({value.__name__},)")
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise _refused(name, f"{key} must be a tuple of component classes, not {value!r}")
    for each in cast("Collection[Any]", value):
        if not isinstance(each, type) or not issubclass(each, Component):
            raise _refused(
                name, f"{key} names {each!r}, which is no component class; derive it from Component"
            )
    return tuple(cast("Collection[Any]", value))


def _dependencies(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise _refused(name, f"depends_on must be a tuple of processors or of their names, not {value!r}")
    for each in cast("Collection[Any]", value):
        if not isinstance(each, str) and not hasattr(each, "processor_name"):
            raise _refused(name, f"depends_on names {each!r}, which is no processor; give one, or its name")
    return tuple(cast("Collection[Any]", value))


def _condition(name: str, value: Any) -> Any:
    if not inspect.isfunction(value):
        if value is not None and not callable(value) and not _is_bound_later(value):
            raise _refused(name, f"condition must be a function of the access object, not {value!r}")
        return value
    needed = [each for each in inspect.signature(value).parameters.values() if each.default is each.empty]
    return staticmethod(value) if len(needed) == 1 else value


def _check_frequency(name: str, every: Any, offset: Any) -> None:
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise _refused(name, f"every must be a whole number of ticks, 1 or more, not {every!r}")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < every:
        raise _refused(
            name, f"offset must be a whole number from 0 to every - 1 = {every - 1}, not {offset!r}"
        )


def _refused(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(f"Processor {name}: {what}.", processor=name)
