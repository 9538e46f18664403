"""Runs that outlive their caller, and their server: started, followed, cancelled and taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from archetype.clock import new_id
from archetype.errors import (
    ArchetypeError,
    CodeChangedError,
    CodeNotLoadedError,
    OverloadedError,
    RunNotFoundError,
    UnavailableError,
    WorldArchivedError,
    WorldBusyError,
)
from archetype.limits import RUNS_AT_ONCE_MAX, RUNS_WAITING_MAX
from archetype.log.command import CommandType
from archetype.service.answers import refusal
from archetype.service.direct import direct_command
from archetype.service.rollout_results import RolloutRequest, recorded_rollout
from archetype.service.rollouts import RolloutRunner, Signals
from archetype.service.run_feed import RunFeed
from archetype.service.runs import RunInfo, RunRequest, recorded_request
from archetype.service.simulation import SimulationService
from archetype.service.states import OnTick
from archetype.store import run_rows as store
from archetype.store.database import Database
from archetype.store.log import LogRow, checked
from archetype.store.run_ends import cancel_run
from archetype.store.worlds import WorldRow

__all__ = ["RunService"]

logger = logging.getLogger(__name__)

TAKE_UP_INTERVAL_S = 2.0
FOLLOW_INTERVAL_S = 0.25
"""How often the row of a run is read that another process computes."""

Sleep = Callable[[float], Awaitable[None]]


class RunService:
    """Starts runs and keeps them going, whatever becomes of their callers; `sleep` is for tests."""

    def __init__(
        self,
        database: Database,
        simulation: SimulationService,
        rollouts: RolloutRunner,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._database = database
        self._simulation = simulation
        self._rollouts = rollouts
        self._sleep = sleep
        self._slots = asyncio.Semaphore(RUNS_AT_ONCE_MAX)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._pulses: dict[UUID, asyncio.Event] = {}
        self._signals: dict[UUID, Signals] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._on_tick: OnTick | None = None
        self._told: set[UUID] = set()

    @property
    def held_count(self) -> int:
        """How many runs this process has taken up: those that compute, and those that wait for their turn."""
        return len(self._tasks)

    async def start(self, world_id: UUID, request: RunRequest | RolloutRequest) -> RunInfo:
        """Accept a run or rollout and return once it is durable; its ticks are computed in the background.

        It waits for its turn: behind earlier runs of the world, here or in another process. A retry with the
        same command id answers with the same run as it is now. Raises `OverloadedError` while too many wait.
        """
        if len(self._tasks) >= RUNS_WAITING_MAX:
            msg = f"{len(self._tasks)} runs wait already; try again in a second"
            raise OverloadedError(msg, retry_after_s=1.0)
        request = replace(request, command_id=request.command_id or new_id())
        if isinstance(request, RolloutRequest):
            row = await self._rollouts.accept(world_id, request)
        else:
            row = await self._simulation.accept(world_id, request)
        if row.is_cut_short:
            self._take_up(row, replace(request, run_id=row.run_id))
        return await self.find(row.run_id)

    async def find(self, run_id: UUID) -> RunInfo:
        """Return a run as it is now; `RunNotFoundError` if there is none of that id."""
        view = await self._database.read(lambda connection: store.find_view(connection, run_id))
        if view is None:
            msg = f"run {run_id} does not exist; `archetype runs list WORLD` shows a world's runs"
            raise RunNotFoundError(msg, run_id=str(run_id))
        return RunInfo.of(view)

    async def list_runs(
        self, world: WorldRow, *, before: UUID | None = None, limit: int = 100
    ) -> list[RunInfo]:
        """List a world's own runs, the newest first, below the id `before`."""
        views = await self._database.read(
            lambda connection: store.list_views(connection, world.world_id, before=before, limit=limit)
        )
        return [RunInfo.of(view) for view in views]

    async def cancel(
        self,
        run_id: UUID,
        *,
        reason: str | None = None,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> RunInfo:
        """Let a run end behind the tick that is being computed, in whichever process; return it as it is now.

        One that nobody computes ends at once. Whoever cancels one that is cancelling is recorded too, and the
        first reason counts; one that is cancelled is answered as it is. Raises `RunEndedError` when it has
        ended otherwise.
        """
        info = await self.find(run_id)
        payload = {"run_id": str(run_id)} if reason is None else {"run_id": str(run_id), "reason": reason}
        command = direct_command(
            CommandType.CANCEL_RUN, info.world_id, payload, command_id=command_id, actor_id=actor_id
        )
        answer = await self._database.write(
            lambda connection: cancel_run(connection, command, run_id, expected_version)
        )
        if answer is not None and not answer.status.is_in_log:
            raise refusal(command, answer, expected_version)
        if run_id in self._signals:
            self._signals[run_id].changed.set()
        self._wake(run_id)
        latest = await self.find(run_id)
        if latest.status == "cancelling" and run_id not in self._tasks:
            await self._clear_up(run_id)
        return latest

    async def _clear_up(self, run_id: UUID) -> None:
        """Take up a rollout that is cancelled, in case nobody computes it: its forks are to go."""
        command = (await self._database.read(lambda connection: store.run_input(connection, run_id))).command
        view = await self._database.read(lambda connection: store.find_view(connection, run_id))
        if view is not None and command.event.type == CommandType.RUN_ROLLOUT:
            self._resume(view.row, command)

    async def wait(self, run_id: UUID) -> RunInfo:
        """Return a run once it has ended, or as it is when this process stops."""
        info = await self.find(run_id)
        async for latest in self.follow(run_id):
            info = latest
        return info

    async def follow(self, run_id: UUID, *, after: int = -1) -> AsyncGenerator[RunInfo]:
        """Give a run whenever it has come further than `after` ticks, and last of all as it ended.

        Ticks that pass while the reader is busy come as one. It ends too when this process stops.
        """
        feed = self.feed(run_id, after=after)
        while not feed.is_over:
            info = await feed.read()
            if info is not None:
                yield info
            await feed.wait()

    def feed(self, run_id: UUID, *, after: int = -1) -> RunFeed:
        """Return a reader's way along a run, for one that waits for other things besides."""

        async def look() -> tuple[RunInfo, Callable[[], Awaitable[object]]]:
            pulse = self._pulses.get(run_id)
            changed = partial(self._sleep, FOLLOW_INTERVAL_S) if pulse is None else pulse.wait
            return await self.find(run_id), changed

        return RunFeed(look, lambda: self._simulation.is_stopping, after)

    async def resume_interrupted(self) -> list[UUID]:
        """Take up the runs that a crash or a stop cut short and that nobody else runs; return their ids.

        They do the rest of what was asked for, in the background. One whose code is not loaded here, or whose
        command is damaged, stays as it is, which is logged once.
        """
        found = await self._database.read(
            lambda connection: store.interrupted(connection, self._simulation.owner)
        )
        taken: list[UUID] = []
        for each in found:
            run_id = each.run.run_id
            if run_id in self._tasks or self._simulation.is_running(run_id):
                continue
            if len(self._tasks) < RUNS_WAITING_MAX and self._resume(each.run, each.command):
                taken.append(run_id)
        return taken

    def _resume(self, row: store.RunRow, command: LogRow) -> bool:
        """Take up a run by its command in the log; one that is damaged keeps no other from going on."""
        is_rollout = command.event.type == CommandType.RUN_ROLLOUT
        recorded = recorded_rollout if is_rollout else recorded_request
        try:
            checked([command])
            request = recorded(row, command)
        except ArchetypeError as error:
            self._tell(row.run_id, error)
            return False
        self._take_up(row, request)
        return True

    def _tell(self, run_id: UUID, error: ArchetypeError) -> None:
        """Say once why a run stays as it is: whoever looks for interrupted ones finds it again and again."""
        if run_id not in self._told:
            self._told.add(run_id)
            logger.warning("Run %s cannot go on here: %s", run_id, error.message)

    def watch(self, *, on_tick: OnTick | None = None) -> None:
        """Take up interrupted runs now, and from now on as they are found; `on_tick` hears of their ticks."""
        self._on_tick = on_tick
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="archetype-runs")

    async def close(self) -> None:
        """Wait until the runs under way here have ended behind their ticks."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait({watcher})
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def _watch(self) -> None:
        while not self._simulation.is_stopping:
            try:
                await self.resume_interrupted()
            except ArchetypeError as error:
                logger.warning("Interrupted runs were not looked for: %s", error.message)
            except Exception:
                logger.exception("Interrupted runs were not looked for.")
            await self._sleep(TAKE_UP_INTERVAL_S)

    def _take_up(self, row: store.RunRow, request: RunRequest | RolloutRequest) -> None:
        """Compute a run in a task of its own, unless one does already."""
        run_id = row.run_id
        if run_id in self._tasks:
            return
        self._pulses[run_id] = asyncio.Event()
        task = asyncio.create_task(self._compute(row, request), name=f"archetype-run-{run_id}")
        self._tasks[run_id] = task
        task.add_done_callback(lambda _: self._forget(run_id))

    def _forget(self, run_id: UUID) -> None:
        self._tasks.pop(run_id, None)
        self._signals.pop(run_id, None)
        pulse = self._pulses.pop(run_id, None)
        if pulse is not None:
            pulse.set()

    def _wake(self, run_id: UUID) -> None:
        """Let whoever follows a run here look at it again."""
        pulse = self._pulses.get(run_id)
        if pulse is not None:
            self._pulses[run_id] = asyncio.Event()
            pulse.set()

    async def _hear(self, tick: int) -> None:
        if self._on_tick is not None:
            await self._on_tick(tick)

    async def _compute(self, row: store.RunRow, request: RunRequest | RolloutRequest) -> None:
        """Compute a run to its end; what it ends with stands in its row, for whoever asks."""
        run_id = row.run_id

        async def on_tick(tick: int) -> None:
            self._wake(run_id)
            await self._hear(tick)

        try:
            if isinstance(request, RolloutRequest):
                signals = self._signals[run_id] = Signals(self._hear, lambda: self._wake(run_id))
                await self._rollouts.run(row, request, slot=self._slots, signals=signals)
            else:
                await self._simulation.run(row.world_id, request, on_tick=on_tick, slot=self._slots)
        except (UnavailableError, WorldBusyError, WorldArchivedError):
            pass  # it stays as it is, for whoever finds it next
        except (CodeNotLoadedError, CodeChangedError) as error:
            self._tell(run_id, error)
        except ArchetypeError:
            pass  # the run's row says it
        except Exception:
            logger.exception("Run %s failed unexpectedly.", run_id)
