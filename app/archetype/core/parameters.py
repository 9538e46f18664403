"""Constructor arguments as they are recorded: by name, as JSON, and what an instance built from them gets."""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from archetype.errors import InvalidInputError

__all__ = ["Unlike", "bound_parameters", "build_recorded", "unlike"]

T = TypeVar("T")


def build_recorded(cls: type[T], parameters: Mapping[str, Any]) -> T:
    """Build an instance of any class; InvalidInputError if the parameters do not fit its constructor."""
    args, kwargs = _constructor_arguments(cls, parameters)
    try:
        return cls(*args, **kwargs)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(
            f"{cls.__name__} cannot be built from its parameters {sorted(parameters)}: {exc}"
        ) from exc


def _signature(cls: type[Any]) -> inspect.Signature:
    init = cast("Callable[..., Any]", cls.__init__)
    if init is object.__init__:
        return inspect.Signature()
    own, *rest = inspect.signature(init).parameters.values()
    del own
    return inspect.Signature(rest)


def bound_parameters(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give a constructor's arguments by name, defaults included; none where they do not fit."""
    try:
        bound = _signature(cls).bind(*args, **kwargs)
    except TypeError:
        # __init__ itself says best what does not fit; copying and unpickling never call it.
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def _constructor_arguments(cls: type[Any], parameters: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    known = _signature(cls).parameters
    parameters = _as_declared(cls, parameters)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InvalidInputError(f"{cls.__name__} takes no parameter {', '.join(unknown)}.")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    by_position = any(p.kind is p.VAR_POSITIONAL and parameters.get(p.name) for p in known.values())
    for name, parameter in known.items():
        if name not in parameters:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(parameters[name])
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(parameters[name])
        elif parameter.kind is parameter.POSITIONAL_ONLY or (
            by_position and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ):
            args.append(parameters[name])
        else:
            kwargs[name] = parameters[name]
    return args, kwargs


def unlike(cls: type[Any], given: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[Unlike]:
    """Give the parameters of which an instance that is built from their record gets others."""
    again = _as_declared(cls, recorded)
    for name, parameter in _signature(cls).parameters.items():
        if name in given:
            mine = list(given[name]) if parameter.kind is parameter.VAR_POSITIONAL else given[name]
            if not _is_same(mine, again[name]):
                yield Unlike(name, mine, again[name])


@dataclass(frozen=True, slots=True)
class Unlike:
    """A parameter as it was given, and as an instance built from its record gets it."""

    name: str
    given: Any
    again: Any

    @property
    def is_lost(self) -> bool:
        """Whether they differ in more than the spelling: 2.0 is recorded as 2, and names in their order."""
        return not _is_same(self.given, self.again, is_strict=False)


def _is_same(a: Any, b: Any, *, is_strict: bool = True) -> bool:
    if not is_strict and {type(a), type(b)} == {int, float}:
        return float(a) == float(b)
    if type(a) is not type(b):
        return False
    same = functools.partial(_is_same, is_strict=is_strict)
    if type(a) is list:
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        has_names = list(a) == list(b) if is_strict else a.keys() == b.keys()
        return has_names and all(same(a[name], b[name]) for name in a)
    if type(a) is float and is_strict:
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


def _as_declared(cls: type[Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give recorded parameters, with floats where the constructor declares them: JSON spells 2.0 as 2."""
    parameters = _signature(cls).parameters
    scope = getattr(cls.__init__, "__globals__", {})
    return {
        name: _with_floats(value, _declared_type(parameters[name], scope)) if name in parameters else value
        for name, value in recorded.items()
    }


def _declared_type(parameter: inspect.Parameter, scope: dict[str, Any]) -> Any:
    annotated: Any = parameter.annotation
    if isinstance(annotated, str):
        try:
            # One at a time: another may name what is not there.
            alone: Any = types.SimpleNamespace(__annotations__={parameter.name: annotated})
            annotated = typing.get_type_hints(alone, scope)[parameter.name]
        except Exception:  # noqa: BLE001 (a name that only type checkers see)
            annotated = parameter.empty
    declared = type(parameter.default) if annotated is parameter.empty else annotated
    match parameter.kind:
        case parameter.VAR_POSITIONAL:
            return list[declared]
        case parameter.VAR_KEYWORD:
            return dict[str, declared]
        case _:
            return declared


def _with_floats(value: Any, declared: Any) -> Any:
    arguments = typing.get_args(declared)
    if type(value) is int:
        is_float = declared is float or (float in arguments and int not in arguments)
        return float(value) if is_float else value
    if isinstance(value, list) and arguments:
        return [_with_floats(each, arguments[0]) for each in cast("list[Any]", value)]
    if isinstance(value, dict) and len(arguments) > 1:
        named = cast("dict[str, Any]", value)
        return {name: _with_floats(each, arguments[1]) for name, each in named.items()}
    return value
