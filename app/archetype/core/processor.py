"""Processors: the user's code that a tick runs over a world.

class Movement(AsyncProcessor):
    components = (Position, Velocity)

    async def process(self, df, **kwargs):
        return df.with_column("position__x", col("position__x") + col("velocity__dx"))
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from archetype.core.component import Component
from archetype.core.declarations import DECLARATIONS, checked_declarations
from archetype.core.recorded import Recorded
from archetype.core.registry import TypeRegistry
from archetype.errors import CodeNotLoadedError

if TYPE_CHECKING:
    from daft import DataFrame

    from archetype.core.scheduling.policy import RetryPolicy

ComponentTypes = tuple[type[Component], ...]


class Processor(Recorded):
    """The base of everything that runs in a tick, frame by frame or over objects.

    Lower `priority` runs first, ties in order of registration. A processor that is not a function of its
    inputs (it reads a clock, a network, a random source other than `rng`) sets `deterministic = False`.

    What it may touch: `reads` and `writes` name component classes. With neither it may touch everything;
    with `reads` alone it writes nothing; an empty tuple is nothing; what it writes it may read. `Component`
    itself stands for every component.

    When it runs, for the builders that look at it: `depends_on` names processors that must have run before;
    `every` and `offset` let it run in ticks t with t % every == offset; `condition` is called with a
    read-only view of the world and says whether it runs; one that `runs_alone` shares no group.
    `retry_policy` takes the place of the scheduler's.
    """

    components: ClassVar[ComponentTypes] = ()
    priority: ClassVar[int] = 10
    deterministic: ClassVar[bool] = True
    reads: ClassVar[ComponentTypes | None] = None
    writes: ClassVar[ComponentTypes | None] = None
    depends_on: ClassVar[tuple[str | type[Processor] | Processor, ...]] = ()
    every: ClassVar[int] = 1
    offset: ClassVar[int] = 0
    condition: ClassVar[Callable[..., bool] | None] = None
    runs_alone: ClassVar[bool] = False
    retry_policy: ClassVar[RetryPolicy | None] = None

    _registry: ClassVar[TypeRegistry[Processor]] = TypeRegistry("Processor")

    def __init_subclass__(cls, *, is_base: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = {name: inspect.getattr_static(cls, name) for name in DECLARATIONS}
        for name, value in checked_declarations(cls.__name__, declared).items():
            setattr(cls, name, value)
        if not is_base:
            Processor._registry.record(cls)

    def with_priority(self, priority: int) -> Self:
        """Give this processor with another priority; this one keeps its own."""
        twin = copy.copy(self)
        # Classes may forbid setting attributes, as frozen dataclasses do.
        object.__setattr__(twin, "priority", priority)
        return twin

    @classmethod
    def processor_name(cls) -> str:
        """Give the name this processor is recorded under: its class's."""
        return cls.__name__

    @classmethod
    def declarations(cls) -> dict[str, Any]:
        """Give what the class declares of its access and of when it runs, as it is recorded.

        What is as by default is left out. `kind` is "system" for one that works on objects; frame processors
        have none.
        """
        declared: dict[str, Any] = {}
        if not issubclass(cls, AsyncProcessor):
            declared["kind"] = "system"
        for name, types in (("reads", cls.reads), ("writes", cls.writes)):
            if types is not None:
                declared[name] = sorted(each.__name__ for each in types)
        if cls.depends_on:
            declared["depends_on"] = [
                each if isinstance(each, str) else each.processor_name() for each in cls.depends_on
            ]
        for name in ("every", "offset", "runs_alone"):
            if getattr(cls, name) != getattr(Processor, name):
                declared[name] = getattr(cls, name)
        if cls.condition is not None:
            declared["condition"] = True
        if cls.retry_policy is not None:
            declared["retry_policy"] = cls.retry_policy.model_dump(mode="json", exclude_defaults=True)
        return declared

    @classmethod
    def get_type_by_name(cls, name: str) -> type[Processor]:
        """Give the loaded processor class of that name or `module.Name`.

        Raises ComponentError if there is none, or if several share the name.
        """
        return Processor._registry.resolve(name)

    @classmethod
    def loaded_types(cls) -> dict[str, type[Processor]]:
        """Give every loaded processor class by name (by `module.Name` where a name is shared)."""
        return Processor._registry.loaded()

    @classmethod
    def from_recorded(cls, name: str, parameters: Mapping[str, Any]) -> Processor:
        """Build a processor from its recorded name and parameters.

        Raises CodeNotLoadedError if its class is not loaded, and InvalidInputError if the parameters do
        not fit its constructor.
        """
        kind = Processor._registry.find(name)
        if kind is None:
            raise CodeNotLoadedError(
                f"Processor {name!r} is not loaded here. Start the server with --module MODULE, "
                "or name its module in ARCHETYPE_MODULES.",
                name=name,
                module=name.rpartition(".")[0] or None,
            )
        return kind.from_parameters(parameters)


class AsyncProcessor(Processor, is_base=True):
    """The base of processors that turn one archetype's frame into its next one.

    `components` are those an archetype must have; none matches every archetype.
    """

    async def process(self, df: DataFrame, **kwargs: Any) -> DataFrame | Mapping[str, Any]:
        """Give the next frame of one archetype: the same rows and columns, new values.

        `df` has entity_id, the component columns and the base columns. Setting is_active to false ends
        an entity. By keyword, as far as the signature asks: tick, world_id, run_id, resources, messages,
        rng, debug and the step's inputs.

        In place of a frame, a mapping from column names gives new values for these columns alone: Daft
        expressions over `df`, arrays with one value a row, or a `Delta` of either, which is folded onto
        what is there.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define process(df, **kwargs).")


@functools.lru_cache(maxsize=4096)
def accepted_names(process: Callable[..., Any]) -> frozenset[str] | None:
    """Give the keyword names that a process function takes, or None if it takes any."""
    parameters = list(inspect.signature(process).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    by_name = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    after_self_and_frame = parameters[2:]
    return frozenset(parameter.name for parameter in after_self_and_frame if parameter.kind in by_name)
