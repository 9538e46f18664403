"""Groups by what processors declare to depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from archetype.core.scheduling.builders import ExecutionGroupBuilder, alone_first
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, SystemDescriptor
from archetype.errors import PlanError

__all__ = ["DependencyGroupBuilder"]

Needs = Mapping[SystemDescriptor, Sequence[SystemDescriptor]]


@dataclass(frozen=True)
class DependencyGroupBuilder(ExecutionGroupBuilder):
    """Each processor as early as what it depends on allows; of a level, those that run alone come first.

    A name means every processor of that plain name. One that is registered, but left out of this tick,
    counts as done. Raises PlanError on names that the world does not have, and on cycles.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"depends_on"})

    def build(self, systems: Sequence[SystemDescriptor], context: PlanContext) -> ExecutionPlan:
        """Build the plan of a tick."""
        needs = _needs({*systems, *context.systems})
        levels = _levels(needs)  # of all, so that a cycle is refused in every tick
        due = frozenset(systems)
        if len(due) < len(needs):
            levels = _levels({system: needs[system] for system in needs if system in due})
        groups: list[ExecutionGroup] = []
        for level in levels:
            groups += alone_first(level)
        return ExecutionPlan(groups)


def _needs(systems: set[SystemDescriptor]) -> Needs:
    """Look up what each processor depends on; both in order of registration."""
    ordered = sorted(systems, key=lambda system: system.index)
    by_name: dict[str, list[SystemDescriptor]] = {}
    for system in ordered:
        by_name.setdefault(system.processor.processor_name(), []).append(system)
    for system in ordered:
        unknown = [name for name in system.depends_on if name not in by_name]
        if unknown:
            raise PlanError(
                f"Processor {system.name} depends on {', '.join(unknown)}, which this world does not have: "
                f"it has {', '.join(by_name)}. Add it, or correct depends_on.",
                processors=[system.name],
                unknown=unknown,
            )
    return {
        system: sorted(
            {each for name in system.depends_on for each in by_name[name]}, key=lambda each: each.index
        )
        for system in ordered
    }


def _levels(needs: Needs) -> list[list[SystemDescriptor]]:
    """Take away, level by level, the processors that depend on none of those left (Kahn's algorithm)."""
    left = dict(needs)
    levels: list[list[SystemDescriptor]] = []
    while left:
        level = [system for system, needed in left.items() if not any(each in left for each in needed)]
        if not level:
            raise _cycle_error(left)
        levels.append(level)
        for system in level:
            del left[system]
    return levels


def _cycle_error(left: Needs) -> PlanError:
    """Name a cycle among processors each of which depends on another of them."""
    walked: list[SystemDescriptor] = []
    system = next(iter(left))
    while system not in walked:
        walked.append(system)
        system = next(each for each in left[system] if each in left)
    cycle = walked[walked.index(system) :]
    first = min(range(len(cycle)), key=lambda at: cycle[at].index)
    names = [each.name for each in (*cycle[first:], *cycle[:first])]
    return PlanError(
        f"Processors depend on each other in a cycle: {' -> '.join([*names, names[0]])} "
        "(each depends on the next). Take one of these out of depends_on.",
        processors=names,
    )
