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
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.attempts import Attempted, failures_of, run_attempts
from archetype.core.scheduling.builders import SequentialGroupBuilder
from archetype.core.scheduling.chain import QueryFigures, run_chain
from archetype.core.scheduling.fold import Folded, count_spawns, fold_group
from archetype.core.scheduling.frames import GroupFrames
from archetype.core.scheduling.isolated import Ran, in_thread, joined, run_isolated
from archetype.core.scheduling.plan import (
    ExecutionGroup,
    ExecutionPlan,
    PlanContext,
    SystemDescriptor,
    describe,
)
from archetype.core.scheduling.planning import make_plan
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.records import Conflict, Execution, IdRange, TickReport
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.scheduling.writes import Output
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import ArchetypeError, ConflictError, InvalidInputError, ProcessorError, TickFailedError

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


def view_of(state: WorldState, context: TickContext) -> Access:
    """Give a view of a state that writes nothing, for conditions and builders."""
    reads_all = Rights(writes=frozenset())
    return Access(state, name="condition", index=0, ordinal=0, rights=reads_all, context=context)


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
    run = _TickRun(state, context, scheduler)
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
        system.is_frame and system.rights.is_full and not is_checked and _policy(system, scheduler).is_plain
    )


def _policy(system: SystemDescriptor, scheduler: SimpleScheduler) -> RetryPolicy:
    return system.retry_policy or scheduler.config.retry_policy


