"""The plan of a tick: what a builder gives, checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from archetype.core.scheduling.builders import ExecutionGroupBuilder, honours_of, plan_of
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, SystemDescriptor
from archetype.errors import PlanError

__all__ = ["make_plan"]

_LOOKING_AT = {
    "every": "FrequencyGroupBuilder",
    "condition": "ConditionGroupBuilder",
    "depends_on": "DependencyGroupBuilder",
}


def make_plan(
    builder: ExecutionGroupBuilder, systems: Sequence[SystemDescriptor], context: PlanContext
) -> ExecutionPlan:
    """Give the groups of a tick, none empty, each in order of registration, and who is left out.

    Raises PlanError naming processors: of a plan that drops, repeats or invents one, or puts one that runs
    alone beside others; and of declarations that the builder does not look at.
    """
    name = type(builder).__name__
    _refuse_unheard(name, honours_of(builder), systems)
    plan = plan_of(builder, tuple(systems), context)
    _refuse_other_systems(name, plan, systems)
    groups: list[ExecutionGroup] = []
    for group in plan.groups:
        if len(group.systems) > 1:
            _refuse_company(name, group)
        if group.systems:
            ordered = tuple(sorted(group.systems, key=_index))
            groups.append(ExecutionGroup(ordered, group.checks_conditions))
    return ExecutionPlan(tuple(groups), tuple(sorted(plan.not_due, key=_index)))


def _index(system: SystemDescriptor) -> int:
    return system.index


def _refuse_unheard(builder: str, honoured: frozenset[str], systems: Sequence[SystemDescriptor]) -> None:
    for system in systems:
        for declaration, spelled in _declared(system):
            if declaration not in honoured:
                raise PlanError(
                    f"Processor {system.name} declares {spelled}, which {builder} does not look at. "
                    f"Let the world's scheduler build its groups with {_LOOKING_AT[declaration]}, "
                    "or take the declaration away.",
                    builder=builder,
                    processors=[system.name],
                    declaration=declaration,
                )


def _declared(system: SystemDescriptor) -> Iterator[tuple[str, str]]:
    if (system.every, system.offset) != (1, 0):
        yield "every", f"every={system.every}, offset={system.offset}"
    if system.condition is not None:
        yield "condition", "a condition"
    if system.depends_on:
        yield "depends_on", f"depends_on={', '.join(system.depends_on)}"


def _refuse_other_systems(builder: str, plan: ExecutionPlan, systems: Sequence[SystemDescriptor]) -> None:
    """Refuse a plan that is no partition of the systems."""
    planned: list[Any] = [system for group in plan.groups for system in group.systems]
    planned += plan.not_due
    known = frozenset(systems)
    unknown = [each for each in planned if not isinstance(each, SystemDescriptor) or each not in known]
    if unknown:
        raise _error(builder, "holds what it was not given,", unknown, "plan only what it is given")
    if len(planned) == len(known) == len(set(planned)):
        return
    repeated = [system for system, count in Counter(planned).items() if count > 1]
    if repeated:
        raise _error(builder, "repeats", repeated, "put each into one group, or into not_due")
    dropped = sorted(known.difference(planned), key=_index)
    raise _error(builder, "drops", dropped, "put each into a group, or into not_due")


def _refuse_company(builder: str, group: ExecutionGroup) -> None:
    alone = [system for system in group.systems if system.runs_alone]
    if alone:
        others = ", ".join(system.name for system in group.systems if system is not alone[0])
        remedy = f"give each a group of its own, not one with {others}"
        raise _error(builder, "mixes with others what runs alone,", alone, remedy)


def _error(builder: str, fault: str, systems: Iterable[object], remedy: str) -> PlanError:
    names = [each.name if isinstance(each, SystemDescriptor) else repr(each) for each in systems]
    return PlanError(
        f"The plan of {builder} {fault} {', '.join(names)}: {remedy}.", builder=builder, processors=names
    )
