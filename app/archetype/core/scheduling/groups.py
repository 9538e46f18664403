"""Running one execution group: all of its processors on one state, then their writes, in order."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archetype.core.context import TickContext
from archetype.core.gather import gather_or_cancel
from archetype.core.querying import configure_daft
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.attempts import Attempted, failures_of, run_attempts
from archetype.core.scheduling.fold import Folded, count_spawns, fold_group
from archetype.core.scheduling.frames import RAISED, GroupFrames, said
from archetype.core.scheduling.isolated import Ran, joined, run_isolated
from archetype.core.scheduling.plan import ExecutionGroup, SystemDescriptor
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.records import Attempt, Conflict, Execution, IdRange
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.scheduling.threads import in_thread
from archetype.core.scheduling.writes import Output
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import ArchetypeError, ConflictError, ProcessorError, TickFailedError

__all__ = ["GroupRan", "GroupRun", "policy_of", "view_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GroupRan:
    """What a group came to: the state, the rows that it ended, and what is recorded of it."""

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]
    executions: Sequence[Execution]
    conflicts: Sequence[Conflict]
    spawned: IdRange | None


def policy_of(system: SystemDescriptor, scheduler: SimpleScheduler) -> RetryPolicy:
    """Give the policy of a processor: its own, or else the scheduler's."""
    return system.retry_policy or scheduler.config.retry_policy


def view_of(state: WorldState, context: TickContext) -> Access:
    """Give a view of a state that writes nothing, for conditions and builders."""
    reads_all = Rights(writes=frozenset())
    return Access(state, name="condition", index=0, ordinal=0, rights=reads_all, context=context)


