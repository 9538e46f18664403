"""Code that the log records: which class it is, with which arguments, and a fingerprint of its source."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from archetype.core.parameters import bound_parameters, build_recorded
from archetype.core.registry import type_path


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


def captured_values(cls: type[Any]) -> dict[str, Any]:
    """Give the plain values that a class's functions close over, by name.

    They tell classes of one source apart, which one function made.
    """
    found: dict[str, Any] = {}
    for member in vars(cls).values():
        function = inspect.unwrap(getattr(member, "__func__", member))
        if isinstance(function, types.FunctionType):
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                with contextlib.suppress(ValueError):  # it is empty: its function has not got there yet
                    found[name] = cell.cell_contents
    return {name: value for name, value in found.items() if isinstance(value, _PLAIN)}


_PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, types.NoneType)


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
