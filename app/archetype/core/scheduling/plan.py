"""Execution plans: which processors of a tick run together, in which order of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from archetype.core.processor import AsyncProcessor, Processor
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.rights import Rights

__all__ = ["ExecutionGroup", "ExecutionPlan", "PlanContext", "SystemDescriptor", "describe"]


@dataclass(frozen=True, eq=False)
class SystemDescriptor:
    """A processor as builders see it.

    `index` is its place in registration, from 0. `ordinal` counts those of its plain name before it, and
    `name` tells it from them: "Move", "Move#2".
    """

    index: int
    ordinal: int
    processor: Processor

    @cached_property
    def name(self) -> str:
        """Its name in plans and records."""
        name = self.processor.processor_name()
        return f"{name}#{self.ordinal + 1}" if self.ordinal else name

    @property
    def is_frame(self) -> bool:
        """Whether it works on frames, archetype by archetype."""
        return isinstance(self.processor, AsyncProcessor)

    @property
    def priority(self) -> int:
        """The lower runs first, where a builder goes by it."""
        return self.processor.priority

    @property
    def every(self) -> int:
        """It is due in ticks t with t % every == offset."""
        return self.processor.every

    @property
    def offset(self) -> int:
        """See `every`."""
        return self.processor.offset

    @property
    def condition(self) -> Callable[..., bool] | None:
        """Whether it runs, seen on its group's state."""
        return self.processor.condition

    @property
    def runs_alone(self) -> bool:
        """Whether it shares no group."""
        return self.processor.runs_alone

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """Its own policy, in the place of the scheduler's."""
        return self.processor.retry_policy

    @cached_property
    def depends_on(self) -> tuple[str, ...]:
        """The plain names of the processors that have to run before it."""
        return tuple(
            each if isinstance(each, str) else each.processor_name() for each in self.processor.depends_on
        )

    @cached_property
    def component_names(self) -> frozenset[str]:
        """The components that an archetype must have for it to run there."""
        return frozenset(kind.__name__ for kind in self.processor.components)

    @cached_property
    def rights(self) -> Rights:
        """What it may touch. A frame processor that only declares writes reads what it runs on."""
        reads, writes = self.processor.reads, self.processor.writes
        if self.is_frame and reads is None and writes is not None:
            reads = self.processor.components
        return Rights.declared(reads, writes)

    def __repr__(self) -> str:
        return f"SystemDescriptor({self.name!r})"


@dataclass(frozen=True)
class ExecutionGroup:
    """Processors that run together on one state, with `checks_conditions` those whose condition holds."""

    systems: Sequence[SystemDescriptor]
    checks_conditions: bool = False


@dataclass(frozen=True)
class ExecutionPlan:
    """Groups in the order in which they run, and the processors that the tick leaves out."""

    groups: Sequence[ExecutionGroup]
    not_due: Sequence[SystemDescriptor] = field(default_factory=tuple[SystemDescriptor, ...])


@dataclass(frozen=True)
class PlanContext:
    """What a plan is made for: the tick, its world as it stands when the tick begins, and all processors.

    `systems` are all that are registered, those among them that another builder has left out.
    """

    tick: int
    world: Access
    systems: Sequence[SystemDescriptor]


def describe(processors: Sequence[Processor]) -> tuple[SystemDescriptor, ...]:
    """Describe processors in their order of registration."""
    counts: dict[str, int] = {}
    described: list[SystemDescriptor] = []
    for index, processor in enumerate(processors):
        name = processor.processor_name()
        ordinal = counts[name] = counts.get(name, -1) + 1
        described.append(SystemDescriptor(index, ordinal, processor))
    return tuple(described)