@dataclass(frozen=True)
class GroupRun:
    """A group to run on a state that nothing changes meanwhile; `number` is its place among the tick's."""

    number: int
    state: WorldState
    context: TickContext
    scheduler: SimpleScheduler
    slots: asyncio.Semaphore | None

    async def run(self, group: ExecutionGroup) -> GroupRan:
        """Run the processors that are due, and fold what they wrote in order of registration.

        When one fails the others are cancelled and awaited, and nothing of the group exists.
        """
        executions: dict[int, Execution] = {}
        due = await self._due(group, executions)
        if any(system.is_frame for system in due):
            configure_daft()
        frames = GroupFrames(self.state, self.context)
        attempted = await gather_or_cancel(
            [functools.partial(self._attempted, system, frames) for system in due]
        )
        runs = await self._joined(due, attempted)
        folded, spawned = await self._folded([ran.output for ran in runs])
        ran_by_index = {ran.system.index: ran for ran in runs}
        for system, each in zip(due, attempted, strict=True):
            ran = ran_by_index.get(system.index)
            executions[system.index] = self._execution(system, each, ran, folded)
        conflicts = [conflict.in_group(self.number) for conflict in folded.conflicts]
        self._judge([conflict for conflict in conflicts if not conflict.is_resolved_by_rule])
        ordered = [executions[index] for index in sorted(executions)]
        return GroupRan(folded.state, folded.tombstones, ordered, conflicts, spawned)

    async def _due(self, group: ExecutionGroup, executions: dict[int, Execution]) -> list[SystemDescriptor]:
        """Give the processors that run: not those whose condition does not hold, nor those skipped before."""
        due: list[SystemDescriptor] = []
        for system in group.systems:
            if self.context.skipped is not None and system.index in self.context.skipped:
                executions[system.index] = Execution(self.number, system.index, system.name, "skipped")
            elif not group.checks_conditions or await self._holds(system):
                due.append(system)
            else:
                executions[system.index] = Execution(
                    self.number, system.index, system.name, "condition_false"
                )
        return due

    async def _holds(self, system: SystemDescriptor) -> bool:
        condition = system.condition
        if condition is None:
            return True
        view = view_of(self.state, self.context)
        try:
            return bool(await in_thread(functools.partial(condition, view)))
        except RAISED as exc:
            raise self._failed(system, f"has a condition that raised {said(exc)},") from exc

    async def _attempted(self, system: SystemDescriptor, frames: GroupFrames) -> Attempted[Ran]:
        policy = policy_of(system, self.scheduler)
        if self.context.is_replay:
            policy = policy.model_copy(update={"on_exhausted": "fail"})
        once = functools.partial(
            run_isolated,
            system,
            frames,
            may_wait=policy.is_plain,
            may_be_left=policy.timeout is not None,
        )
        try:
            return await run_attempts(once, policy=policy, slots=self.slots, timers=self.context.timers)
        except TimeoutError as exc:
            error = self._failed(system, f"took longer than its timeout of {policy.timeout} s")
            error.details["attempts"] = [each.to_json() for each in failures_of(exc)]
            raise error from exc
        except ArchetypeError as exc:
            exc.details["attempts"] = [each.to_json() for each in failures_of(exc)]
            raise

    async def _joined(
        self, due: Sequence[SystemDescriptor], attempted: Sequence[Attempted[Ran]]
    ) -> Sequence[Ran]:
        """Evaluate what waits in the runs of a group; who fails there had no other attempt."""
        try:
            return await joined([each.result for each in attempted if each.result is not None])
        except TickFailedError as exc:
            durations = {system.name: each.duration_ms for system, each in zip(due, attempted, strict=True)}
            failed = Attempt(durations[exc.details["processor"]], f"{type(exc).__name__}: {exc.message}")
            exc.details["attempts"] = [failed.to_json()]
            raise

    def _failed(self, system: SystemDescriptor, what: str) -> ProcessorError:
        return ProcessorError(
            f"Processor {system.name} {what} at tick {self.context.tick}. "
            "Nothing of this tick was kept; mend it and step again.",
            what=what,
            processor=system.name,
            archetype=None,
            tick=self.context.tick,
        )

    async def _folded(self, outputs: Sequence[Output]) -> tuple[Folded, IdRange | None]:
        """Fold a group's writes into the state; entities that it spawned get their ids now."""
        outputs = [each for each in outputs if each.columns or each.ended or each.operations]
        if not outputs:
            return fold_group(self.state, outputs, 0), None
        spawned = None
        spawn_count = count_spawns(outputs)
        if spawn_count:
            spawned = IdRange(await self.context.reserve_ids(spawn_count), spawn_count)
        first_id = 0 if spawned is None else spawned.first
        try:
            return await asyncio.to_thread(fold_group, self.state, outputs, first_id), spawned
        except RAISED as exc:
            # What is no error of ours comes from a component's own __combine__.
            what = exc.message.rstrip(".") if isinstance(exc, ArchetypeError) else said(exc)
            writers = ", ".join(each.name for each in outputs)
            raise TickFailedError(
                f"What {writers} wrote at tick {self.context.tick} cannot be kept: {what}. "
                "Nothing of this tick was kept; mend the processor and step again.",
                tick=self.context.tick,
                processors=[each.name for each in outputs],
            ) from exc

    def _judge(self, lost: Sequence[Conflict]) -> None:
        """Let be, warn of or refuse writes that another processor's took the place of."""
        judgement = self.scheduler.config.conflicts
        if not lost or judgement == "resolve":
            return
        tick = self.context.tick
        said = "; ".join(_described(conflict) for conflict in lost)
        if judgement == "error":
            raise ConflictError(
                f"Tick {tick} failed on conflicting writes: {said}. Let one of them write it, mark the field "
                "with Combine, put them into different groups, or let the scheduler resolve conflicts.",
                tick=tick,
                conflicts=[conflict.to_json() for conflict in lost],
            )
        if not self.context.is_replay:
            logger.warning("Tick %s of world %s: %s.", tick, self.context.world_id, said)

    def _execution(
        self, system: SystemDescriptor, attempted: Attempted[Ran], ran: Ran | None, folded: Folded
    ) -> Execution:
        index = system.index
        if ran is None:
            return Execution(
                self.number,
                index,
                system.name,
                "skipped",
                duration_ms=attempted.duration_ms,
                failures=attempted.failures,
            )
        return Execution(
            self.number,
            index,
            system.name,
            archetype_count=ran.archetype_count,
            row_count=ran.row_count,
            cell_count=folded.cell_counts.get(index, 0),
            duration_ms=attempted.duration_ms,
            failures=attempted.failures,
            spawned_count=folded.spawned_counts.get(index, 0),
            ended_count=folded.ended_counts.get(index, 0),
            dropped_count=folded.dropped_counts.get(index, 0),
        )


def _described(conflict: Conflict) -> str:
    what = conflict.component if conflict.field is None else f"{conflict.component}.{conflict.field}"
    first = ", ".join(str(entity_id) for entity_id in conflict.entity_ids[:3])
    more = ", …" if conflict.entity_count > 3 else ""
    writers = " and ".join(conflict.writers)
    entities = "1 entity" if conflict.entity_count == 1 else f"{conflict.entity_count} entities"
    return f"{writers} wrote {what} of {entities} ({first}{more})"
