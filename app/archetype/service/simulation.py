"""Running worlds: a run seals, computes and commits one tick after the other, one transaction a tick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from archetype.clock import monotonic_s, new_id, new_owner, utc_now
from archetype.core.context import TickContext, Timers
from archetype.core.episodes import Judged
from archetype.core.hooks import PostTick, PreTick
from archetype.core.tick import ComputedTick, compute_tick
from archetype.errors import (
    ArchetypeError,
    CodeChangedError,
    CodeNotLoadedError,
    RunCancelledError,
    TickFailedError,
    UnavailableError,
    WorldArchivedError,
    WorldBusyError,
)
from archetype.log.hashes import commit_hash
from archetype.service.answers import refusal
from archetype.service.budget import MemoryBudget
from archetype.service.inputs import TickInputs, read_inputs
from archetype.service.judging import Judge, recorded_return
from archetype.service.observing import Observer, Phases, tick_seen
from archetype.service.outcomes import recorded_report
from archetype.service.policy import SnapshotPolicy
from archetype.service.processors import LoadedCode, ProcessorPool
from archetype.service.program import Program
from archetype.service.programs import ADDING_TYPES, REPLACING_TYPES, ProgramService
from archetype.service.projection import Projection, Snapshot, take_snapshot
from archetype.service.runs import ActiveRun, RunRequest, RunResult, rejection_facts, run_command
from archetype.service.schedulers import scheduler_settings
from archetype.service.states import OnTick, StateService
from archetype.service.storing import PageCounts, PreparedPages, prepare
from archetype.service.worlds import LiveWorld, WorldService
from archetype.store import runs as store
from archetype.store.acceptance import NewCommand
from archetype.store.commit import Committed, TickCommit, commit_tick
from archetype.store.database import Database
from archetype.store.log import LogRow, commands_of_tick, pending
from archetype.store.run_rows import RunRow, run_totals
from archetype.store.worlds import WorldRow

__all__ = ["SimulationService"]

LEASE_TTL_S = 10.0
"""How long a dead owner on another machine keeps a world from the others."""


class SimulationService:
    """Steps and runs worlds; one run of a world at a time, whichever process asks."""

    def __init__(
        self,
        database: Database,
        worlds: WorldService,
        states: StateService,
        budget: MemoryBudget,
        *,
        lease_ttl_s: float = LEASE_TTL_S,
        makes_patches: bool = True,
        observer: Observer | None = None,
    ) -> None:
        self._database = database
        self._observer = observer or Observer()
        self._worlds = worlds
        self._states = states
        self._judge = Judge(database, worlds, states)
        self._budget = budget
        self._owner = new_owner()
        self._lease_ttl_s = lease_ttl_s
        self._makes_patches = makes_patches
        self._is_stopping = False
        self._running: set[UUID] = set()
        self.pool = ProcessorPool(budget, is_running=worlds.is_running)
        self.page_counts = PageCounts()
        self.programs = ProgramService(database, worlds)

    def stop(self) -> None:
        """Let every run under way end behind the tick that it is computing."""
        self._is_stopping = True

    @property
    def owner(self) -> str:
        """The name by which this service, and no other, holds the worlds that it runs."""
        return self._owner

    @property
    def is_stopping(self) -> bool:
        """Whether no more runs begin here, and those under way end."""
        return self._is_stopping

    @property
    def running_count(self) -> int:
        """How many runs this very service computes just now."""
        return len(self._running)

    def is_running(self, run_id: UUID) -> bool:
        """Tell whether this very service computes a run just now."""
        return run_id in self._running

    async def run(
        self,
        world_id: UUID,
        request: RunRequest,
        *,
        on_tick: OnTick | None = None,
        slot: AbstractAsyncContextManager[Any] | None = None,
    ) -> RunResult:
        """Run ticks and return once the last is durable; `on_tick` hears of each by its number.

        A retry with the same command id answers with what the first try did. It begins once nobody else in
        this process runs the world, and `slot` lets it. Raises `TickFailedError` when a tick cannot be
        computed: the ticks before it stay, its inputs stay sealed. `RunCancelledError` if it was cancelled.
        """
        live = self._worlds.live(world_id)
        try:
            async with live.lock, slot or nullcontext():
                return await self._run(live, request, on_tick)
        finally:
            self._budget.make_room()

    async def accept(self, world_id: UUID, request: RunRequest) -> RunRow:
        """Accept a run for `run` to compute later, with the same request, and return its row.

        A retry with the same command id is answered with the row as it is now.
        """
        self.require_time()
        await self._require_code(self._worlds.live(world_id))
        command = run_command(world_id, request)
        begun = await self._write_begun(command, request, may_wait=True)
        if begun.run is None:
            raise _no_run(command.event_id)
        return begun.run

    def require_time(self) -> None:
        """Raise `UnavailableError` once this process begins no more runs."""
        if self._is_stopping:
            msg = "the server is stopping and begins no more runs"
            raise UnavailableError(msg, retry_after_s=1)

    async def _run(self, live: LiveWorld, request: RunRequest, on_tick: OnTick | None) -> RunResult:
        self.require_time()
        await self._require_code(live)
        begun = await self._begin(live.world_id, request)
        if not isinstance(begun, tuple):
            return begun
        run, sealed = begun
        end: store.RunEnd | None = None
        self._running.add(run.run_id)
        try:
            while sealed is not None:
                with self._telling_loss():
                    committed = await self._tick(live, run, sealed)
                sealed, end = committed.sealed, committed.run_end
                if on_tick is not None:
                    await on_tick(run.world.committed_tick)
            if not run.completed and run.is_over:
                await self._end(run, "completed")
        except (WorldArchivedError, WorldBusyError, UnavailableError):
            raise  # the run's row is another's to close by now, or cannot be reached
        except asyncio.CancelledError:
            await asyncio.shield(self._end(run, "failed", "cancelled by its caller"))
            raise
        except Exception as error:
            reason = error.message if isinstance(error, ArchetypeError) else repr(error)
            failure = error.details if isinstance(error, TickFailedError) else None
            await self._end(run, "failed", reason, failure)
            raise
        finally:
            self._running.discard(run.run_id)
        if end is not None and end.status == "cancelled":
            raise _cancelled(run.run_id, run.completed, request.steps, end.error)
        if not run.is_over:
            msg = f"the server is stopping: {run.completed} of {request.steps} ticks are committed"
            raise UnavailableError(
                msg, run_id=str(run.run_id), ticks_completed=run.completed, retry_after_s=1
            )
        # Without a tick of its own it stands where it was accepted, also for a retry.
        final_tick = run.world.committed_tick + 1 if run.completed else run.from_tick
        return RunResult(run.run_id, live.world_id, run.completed, run.applied, run.rejected, final_tick)

    @contextmanager
    def _telling_loss(self) -> Generator[None]:
        try:
            yield
        except WorldBusyError:
            self._observer.lease_changed("lost")
            raise

    async def _begin(
        self, world_id: UUID, request: RunRequest
    ) -> tuple[ActiveRun, store.Sealed | None] | RunResult:
        """Begin a run, or go on with one that was cut short; one that has ended is answered as it did."""
        command = run_command(world_id, request)
        judged = await self._judge.start(world_id, request.episode)
        started_at_s = monotonic_s()
        begun = await self._write_begun(command, request, judged=judged)
        row = begun.run
        if row is None or begun.world is None or begun.lease is None:
            return await self._earlier(row, command.event_id)
        if begun.sealed is not None:
            self._observer.sealed(started_at_s, monotonic_s())
            before = begun.world.lease_owner
            self._observer.lease_changed("taken" if before in {None, self._owner} else "taken_over")
        run = ActiveRun(
            row.run_id,
            request,
            begun.lease,
            json.loads(command.payload)["inputs"],
            begun.world,
            row.from_tick,
            applied=row.commands_applied,
            completed=row.ticks_completed,
            judged=judged[1] if judged is not None and begun.sealed is None else None,
        )
        if run.completed:
            totals = await self._database.read(lambda connection: run_totals(connection, row))
            run.rejected = totals.rejected_count
            run.tick_returns = await self._judge.tick_returns(row, request.episode)
        return run, begun.sealed

    async def _write_begun(
        self,
        command: NewCommand,
        request: RunRequest,
        *,
        may_wait: bool = False,
        judged: tuple[int, Judged] | None = None,
    ) -> store.BegunRun:
        new_run = store.NewRun(
            run_id=request.run_id or new_id(),
            command=command,
            ticks_requested=request.steps,
            owner=self._owner,
            ttl_s=self._lease_ttl_s,
            expected_version=request.expected_version,
            may_wait=may_wait,
            judged_tick=None if judged is None else judged[0],
            is_over=judged is not None and judged[1].reason is not None,
        )
        begun = await self._database.write(lambda connection: store.begin_run(connection, new_run))
        if not begun.answer.status.is_in_log:
            raise refusal(command, begun.answer, request.expected_version)
        return begun

    async def _tick(self, live: LiveWorld, run: ActiveRun, sealed: store.Sealed) -> Committed:
        """Compute and commit one sealed tick; return the next one, sealed, or how the run ended."""
        started_at, phases = utc_now(), Phases()
        projection = await self._states.of_live(live, sealed.tick - 1)
        inputs, code = await self._prepare(run.world, projection, sealed)
        phases.end("prepare")
        await live.hooks.fire(PreTick(live.world_id, sealed.tick))
        context = TickContext(
            world_id=live.world_id,
            run_id=run.run_id,
            tick=sealed.tick,
            seed=run.world.seed,
            resources=live.resources.in_tick(code.resources),
            debug=run.request.is_debug,
            inputs=run.inputs,
            messages=inputs.messages,
            reserve_ids=partial(self._reserve_ids, run, sealed.tick),
            timers=Timers(now=monotonic_s),
        )
        computing = compute_tick(projection.state, inputs.changes, code.processors, context, code.scheduler)
        computed = await self._keep_lease(run, computing)
        computed_at = phases.end("compute")
        rejections = (*inputs.rejections, *computed.rejections)
        judged = await self._judge.tick(computed.state, run.request.episode)
        after = run.after_tick(inputs.queued_count - len(rejections), len(rejections), judged)
        is_last = after.is_over or self._is_stopping
        stored = await self._to_be_stored(run.world, projection, inputs.program, is_last=is_last)
        snapshot, pages = await asyncio.to_thread(self._in_pages, computed, projection, stored)
        phases.end("hash")
        following = projection.after_tick(computed, snapshot, inputs.program)
        digest = commit_hash(
            parent=projection.commit_hash,
            tick=sealed.tick,
            command_hashes=(row.hash for row in inputs.commands),
            state=snapshot.state_hash,
            code=inputs.program.hash,
        )
        commit = TickCommit(
            world_id=live.world_id,
            sealed=sealed,
            lease=run.lease,
            run_id=run.run_id,
            parent_hash=projection.commit_hash,
            commit_hash=digest,
            state_hash=snapshot.state_hash,
            code_hash=inputs.program.hash,
            program=None if inputs.program.hash == projection.stored_code else inputs.program.document,
            next_entity_id=max(sealed.next_entity_id, computed.report.next_entity_id),
            entity_count=computed.state.entity_count,
            command_count=len(inputs.commands),
            rejected_count=len(rejections),
            started_at=started_at,
            compute_ms=(computed_at - phases.began_s) * 1000,
            persist_ms=(monotonic_s() - computed_at) * 1000,
            rejections=rejection_facts(inputs, rejections, sealed.tick),
            commands_applied=inputs.queued_count - len(rejections),
            archetype_counts={key: table.row_count for key, table in computed.state.tables.items()},
            ran=recorded_report(computed.report) | recorded_return(judged),
            new_archetypes=following.new_archetypes,
            snapshots=pages.snapshots,
            run_progress=(after.completed, after.applied),
            run_end=after.end(sealed.tick) if is_last else None,
        )
        committed = await self._database.write(lambda connection: commit_tick(connection, commit))
        phases.end("persist")
        self._observer.ticked(tick_seen(commit, phases))
        run.advance(after, committed_tick=sealed.tick)
        is_stored = any(tick == sealed.tick for _, tick in stored)
        self.page_counts.add(pages, committed.pages_there)
        bases = pages.known(committed.pages_there) if is_stored else None
        live.projection = following.committed(digest, bases)
        if live.hooks.has(PostTick):
            results = {table.archetype.components: table.rows for table in computed.state}
            await live.hooks.fire(PostTick(live.world_id, sealed.tick + 1, results))
        return committed

    async def _to_be_stored(
        self, world: WorldRow, before: Projection, program: Program, *, is_last: bool
    ) -> list[tuple[UUID, int]]:
        """Return which snapshots a tick's commit has to store, by owner and tick: its own, the one before."""
        stored: list[tuple[UUID, int]] = []
        is_new_program = program.hash != before.program.hash
        if not before.is_stored and (is_new_program or before.committed_tick == world.fork_tick):
            owner_id = (await self._worlds.lineage(world.world_id)).owner_of(before.committed_tick)
            stored.append((owner_id, before.committed_tick))
        tick = before.committed_tick + 1
        if is_last or SnapshotPolicy.of_config(world.config).wants(tick) or not program.is_deterministic:
            stored.append((world.world_id, tick))
        return stored

    def _in_pages(
        self, computed: ComputedTick, before: Projection, stored: Sequence[tuple[UUID, int]]
    ) -> tuple[Snapshot, PreparedPages]:
        """Cut a computed state into pages, and prepare those that are to be stored."""
        snapshot = take_snapshot(computed.state, computed.tombstones, before.snapshot)
        chosen = [
            (owner_id, tick, before.snapshot if tick == before.committed_tick else snapshot)
            for owner_id, tick in stored
        ]
        return snapshot, prepare(chosen, makes_patches=self._makes_patches)

    async def _reserve_ids(self, run: ActiveRun, tick: int, count: int) -> int:
        """Take ids for entities that a tick spawns."""
        world = run.world
        first_id = await self._database.write(
            lambda connection: store.reserve_entity_ids(
                connection, world.world_id, run.lease, tick=tick, count=count
            )
        )
        if first_id is None:
            raise _taken_over(world)
        return first_id

    async def _prepare(
        self, world: WorldRow, projection: Projection, sealed: store.Sealed
    ) -> tuple[TickInputs, LoadedCode]:
        """Read a sealed tick's inputs and build its processors and scheduler.

        The inputs of a sealed tick are fixed, its code is not: where the recorded code is gone, a
        replacement that came too late for the tick, and waits for the next one, holds for it already. So does
        a resource that was added after the tick was sealed by a run which did not commit it.
        """
        inputs = await self._read_inputs(projection, sealed)
        if sealed.was_sealed:
            late = await self._late(projection.world_id, sealed.tick, ADDING_TYPES)
            inputs = replace(inputs, program=read_inputs(late, inputs.program).program)
        program = inputs.program.scheduled(scheduler_settings(world.config))
        try:
            return replace(inputs, program=program), self.pool.load(world.world_id, program)
        except CodeChangedError:
            late = await self._late(projection.world_id, sealed.tick, REPLACING_TYPES)
            program = read_inputs(late, program).program
            return replace(inputs, program=program), self.pool.load(world.world_id, program)

    async def _late(self, world_id: UUID, tick: int, types: Sequence[str]) -> list[LogRow]:
        """Return the commands that came too late for a sealed tick, and wait for the next one."""
        rows = await self._database.read(lambda connection: pending(connection, world_id, types))
        return [row for row in rows if row.event.tick == tick + 1]

    async def _require_code(self, live: LiveWorld) -> None:
        """Refuse to seal anything while a world's code is not here, or not the recorded one."""
        try:
            held = live.projection
            if held is not None:
                self.pool.load(live.world_id, held.program)
                return
        except (CodeChangedError, CodeNotLoadedError):
            pass  # what waits for the next tick may replace or remove it
        world = await self._worlds.peek(live.world_id)
        if world is not None:
            self.pool.load(live.world_id, await self.programs.program(world))

    async def _read_inputs(self, projection: Projection, sealed: store.Sealed) -> TickInputs:
        if not sealed.has_commands:
            return TickInputs.none(projection.program)
        rows = await self._database.read(
            lambda connection: commands_of_tick(connection, projection.world_id, sealed.tick)
        )
        return await asyncio.to_thread(read_inputs, rows, projection.program)

    async def _keep_lease(self, run: ActiveRun, computing: Awaitable[ComputedTick]) -> ComputedTick:
        """Compute a tick, however long it takes, and hold the world's lease meanwhile."""
        task = asyncio.ensure_future(computing)
        try:
            while not (await asyncio.wait({task}, timeout=run.lease.ttl_s / 3))[0]:
                held = await self._database.write(
                    lambda connection: store.renew_lease(connection, run.world.world_id, run.lease)
                )
                if not held:
                    raise _taken_over(run.world)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _end(
        self,
        run: ActiveRun,
        status: str,
        reason: str | None = None,
        failure: Mapping[str, Any] | None = None,
    ) -> None:
        """Record that a run ends behind its last tick, unless it has ended with it."""
        lease = None if run.is_over else run.lease
        outcome = run.outcome if status == "completed" else None
        finish = partial(store.finish_run, status=status, error=reason, failure=failure, outcome=outcome)
        await self._database.write(
            lambda connection: finish(connection, run.world.world_id, run.run_id, lease)
        )

    async def _earlier(self, row: RunRow | None, command_id: UUID) -> RunResult:
        """Answer a retry of a run that has ended, as the first time."""
        if row is None:
            raise _no_run(command_id)
        if row.status == "cancelled":
            raise _cancelled(row.run_id, row.ticks_completed, row.ticks_requested, row.error)
        if row.status != "completed":
            msg = f"the run of command {command_id} did not complete: {row.error}; ask again under another id"
            raise TickFailedError(msg, command_id=str(command_id))
        totals = await self._database.read(lambda connection: run_totals(connection, row))
        return RunResult(
            run_id=row.run_id,
            world_id=row.world_id,
            ticks_completed=row.ticks_completed,
            commands_applied=row.commands_applied,
            commands_rejected=totals.rejected_count,
            final_tick=totals.next_tick,
        )


def _taken_over(world: WorldRow) -> WorldBusyError:
    msg = f"world {world.name!r} was taken over or removed while a tick was computed"
    return WorldBusyError(msg, retry_after_s=1.0)


def _no_run(command_id: UUID) -> TickFailedError:
    msg = f"command {command_id} asked for no run of its own; ask again under another id"
    return TickFailedError(msg, command_id=str(command_id))


def _cancelled(run_id: UUID, completed: int, steps: int, reason: str | None) -> RunCancelledError:
    why = f": {reason}" if reason else ""
    msg = f"the run was cancelled behind {completed} of {steps} ticks{why}"
    return RunCancelledError(msg, run_id=str(run_id), ticks_completed=completed)
