"""The plan of a world's next tick: its groups, and where the declared writes of a group overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal
from uuid import UUID

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.context import TickContext
from archetype.core.scheduling.executor import plan_tick
from archetype.core.scheduling.plan import ExecutionGroup, SystemDescriptor
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.rules import rule_of
from archetype.core.scheduling.scheduler import settings_of
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.service.simulation import SimulationService
from archetype.service.states import StateService
from archetype.service.worlds import WorldService
from archetype.store.worlds import WorldRow

__all__ = ["Overlap", "PlanService", "PlannedGroup", "PlannedProcessor", "WorldPlan"]


@dataclass(frozen=True)
class PlannedProcessor:
    """A processor in a plan; `reads` and `writes` are None where it may touch everything.

    `kind` is "frame" for one that works on frames, "system" for one that works on objects.
    """

    index: int
    name: str
    kind: Literal["frame", "system"]
    priority: int
    components: Sequence[str]
    reads: Sequence[str] | None
    writes: Sequence[str] | None
    depends_on: Sequence[str]
    every: int
    offset: int
    has_condition: bool
    retry_policy: RetryPolicy


@dataclass(frozen=True)
class Overlap:
    """A component that two processors of a group both declare to write, and how their writes combine.

    `resolution` is "last" or "combine" for the whole component, else the operation of each field, "last" of
    those that have none.
    """

    component: str
    processors: tuple[str, str]
    resolution: str | Mapping[str, str]


@dataclass(frozen=True)
class PlannedGroup:
    """Processors that run together, in order of registration, and the overlaps of what they declare."""

    number: int
    processors: Sequence[PlannedProcessor]
    overlaps: Sequence[Overlap]


@dataclass(frozen=True)
class WorldPlan:
    """The plan of one tick; `not_due` are the processors that it leaves out."""

    world_id: UUID
    tick: int
    scheduler: SchedulerSettings
    groups: Sequence[PlannedGroup]
    not_due: Sequence[str]


class PlanService:
    """Plans ticks without running them."""

    def __init__(self, worlds: WorldService, states: StateService, simulation: SimulationService) -> None:
        self._worlds = worlds
        self._states = states
        self._simulation = simulation

    async def plan(self, world: WorldRow) -> WorldPlan:
        """Plan a world's next tick, on its last committed state.

        Raises `PlanError` where the builder's plan cannot be run, and `CodeNotLoadedError` and
        `CodeChangedError` where the recorded code is not here.
        """
        live = self._worlds.live_worlds.of(world.world_id)
        code = self._simulation.pool.load(world.world_id, await self._simulation.programs.program(world))
        state = await self._states.state(world, world.committed_tick)
        context = TickContext(
            world_id=world.world_id,
            run_id=new_id(),
            tick=world.tick,
            seed=world.seed,
            resources=live.resources.in_tick(code.resources),
        )
        plan = plan_tick(state, code.processors, context, code.scheduler)
        policy = code.scheduler.config.retry_policy
        return WorldPlan(
            world_id=world.world_id,
            tick=world.tick,
            scheduler=settings_of(code.scheduler),
            groups=[_planned(number, group, policy) for number, group in enumerate(plan.groups)],
            not_due=[system.name for system in plan.not_due],
        )


def _planned(number: int, group: ExecutionGroup, policy: RetryPolicy) -> PlannedGroup:
    processors = [_described(system, policy) for system in group.systems]
    return PlannedGroup(number, processors, _overlaps(group.systems))


def _described(system: SystemDescriptor, policy: RetryPolicy) -> PlannedProcessor:
    reads, writes = system.rights.reads, system.rights.writes
    return PlannedProcessor(
        index=system.index,
        name=system.name,
        kind="frame" if system.is_frame else "system",
        priority=system.priority,
        components=sorted(system.component_names),
        reads=None if reads is None else sorted(reads),
        writes=None if writes is None else sorted(writes),
        depends_on=system.depends_on,
        every=system.every,
        offset=system.offset,
        has_condition=system.condition is not None,
        retry_policy=system.retry_policy or policy,
    )


def _overlaps(systems: Sequence[SystemDescriptor]) -> list[Overlap]:
    """Give what pairs of processors both declare to write; of one that declares nothing nothing is known."""
    found: list[Overlap] = []
    for first, second in combinations(systems, 2):
        shared = (first.rights.writes or frozenset()) & (second.rights.writes or frozenset())
        pair = (first.name, second.name)
        found.extend(Overlap(component, pair, _resolution(component)) for component in sorted(shared))
    return found


def _resolution(component: str) -> str | dict[str, str]:
    rule = rule_of(component)
    if rule.combining is not None:
        return "combine"
    if not rule.operations:
        return "last"
    fields = Component.get_type_by_name(component).layout().fields
    return {each.name: rule.operations.get(each.column, "last") for each in fields}
