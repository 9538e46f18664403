"""Processors: the user's code that turns one archetype's frame into its next one.

class Movement(AsyncProcessor):
    components = (Position, Velocity)

    async def process(self, df, **kwargs):
        return df.with_column("position__x", col("position__x") + col("velocity__dx"))
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from archetype.core.component import Component
from archetype.core.registry import TypeRegistry, type_path
from archetype.errors import CodeNotLoadedError, InvalidInputError

if TYPE_CHECKING:
    from daft import DataFrame


class AsyncProcessor:
    """The base of every processor class.

    `components` are those an archetype must have (none matches every archetype); lower `priority` runs
    first, ties in order of registration. A processor that is not a function of its inputs (it reads a clock,
    a network, a random source other than `rng`) sets `deterministic = False`. Constructor arguments
    are kept as `parameters`, so that the processor can be recorded and built again.
    """

    components: ClassVar[tuple[type[Component], ...]] = ()
    priority: ClassVar[int] = 10
    deterministic: ClassVar[bool] = True

    parameters: dict[str, Any]

    _fingerprint: ClassVar[str]
    _registry: ClassVar[TypeRegistry[AsyncProcessor]] = TypeRegistry("Processor")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AsyncProcessor._registry.record(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the constructor's arguments by name, defaults included."""
        self = super().__new__(cls)
        object.__setattr__(self, "parameters", _bound_parameters(cls, args, kwargs))
        return self

    async def process(self, df: DataFrame, **kwargs: Any) -> DataFrame:
        """Give the next frame of one archetype: the same rows and columns, new values.

        `df` has entity_id, the component columns and the base columns. Setting is_active to false ends
        an entity. By keyword, as far as the signature asks: tick, world_id, run_id, resources, rng, debug
        and the step's inputs.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define process(df, **kwargs).")

    @classmethod
    def processor_name(cls) -> str:
        """Give the name this processor is recorded under: its class's."""
        return cls.__name__

    @classmethod
    def get_type_by_name(cls, name: str) -> type[AsyncProcessor]:
        """Give the loaded processor class of that name or `module.Name`.

        Raises ComponentError if there is none, or if several share the name.
        """
        return AsyncProcessor._registry.resolve(name)

    @classmethod
    def loaded_types(cls) -> dict[str, type[AsyncProcessor]]:
        """Give every loaded processor class by name (by `module.Name` where a name is shared)."""
        return AsyncProcessor._registry.loaded()

    @classmethod
    def from_recorded(cls, name: str, parameters: Mapping[str, Any]) -> AsyncProcessor:
        """Build a processor from its recorded name and parameters.

        Raises CodeNotLoadedError if its class is not loaded, and InvalidInputError if the parameters do
        not fit its constructor.
        """
        kind = AsyncProcessor._registry.find(name)
        if kind is None:
            raise CodeNotLoadedError(
                f"Processor {name!r} is recorded, but not loaded. Start the server with --module MODULE, "
                "or name its module in ARCHETYPE_MODULES.",
                name=name,
                module=name.rpartition(".")[0] or None,
            )
        args, kwargs = _constructor_arguments(kind, parameters)
        try:
            return kind(*args, **kwargs)
        except (TypeError, ValueError) as exc:
            raise InvalidInputError(
                f"Processor {name} cannot be built from its parameters {sorted(parameters)}: {exc}"
            ) from exc

    @classmethod
    def source_fingerprint(cls) -> str:
        """Give the SHA-256, in hex, of the class's source, its own bases included.

        Without source (a shell, a frozen build) the byte code is hashed in its place. It is taken once a
        class: a file that is edited later is not the code that runs.
        """
        known = cls.__dict__.get("_fingerprint")
        if known is None:
            known = cls._fingerprint = cls._hashed_source()
        return known

    @classmethod
    def _hashed_source(cls) -> str:
        kinds = [
            kind for kind in cls.__mro__ if issubclass(kind, AsyncProcessor) and kind is not AsyncProcessor
        ]
        digest = hashlib.sha256()
        for kind in kinds:
            digest.update(_source_bytes(kind))
        return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def accepted_names(process: Callable[..., Any]) -> frozenset[str] | None:
    """Give the keyword names that a process function takes, or None if it takes any."""
    parameters = list(inspect.signature(process).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    by_name = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    after_self_and_frame = parameters[2:]
    return frozenset(parameter.name for parameter in after_self_and_frame if parameter.kind in by_name)


def _signature(cls: type[AsyncProcessor]) -> inspect.Signature:
    init = cast("Callable[..., Any]", cls.__init__)
    if init is object.__init__:
        return inspect.Signature()
    own, *rest = inspect.signature(init).parameters.values()
    del own
    return inspect.Signature(rest)


def _bound_parameters(
    cls: type[AsyncProcessor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    try:
        bound = _signature(cls).bind(*args, **kwargs)
    except TypeError:
        # __init__ itself says best what does not fit; copying and unpickling never call it.
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def _constructor_arguments(
    cls: type[AsyncProcessor], parameters: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    known = _signature(cls).parameters
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InvalidInputError(f"Processor {cls.__name__} takes no parameter {', '.join(unknown)}.")
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


def _source_bytes(kind: type[AsyncProcessor]) -> bytes:
    try:
        return textwrap.dedent(inspect.getsource(kind)).encode()
    except (OSError, TypeError):
        parts = [type_path(kind)]
        for name, value in sorted(vars(kind).items()):
            function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
            if isinstance(function, types.FunctionType):
                parts.append(f"{name}={_code_text(function.__code__)}")
            elif isinstance(value, (bool, int, float, str, bytes)) and not name.startswith("__"):
                parts.append(f"{name}={value!r}")
        return "\n".join(parts).encode()


def _code_text(code: types.CodeType) -> str:
    constants = [_constant_text(value) for value in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{constants}"


def _constant_text(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return _code_text(value)
    if isinstance(value, frozenset):
        return f"frozenset{sorted(repr(item) for item in cast('frozenset[Any]', value))}"
    return repr(value)
