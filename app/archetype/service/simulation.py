"""Running worlds: a run seals, computes and commits one tick after the other, one transaction a tick."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from uuid import UUID

from archetype.clock import monotonic_s, new_id, new_owner
from archetype.core.episodes import Judged
from archetype.errors import (
    ArchetypeError,
    RunCancelledError,
    TickFailedError,
    UnavailableError,
    WorldArchivedError,
    WorldBusyError,
)
from archetype.service.answers import refusal
from archetype.service.budget import MemoryBudget
from archetype.service.judging import Judge
from archetype.service.live_worlds import LiveWorld
from archetype.service.observing import Observer
from archetype.service.preparation import Preparation
from archetype.service.processors import ProcessorPool
from archetype.service.programs import ProgramService
from archetype.service.runs import ActiveRun, RunRequest, RunResult, run_command
from archetype.service.states import OnTick, StateService
from archetype.service.storing import PageCounts
from archetype.service.ticking import TickRunner
from archetype.service.worlds import WorldService
from archetype.store.acceptance import NewCommand
from archetype.store.database import Database
from archetype.store.leases import LEASE_TTL_S
from archetype.store.run_ends import RunEnd, finish_run
from archetype.store.run_rows import RunRow, run_totals
from archetype.store.runs import BegunRun, NewRun, Sealed, begin_run

__all__ = ["SimulationService"]

logger = logging.getLogger(__name__)


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
        self._is_stopping = False
        self._running: set[UUID] = set()
        self.pool = ProcessorPool(budget, is_running=worlds.live_worlds.is_running)
        self.programs = ProgramService(database, worlds)
        self._preparation = Preparation(database, worlds, self.programs, self.pool)
        self._ticks = TickRunner(
            database,
            worlds,
            states,
            preparation=self._preparation,
            judge=self._judge,
            observer=self._observer,
            makes_patches=makes_patches,
            is_stopping=lambda: self._is_stopping,
        )

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
    def page_counts(self) -> PageCounts:
        """What this very service has stored so far."""
        return self._ticks.page_counts

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
        live = self._worlds.live_worlds.of(world_id)
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
        await self._preparation.require_code(self._worlds.live_worlds.of(world_id))
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
        await self._preparation.require_code(live)
        begun = await self._begin(live.world_id, request)
        if not isinstance(begun, tuple):
            return begun
        run, sealed = begun
        end: RunEnd | None = None
        self._running.add(run.run_id)
        try:
            while sealed is not None:
                with self._telling_loss():
                    committed = await self._ticks.run(live, run, sealed)
                sealed, end = committed.sealed, committed.run_end
                if on_tick is not None:
                    await on_tick(run.world.committed_tick)
            if not run.completed and run.is_over:
                await self._end(run, "completed")
        except (WorldArchivedError, WorldBusyError, UnavailableError):
            raise  # the run's row is another's to close by now, or cannot be reached
        except asyncio.CancelledError:
            await asyncio.shield(self._end_cancelled(run))
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
    ) -> tuple[ActiveRun, Sealed | None] | RunResult:
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
    ) -> BegunRun:
        new_run = NewRun(
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
        begun = await self._database.write(lambda connection: begin_run(connection, new_run))
        if not begun.answer.status.is_in_log:
            raise refusal(command, begun.answer, request.expected_version)
        return begun

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
        finish = partial(finish_run, status=status, error=reason, failure=failure, outcome=outcome)
        await self._database.write(
            lambda connection: finish(connection, run.world.world_id, run.run_id, lease)
        )

    async def _end_cancelled(self, run: ActiveRun) -> None:
        """Record that a run's caller was cancelled, unless that fails: the cancellation must come through.

        A run whose end is not recorded is taken up like one that a crash cut short.
        """
        try:
            await self._end(run, "failed", "cancelled by its caller")
        except Exception:
            logger.exception("That the caller of run %s was cancelled could not be recorded.", run.run_id)

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


def _no_run(command_id: UUID) -> TickFailedError:
    msg = f"command {command_id} asked for no run of its own; ask again under another id"
    return TickFailedError(msg, command_id=str(command_id))


def _cancelled(run_id: UUID, completed: int, steps: int, reason: str | None) -> RunCancelledError:
    why = f": {reason}" if reason else ""
    msg = f"the run was cancelled behind {completed} of {steps} ticks{why}"
    return RunCancelledError(msg, run_id=str(run_id), ticks_completed=completed)
