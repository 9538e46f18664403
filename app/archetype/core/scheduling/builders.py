"""Builders: what puts a tick's processors into execution groups."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, ClassVar, Protocol, Self, cast

from archetype.core.parameters import bound_parameters
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, SystemDescriptor
from archetype.errors import InvalidInputError, PlanError

__all__ = [
    "ALL_DECLARATIONS",
    "ConditionGroupBuilder",
    "ExecutionGroupBuilder",
    "FrequencyGroupBuilder",
    "PriorityGroupBuilder",
    "SequentialGroupBuilder",
    "SingleGroupBuilder",
    "alone_first",
    "honours_of",
    "is_builder",
    "kept_parameters",
    "plan_of",
    "takes_context",
]

Systems = Sequence[SystemDescriptor]

ALL_DECLARATIONS = frozenset({"every", "condition", "depends_on"})
"""What a processor can declare of when it runs; `every` stands for its offset too."""

_KEPT = "_archetype_parameters"


class ExecutionGroupBuilder(Protocol):
    """What puts the processors of a tick into groups; a class may also inherit from it.

    `honours`, if a builder has it, names those of ALL_DECLARATIONS that it looks at; one without it is
    trusted with all. A class that inherits keeps its constructor's arguments, so that it can be recorded.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the constructor's arguments by name, defaults included."""
        self = super().__new__(cls)
        object.__setattr__(self, _KEPT, bound_parameters(cls, args, kwargs))
        return self

    def __init__(self) -> None:
        """Take nothing, unless the class says otherwise."""

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan | Sequence[ExecutionGroup]:
        """Put the processors given, which are in order of registration, into groups.

        One that has no use for the context may leave it out: `build(self, systems)`.

        Each belongs in exactly one group, or in the plan's `not_due`; one that runs alone, in a group of
        its own. Groups run in the order given; inside a group order has no meaning.
        """
        ...


def is_builder(value: object) -> bool:
    """Tell whether a value can build, and is no class."""
    return callable(getattr(value, "build", None)) and not isinstance(value, type)


@lru_cache(maxsize=64)
def takes_context(kind: type[Any]) -> bool | None:
    """Tell whether a builder's `build` takes the context behind the systems; None where it is no builder."""
    for given in (("self", "systems", "context"), ("self", "systems")):
        try:
            inspect.signature(kind.build).bind(*given)
        except (AttributeError, TypeError, ValueError):
            continue
        return "context" in given
    return None


def kept_parameters(builder: ExecutionGroupBuilder) -> dict[str, Any] | None:
    """Give the constructor's arguments of a builder that inherits from ExecutionGroupBuilder, else None."""
    return getattr(builder, _KEPT, None)


def honours_of(builder: ExecutionGroupBuilder) -> frozenset[str]:
    """Give the declarations that a builder looks at."""
    named: Collection[str] = getattr(builder, "honours", ALL_DECLARATIONS)
    return frozenset(named)


def plan_of(builder: ExecutionGroupBuilder, systems: Systems, context: PlanContext) -> ExecutionPlan:
    """Let a builder build, and take a list for groups.

    Raises PlanError naming the builder if it raises, or gives what is no plan.
    """
    name = type(builder).__name__
    try:
        build: Any = builder.build
        built: object = build(systems, context) if takes_context(type(builder)) else build(systems)
    except PlanError:
        raise
    except Exception as exc:
        raise PlanError(
            f"{name}.build failed at tick {context.tick}: {type(exc).__name__}: {exc}. Mend the builder.",
            builder=name,
            processors=[],
        ) from exc
    plan: Any = built if isinstance(built, ExecutionPlan) else ExecutionPlan(cast("Any", built))
    if not (_is_listing(plan.groups) and _is_listing(plan.not_due)):
        raise PlanError(
            f"{name}.build gave {type(built).__name__}: return an ExecutionPlan, or a list of its groups.",
            builder=name,
            processors=[],
        )
    for group in plan.groups:
        if not isinstance(group, ExecutionGroup) or not _is_listing(group.systems):
            raise PlanError(
                f"{name}.build gave {group!r} for a group: make it with ExecutionGroup([...]).",
                builder=name,
                processors=[],
            )
    return plan


