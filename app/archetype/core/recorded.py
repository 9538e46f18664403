"""Code that the log records: which class it is, with which arguments, and a fingerprint of its source."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

from archetype.core.registry import type_path
from archetype.errors import InvalidInputError

T = TypeVar("T")


class Recorded:
    """The base of classes whose instances are recorded and built again from what was recorded.

    Constructor arguments are kept as `parameters`, by name and with their defaults.
    """

    parameters: dict[str, Any]

    _fingerprint: ClassVar[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the constructor's arguments by name, defaults included."""
        self = super().__new__(cls)
        object.__setattr__(self, "parameters", bound_parameters(cls, args, kwargs))
        return self

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Build an instance; InvalidInputError if the parameters do not fit the constructor."""
        return build_recorded(cls, parameters)

    @classmethod
    def source_fingerprint(cls) -> str:
        """Give the SHA-256, in hex, of the class's source, its own bases included.

        Without source (a shell, a frozen build) the byte code is hashed in its place. What this package
        itself brings is not counted. It is taken once a class: a file that is edited later is not the code
        that runs.
        """
        known = cls.__dict__.get("_fingerprint")
        if known is None:
            known = cls._fingerprint = cls._hashed_source()
        return known

    @classmethod
    def _hashed_source(cls) -> str:
        digest = hashlib.sha256()
        for kind in cls.__mro__:
            if issubclass(kind, Recorded) and not kind.__module__.startswith("archetype.core."):
                digest.update(source_bytes(kind))
        return digest.hexdigest()


def build_recorded(cls: type[T], parameters: Mapping[str, Any]) -> T:
    """Build an instance of any class; InvalidInputError if the parameters do not fit its constructor."""
    args, kwargs = _constructor_arguments(cls, parameters)
    try:
        return cls(*args, **kwargs)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(
            f"{cls.__name__} cannot be built from its parameters {sorted(parameters)}: {exc}"
        ) from exc


@functools.cache
def class_fingerprint(cls: type[Any]) -> str:
    """Give the SHA-256, in hex, of any class's source, its bases included.

    What Python and this package themselves bring is not counted. It is taken once a class.
    """
    digest = hashlib.sha256(source_bytes(cls))
    for kind in cls.__mro__[1:]:
        is_python = kind.__module__.partition(".")[0] in sys.stdlib_module_names
        if not is_python and not kind.__module__.startswith("archetype.core."):
            digest.update(source_bytes(kind))
    return digest.hexdigest()


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


def source_bytes(code: type[Any] | types.FunctionType) -> bytes:
    """Give a class's or a function's source text, or what says the same of it where there is none."""
    try:
        return textwrap.dedent(inspect.getsource(code)).encode()
    except (OSError, TypeError):
        if isinstance(code, types.FunctionType):
            return f"{code.__module__}.{code.__qualname__}={_code_text(code.__code__)}".encode()
        return "\n".join(_class_parts(code)).encode()


def _class_parts(kind: type[Any]) -> list[str]:
    parts = [type_path(kind)]
    for name, value in sorted(vars(kind).items()):
        function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
        if isinstance(function, types.FunctionType):
            parts.append(f"{name}={_code_text(function.__code__)}")
        elif isinstance(value, (bool, int, float, str, bytes)) and not name.startswith("__"):
            parts.append(f"{name}={value!r}")
    return parts


def _code_text(code: types.CodeType) -> str:
    constants = [_constant_text(value) for value in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{constants}"


def _constant_text(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return _code_text(value)
    if isinstance(value, frozenset):
        return f"frozenset{sorted(repr(item) for item in cast('frozenset[Any]', value))}"
    return repr(value)
