"""Running a tick's plan: group after group, each on the state that the one before it left."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from archetype.core.context import TickContext
from archetype.core.frame_rows import merged_tombstones
from archetype.core.gather import gather_or_cancel
from archetype.core.processor import Processor
from archetype.core.querying import configure_daft
from archetype.core.scheduling.builders import SequentialGroupBuilder
from archetype.core.scheduling.chain import QueryFigures, run_chain
from archetype.core.scheduling.groups import GroupRun, policy_of, view_of
from archetype.core.scheduling.plan import (
    ExecutionGroup,
    ExecutionPlan,
    PlanContext,
    SystemDescriptor,
    describe,
)
from archetype.core.scheduling.planning import make_plan
from archetype.core.scheduling.records import Conflict, Execution, IdRange, TickReport
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.state import ArchetypeTable, WorldState

__all__ = ["DEFAULT_SCHEDULER", "ProcessedTick", "plan_tick", "run_processors"]

logger = logging.getLogger(__name__)

DEFAULT_SCHEDULER = SimpleScheduler(group_builder=SequentialGroupBuilder())
"""How a world runs whose scheduler nobody chose: each processor sees what the one before it made."""


@dataclass(frozen=True, eq=False)
class ProcessedTick:
    """The state after the processors, by archetype id the rows that they ended, and what ran."""

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]
    report: TickReport


def plan_tick(
    state: WorldState, processors: Sequence[Processor], context: TickContext, scheduler: SimpleScheduler
) -> ExecutionPlan:
    """Give the plan of a tick that begins with this state; PlanError if the builder's cannot be run."""
    systems = describe(processors)
    return make_plan(
        scheduler.group_builder, systems, PlanContext(context.tick, view_of(state, context), systems)
    )


async def run_processors(
    state: WorldState,
    processors: Sequence[Processor],
    context: TickContext,
    scheduler: SimpleScheduler = DEFAULT_SCHEDULER,
) -> ProcessedTick:
    """Run a tick's processors, in registration order, as the scheduler plans it.

    What comes out is the same whatever runs at once and whoever finishes first. A table that nothing wrote
    to stays the same object. Raises ProcessorError naming processor, archetype and tick,
    AccessViolationError, ConflictError and PlanError; whatever still runs then is cancelled and awaited.
    """
    if not processors:
        return ProcessedTick(state, {}, TickReport())
    limit = scheduler.config.max_concurrent
    slots = None if limit is None else asyncio.Semaphore(limit)
    run = _TickRun(state, context, scheduler, slots)
    for first, groups in _segments(plan_tick(state, processors, context, scheduler), scheduler):
        if len(groups) > 1 or _is_fusible(groups[0], scheduler):
            await run.chain(first, [group.systems[0] for group in groups])
        else:
            await run.group(first, groups[0])
    return run.finished()


def _segments(plan: ExecutionPlan, scheduler: SimpleScheduler) -> Iterator[tuple[int, list[ExecutionGroup]]]:
    """Give the plan's groups with the number of the first: runs of those that can be fused, others singly."""
    waiting: list[ExecutionGroup] = []
    for number, group in enumerate(plan.groups):
        if _is_fusible(group, scheduler):
            waiting.append(group)
            continue
        if waiting:
            yield number - len(waiting), waiting
            waiting = []
        yield number, [group]
    if waiting:
        yield len(plan.groups) - len(waiting), waiting


def _is_fusible(group: ExecutionGroup, scheduler: SimpleScheduler) -> bool:
    """Say whether a group is one frame processor that may be fused with the group behind it."""
    if len(group.systems) != 1:
        return False
    (system,) = group.systems
    is_checked = group.checks_conditions and system.condition is not None
    return (
        system.is_frame and system.rights.is_full and not is_checked and policy_of(system, scheduler).is_plain
    )


@dataclass(slots=True)
class _TickRun:
    """A tick under way: the state that its groups left so far, and what is recorded of them."""

    state: WorldState
    context: TickContext
    scheduler: SimpleScheduler
    slots: asyncio.Semaphore | None
    tombstones: dict[bytes, ArchetypeTable] = field(default_factory=dict[bytes, ArchetypeTable])
    executions: list[Execution] = field(default_factory=list[Execution])
    conflicts: list[Conflict] = field(default_factory=list[Conflict])
    spawned: list[IdRange] = field(default_factory=list[IdRange])

    def finished(self) -> ProcessedTick:
        """Give what the tick came to."""
        report = TickReport(tuple(self.executions), tuple(self.conflicts), tuple(self.spawned))
        return ProcessedTick(self.state, self.tombstones, report)

    async def chain(self, first: int, systems: Sequence[SystemDescriptor]) -> None:
        """Run frame processors one after the other, archetypes at once; their groups count from `first`."""
        configure_daft()
        chains = [
            (table, matching)
            for table in self.state
            if (matching := [each for each in systems if table.archetype.covers(each.component_names)])
        ]
        runs = [functools.partial(run_chain, table, matching, self.context) for table, matching in chains]
        outcomes = await gather_or_cancel(runs)
        changed: list[ArchetypeTable] = []
        figures: dict[int, list[QueryFigures]] = {}
        for (table, _), outcome in zip(chains, outcomes, strict=True):
            empty = ArchetypeTable(table.archetype, table.archetype.table_schema.empty_table())
            changed.append(outcome.active or empty)
            if outcome.inactive is not None:
                self._end(outcome.inactive)
            for index, each in outcome.figures.items():
                figures.setdefault(index, []).append(each)
        self.state = self.state.replace(changed)
        for number, system in enumerate(systems, first):
            tables = [table for table, matching in chains if system in matching]
            self.executions.append(_chained(number, system, tables, figures.get(system.index)))

    async def group(self, number: int, group: ExecutionGroup) -> None:
        """Run a group on the state that the one before it left."""
        run = GroupRun(number, self.state, self.context, self.scheduler, self.slots)
        ran = await run.run(group)
        self.state = ran.state
        for table in ran.tombstones.values():
            self._end(table)
        self.executions.extend(ran.executions)
        self.conflicts.extend(ran.conflicts)
        if ran.spawned is not None:
            self.spawned.append(ran.spawned)

    def _end(self, table: ArchetypeTable) -> None:
        key = table.archetype.archetype_id
        merged = merged_tombstones(table.archetype, self.tombstones.get(key), table)
        if merged is not None:
            self.tombstones[key] = merged


def _chained(
    number: int,
    system: SystemDescriptor,
    tables: Sequence[ArchetypeTable],
    figures: Sequence[QueryFigures] | None,
) -> Execution:
    rows = sum(table.row_count for table in tables)
    execution = Execution(number, system.index, system.name, archetype_count=len(tables), row_count=rows)
    if not tables:
        return execution
    if figures is None:
        return replace(execution, cell_count=None, duration_ms=None)
    return replace(
        execution,
        cell_count=sum(each.cell_count for each in figures),
        ended_count=sum(each.ended_count for each in figures),
        duration_ms=max(each.duration_ms for each in figures),
    )
