"""Systems: processors that read and write entities one by one, through an access object.

@system(reads=(Velocity,), writes=(Position,))
def move(access):
    for entity_id, position, velocity in access(Position, Velocity):
        access[entity_id, Position] = Position(x=position.x + velocity.dx)
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Self, TypedDict, Unpack, cast, overload

from archetype.core.component import Component
from archetype.core.processor import Processor
from archetype.core.recorded import source_bytes
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.policy import RetryPolicy
from archetype.errors import InvalidInputError

__all__ = ["SchedulingOptions", "System", "SystemOptions", "system"]

Run = Callable[[Access], Any]


class System(Processor, is_base=True):
    """The base of processors that work on objects: one call a tick, for all entities.

    Define `run(self, access)`, sync or async, or decorate a function with `@system`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "run" in cls.__dict__:
            own = inspect.getattr_static(cls, "run")
            _check_run(cls.__name__, cls.run, skipped=isinstance(own, types.FunctionType))

    def run(self, access: Access) -> Any:
        """Read and write entities; gives None, or more writes in one of the shapes of `operations_of`."""
        raise NotImplementedError(f"{type(self).__name__} does not define run(access).")

    def __call__(self, access: Access) -> Any:
        """Run it, as unit tests do."""
        return self.run(access)

    @property
    def name(self) -> str:
        """The name that it is recorded under."""
        return self.processor_name()

    @property
    def is_async(self) -> bool:
        """Whether its result is awaited."""
        return _is_async(self.run)


class _Decorated(System, is_base=True):
    """The base of the classes that `@system` makes of functions: each has one instance."""

    _function: ClassVar[Any]
    _instance: ClassVar[_Decorated]

    def __new__(cls) -> Self:
        """Give the one instance."""
        known = cls.__dict__.get("_instance")
        if known is None:
            known = cls._instance = super().__new__(cls)
        return cast("Self", known)

    def __reduce__(self) -> str:
        return type(self).__qualname__

    def with_priority(self, priority: int) -> Self:
        """Give a twin of the one instance with another priority."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, priority=priority)
        return twin

    @classmethod
    def _hashed_source(cls) -> str:
        function = inspect.unwrap(cls._function)
        code = function if isinstance(function, types.FunctionType) else type(function)
        return hashlib.sha256(source_bytes(code)).hexdigest()


class SchedulingOptions(TypedDict, total=False):
    """When a system runs, and what becomes of it when it raises; see `Processor`."""

    priority: int
    depends_on: Collection[str | type[Processor] | Processor]
    every: int
    offset: int
    condition: Callable[[Access], bool] | None
    retry_policy: RetryPolicy | None
    deterministic: bool


class SystemOptions(SchedulingOptions, total=False):
    """What a system may touch, too."""

    reads: Collection[type[Component]] | None
    writes: Collection[type[Component]] | None


class _SystemDecorator:
    """Makes systems of functions, sync or async: `@system`, `@system(reads=…, writes=…, …)`.

    The name stands for the system, which can be called as the function was. Raises InvalidInputError on a
    function that is no system, and on a declaration that does not hold.
    """

    @overload
    def __call__(self, function: Run, /) -> System: ...
    @overload
    def __call__(
        self, function: None = None, /, **options: Unpack[SystemOptions]
    ) -> Callable[[Run], System]: ...
    def __call__(self, function: Run | None = None, /, **options: Any) -> Any:
        return _decorate(function, options)

    @overload
    def dev(self, function: Run, /) -> System: ...
    @overload
    def dev(
        self, function: None = None, /, **options: Unpack[SchedulingOptions]
    ) -> Callable[[Run], System]: ...
    def dev(self, function: Run | None = None, /, **options: Any) -> Any:
        """Make a system that may touch everything, and shares no group."""
        refused = {
            "reads": "a dev system may touch everything; leave reads out, or use @system",
            "writes": "a dev system may touch everything; leave writes out, or use @system",
        }
        return _decorate(function, options, fixed={"runs_alone": True}, refused=refused)

    @overload
    def readonly(self, function: Run, /) -> System: ...
    @overload
    def readonly(
        self,
        function: None = None,
        /,
        *,
        reads: Collection[type[Component]] | None = None,
        **options: Unpack[SchedulingOptions],
    ) -> Callable[[Run], System]: ...
    def readonly(self, function: Run | None = None, /, **options: Any) -> Any:
        """Make a system that writes nothing; it reads everything unless `reads` says what."""
        refused = {"writes": "a readonly system writes nothing; leave writes out, or use @system"}
        if options.get("reads") is None:
            options["reads"] = (Component,)
        return _decorate(function, options, fixed={"writes": ()}, refused=refused)


system = _SystemDecorator()


def _decorate(
    function: Run | None,
    options: dict[str, Any],
    fixed: dict[str, Any] | None = None,
    refused: dict[str, str] | None = None,
) -> Any:
    def decorate(function: Run) -> System:
        name = _name_of(function)
        for option in options:
            if option in (refused or {}):
                raise _refusal(name, (refused or {})[option])
            if option not in SystemOptions.__annotations__:
                raise _refusal(name, f"@system has no option {option}")
        return _system_of(name, function, options | (fixed or {}))

    return decorate if function is None else decorate(function)


def _system_of(name: str, function: Run, declared: dict[str, Any]) -> System:
    policy = declared.get("retry_policy")
    if policy is not None and not isinstance(policy, RetryPolicy):
        raise _refusal(name, f"retry_policy must be a RetryPolicy, not {policy!r}")
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    namespace: dict[str, Any] = {
        "__module__": named.__module__,
        "__qualname__": named.__qualname__,
        "__doc__": function.__doc__,
        "_function": staticmethod(function),
        "run": staticmethod(function),
        **declared,
    }
    if inspect.isfunction(declared.get("condition")):
        namespace["condition"] = staticmethod(declared["condition"])
    return type(name, (_Decorated,), namespace)()


def _name_of(function: Any) -> str:
    if not callable(function) or isinstance(function, (type, System)):
        what = function if isinstance(function, type) else type(function)
        raise InvalidInputError(
            f"@system decorates a function, not {what.__name__}; derive a class from System instead."
        )
    named = function if hasattr(function, "__name__") else type(function)
    if not named.__name__.isidentifier() or isinstance(function, functools.partial):
        raise InvalidInputError(f"@system needs a function with a name; define {named.__name__} with def.")
    return named.__name__


def _check_run(name: str, function: Any, *, skipped: bool) -> None:
    """Refuse what cannot be called with an access object alone; with `skipped` its first argument is self."""
    for each in (function, getattr(function, "__call__", None)):  # noqa: B004 (its code is wanted)
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise _refusal(name, "it yields; write through access, or return what it writes")
    parameters = list(inspect.signature(function).parameters.values())[int(skipped) :]
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
    ]
    if not positional:
        raise _refusal(name, "it takes no access argument; define it as (access)")
    if len(needed) > 1 or (needed and needed[0] != positional[0].name):
        raise _refusal(
            name, f"it is called with access alone; give {', '.join(needed[1:] or needed)} defaults"
        )


_POSITIONAL = frozenset(
    {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }
)


def _is_async(function: Any) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 (its code is wanted)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _refusal(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(f"System {name}: {what}.", processor=name)