def _is_listing(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def alone_first(systems: Systems) -> list[ExecutionGroup]:
    """Give those that run alone a group each, in order of registration, then one to all the others."""
    ordered = sorted(systems, key=_index)
    together = [system for system in ordered if not system.runs_alone]
    groups = [ExecutionGroup((system,)) for system in ordered if system.runs_alone]
    return [*groups, ExecutionGroup(tuple(together))] if together else groups


def _index(system: SystemDescriptor) -> int:
    return system.index


def _priority(system: SystemDescriptor) -> int:
    return system.priority


@dataclass(frozen=True)
class SequentialGroupBuilder(ExecutionGroupBuilder):
    """Each processor a group of its own, seeing what the one before wrote: by priority, then index."""

    honours: ClassVar[frozenset[str]] = frozenset()

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        del context
        ordered = sorted(sorted(systems, key=_index), key=_priority)
        return ExecutionPlan([ExecutionGroup((system,)) for system in ordered])


@dataclass(frozen=True)
class SingleGroupBuilder(ExecutionGroupBuilder):
    """Those that run alone first, one group each; then one group of all the others."""

    honours: ClassVar[frozenset[str]] = frozenset()

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        del context
        return ExecutionPlan(alone_first(systems))


@dataclass(frozen=True)
class PriorityGroupBuilder(ExecutionGroupBuilder):
    """Each priority a group, ascending; within one, those that run alone come first, one group each."""

    honours: ClassVar[frozenset[str]] = frozenset()

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        del context
        groups: list[ExecutionGroup] = []
        for _, equals in groupby(sorted(systems, key=_priority), _priority):
            groups += alone_first(list(equals))
        return ExecutionPlan(groups)


@dataclass(frozen=True)
class FrequencyGroupBuilder(ExecutionGroupBuilder):
    """Leaves out who is not due, t % every == offset; `inner`, by default by priority, orders the others.

    Raises InvalidInputError if `inner` is no builder; in building, PlanError on a processor that is never
    due: its offset must lie in [0, every).
    """

    inner: ExecutionGroupBuilder | None = None

    def __post_init__(self) -> None:
        _require_builder(type(self).__name__, self.inner)

    @property
    def honours(self) -> frozenset[str]:
        """Look at `every`, and at what the inner builder looks at."""
        return honours_of(_inner(self.inner)) | {"every"}

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        due: list[SystemDescriptor] = []
        not_due: list[SystemDescriptor] = []
        for system in systems:
            if not 0 <= system.offset < system.every:
                raise PlanError(
                    f"Processor {system.name} has every={system.every} and offset={system.offset}: "
                    "it is never due. Give it an offset from 0 to every - 1.",
                    processors=[system.name],
                )
            (due if context.tick % system.every == system.offset else not_due).append(system)
        plan = plan_of(_inner(self.inner), tuple(due), context)
        return ExecutionPlan(plan.groups, (*not_due, *plan.not_due))


@dataclass(frozen=True)
class ConditionGroupBuilder(ExecutionGroupBuilder):
    """The groups of `inner`, by default by priority, in which only those run whose condition then holds.

    Raises InvalidInputError if `inner` is no builder.
    """

    inner: ExecutionGroupBuilder | None = None

    def __post_init__(self) -> None:
        _require_builder(type(self).__name__, self.inner)

    @property
    def honours(self) -> frozenset[str]:
        """Look at `condition`, and at what the inner builder looks at."""
        return honours_of(_inner(self.inner)) | {"condition"}

    def build(self, systems: Systems, context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        plan = plan_of(_inner(self.inner), systems, context)
        groups = [replace(group, checks_conditions=True) for group in plan.groups]
        return ExecutionPlan(groups, plan.not_due)


def _inner(builder: ExecutionGroupBuilder | None) -> ExecutionGroupBuilder:
    return PriorityGroupBuilder() if builder is None else builder


def _require_builder(owner: str, inner: object) -> None:
    if inner is not None and not is_builder(inner):
        raise InvalidInputError(f"The inner builder of {owner} is an instance with build(), not {inner!r}.")