@dataclass(slots=True)
class _TickRun:
    """A tick under way: the state that its groups left so far, and what is recorded of them."""

    state: WorldState
    context: TickContext
    scheduler: SimpleScheduler
    slots: asyncio.Semaphore | None = None
    tombstones: dict[bytes, ArchetypeTable] = field(default_factory=dict[bytes, ArchetypeTable])
    executions: list[Execution] = field(default_factory=list[Execution])
    conflicts: list[Conflict] = field(default_factory=list[Conflict])
    spawned: list[IdRange] = field(default_factory=list[IdRange])

    def __post_init__(self) -> None:
        limit = self.scheduler.config.max_concurrent
        self.slots = None if limit is None else asyncio.Semaphore(limit)

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
        """Run a group's processors on one state, then fold what they wrote in order of registration."""
        executions: dict[int, Execution] = {}
        due = await self._due(number, group, executions)
        if any(system.is_frame for system in due):
            configure_daft()
        frames = GroupFrames(self.state, self.context)
        attempts = await gather_or_cancel(
            [functools.partial(self._attempt, system, frames) for system in due]
        )
        runs = await joined([each.result for each in attempts if each.result is not None])
        for system, each in zip(due, attempts, strict=True):
            if each.result is None:
                executions[system.index] = Execution(
                    number, system.index, system.name, "skipped", failures=each.failures
                )
        outputs = [ran.output for ran in runs]
        folded = await self._folded(outputs)
        self.state = folded.state
        for table in folded.tombstones.values():
            self._end(table)
        by_index = {system.index: each for system, each in zip(due, attempts, strict=True)}
        for ran in runs:
            executions[ran.system.index] = _executed(number, ran, by_index[ran.system.index], folded)
        self.executions.extend(executions[index] for index in sorted(executions))
        self._take_conflicts([conflict.in_group(number) for conflict in folded.conflicts])

    async def _due(
        self, number: int, group: ExecutionGroup, executions: dict[int, Execution]
    ) -> list[SystemDescriptor]:
        """Give the processors that run: not those whose condition does not hold, nor those skipped before."""
        due: list[SystemDescriptor] = []
        for system in group.systems:
            if self.context.skipped is not None and system.index in self.context.skipped:
                executions[system.index] = Execution(number, system.index, system.name, "skipped")
            elif not group.checks_conditions or await self._holds(system):
                due.append(system)
            else:
                executions[system.index] = Execution(number, system.index, system.name, "condition_false")
        return due

    async def _holds(self, system: SystemDescriptor) -> bool:
        condition = system.condition
        if condition is None:
            return True
        view = view_of(self.state, self.context)
        try:
            return bool(await in_thread(functools.partial(condition, view)))
        except Exception as exc:
            raise self._failed(system, f"has a condition that raised {type(exc).__name__}: {exc},") from exc

    async def _attempt(self, system: SystemDescriptor, frames: GroupFrames) -> Attempted[Ran]:
        policy = _policy(system, self.scheduler)
        if self.context.skipped is not None:
            policy = policy.model_copy(update={"on_exhausted": "fail"})
        once = functools.partial(run_isolated, system, frames, may_wait=policy.is_plain)
        try:
            return await run_attempts(once, policy=policy, slots=self.slots, timers=self.context.timers)
        except TimeoutError as exc:
            error = self._failed(system, f"took longer than {policy.timeout} s, each time it was tried,")
            error.details["attempts"] = [each.to_json() for each in failures_of(exc)]
            raise error from exc
        except ArchetypeError as exc:
            exc.details["attempts"] = [each.to_json() for each in failures_of(exc)]
            raise

    def _failed(self, system: SystemDescriptor, what: str) -> ProcessorError:
        return ProcessorError(
            f"Processor {system.name} {what} at tick {self.context.tick}. "
            "Nothing of this tick was kept; mend it and step again.",
            processor=system.name,
            archetype=None,
            tick=self.context.tick,
        )

    async def _folded(self, outputs: Sequence[Output]) -> Folded:
        """Fold a group's writes into the state; entities that it spawned get their ids now."""
        if not any(each.columns or each.ended or each.operations for each in outputs):
            return fold_group(self.state, outputs, 0)
        first_id, spawn_count = 0, count_spawns(outputs)
        if spawn_count:
            first_id = await self.context.reserve_ids(spawn_count)
            self.spawned.append(IdRange(first_id, spawn_count))
        try:
            return await asyncio.to_thread(fold_group, self.state, outputs, first_id)
        except InvalidInputError as exc:
            writers = ", ".join(each.name for each in outputs)
            raise TickFailedError(
                f"What {writers} wrote at tick {self.context.tick} cannot be kept: {exc.message} "
                "Nothing of this tick was kept; mend the processor and step again.",
                tick=self.context.tick,
                processors=[each.name for each in outputs],
            ) from exc

    def _end(self, table: ArchetypeTable) -> None:
        key = table.archetype.archetype_id
        merged = merged_tombstones(table.archetype, self.tombstones.get(key), table)
        if merged is not None:
            self.tombstones[key] = merged

    def _take_conflicts(self, conflicts: Sequence[Conflict]) -> None:
        self.conflicts.extend(conflicts)
        lost = [conflict for conflict in conflicts if not conflict.is_resolved_by_rule]
        if not lost or self.scheduler.config.conflicts == "resolve":
            return
        said = "; ".join(_described(conflict) for conflict in lost)
        if self.scheduler.config.conflicts == "warn":
            logger.warning("Tick %s of world %s: %s.", self.context.tick, self.context.world_id, said)
            return
        raise ConflictError(
            f"Tick {self.context.tick} failed on conflicting writes: {said}. Let one of them write it, mark "
            "the field with Combine, put them into different groups, or set the scheduler's conflicts to "
            "'resolve'.",
            tick=self.context.tick,
            conflicts=[conflict.to_json() for conflict in lost],
        )


def _described(conflict: Conflict) -> str:
    what = conflict.component if conflict.field is None else f"{conflict.component}.{conflict.field}"
    first = ", ".join(str(entity_id) for entity_id in conflict.entity_ids[:3])
    more = ", …" if conflict.entity_count > 3 else ""
    writers = " and ".join(conflict.writers)
    return f"{writers} both wrote {what} of {conflict.entity_count} entities ({first}{more})"


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


def _executed(number: int, ran: Ran, attempted: Attempted[Ran], folded: Folded) -> Execution:
    index = ran.system.index
    return Execution(
        number,
        index,
        ran.system.name,
        archetype_count=ran.archetype_count,
        row_count=ran.row_count,
        cell_count=folded.cell_counts.get(index, 0),
        duration_ms=attempted.duration_ms,
        failures=attempted.failures,
        spawned_count=folded.spawned_counts.get(index, 0),
        ended_count=folded.ended_counts.get(index, 0),
        dropped_count=folded.dropped_counts.get(index, 0),
    )
