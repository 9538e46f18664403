"""Computing rollouts: an episode in each of many forks, some at once, each recorded as soon as it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.engine import Connection

from archetype.clock import new_id
from archetype.core.episodes import derived_seed
from archetype.errors import (
    ArchetypeError,
    RunEndedError,
    StateConflictError,
    UnavailableError,
    WorldArchivedError,
    WorldBusyError,
)
from archetype.log.command import CommandType
from archetype.log.run_payloads import RunRollout
from archetype.service.answers import refusal
from archetype.service.direct import direct_command
from archetype.service.forks import ForkRequest
from archetype.service.projection import Projection
from archetype.service.rollout_results import (
    RolloutRequest,
    episode_run_id,
    rollout_command,
    rollout_tick,
)
from archetype.service.runs import RunInfo, RunRequest
from archetype.service.schedulers import scheduler_settings
from archetype.service.simulation import SimulationService
from archetype.service.states import OnTick, StateService
from archetype.service.world_info import WorldInfo
from archetype.service.worlds import WorldService
from archetype.store import rollouts as store
from archetype.store.database import Database
from archetype.store.run_ends import ENDED, cancel_run
from archetype.store.run_rows import RunRow, RunSpan, RunView, find_view, run_span
from archetype.store.runs import NewRun
from archetype.store.worlds import WorldRow

__all__ = ["RolloutRunner", "Signals"]

HOLD_TTL_S = 10.0
"""How long a dead process on another machine keeps a rollout from the others."""

HOLD_INTERVAL_S = 1.0
"""How often a process says that it computes a rollout, and looks whether it was cancelled."""

_NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True)
class Signals:
    """What a rollout and whoever started it tell each other.

    `on_tick` hears of each tick and `on_episode` of each episode that is over; `changed` is set when the
    rollout's row may have been changed here.
    """

    on_tick: OnTick
    on_episode: Callable[[], None]
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Active:
    """A rollout under way in this process; the forks are in the order of their episodes."""

    row: RunRow
    asked: RunRollout
    base: WorldRow
    holder: store.Holder
    signals: Signals
    slot: AbstractAsyncContextManager[Any]
    forks: Sequence[WorldInfo] = ()
    start: Projection | None = None
    under_way: set[UUID] = field(default_factory=set[UUID])
    let_go: set[UUID] = field(default_factory=set[UUID])
    is_cancelled: bool = False
    error: Exception | None = None

    @property
    def is_cut_short(self) -> bool:
        """Whether no more episodes are to begin."""
        return self.is_cancelled or self.error is not None


class RolloutRunner:
    """Accepts rollouts, and computes them in any process: what is recorded already is not done again.

    Who asked for a rollout asked for all of it, and stands at its command: those in its forks are nobody's.
    """

    def __init__(
        self,
        database: Database,
        worlds: WorldService,
        states: StateService,
        simulation: SimulationService,
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states
        self._simulation = simulation

    async def accept(self, world_id: UUID, request: RolloutRequest) -> RunRow:
        """Accept a rollout for `run` to compute, and return its row; a retry is answered with it as it is.

        Raises `TickNotFoundError` for a tick that is not committed, `CodeNotLoadedError` or
        `CodeChangedError`.
        """
        self._simulation.require_time()
        asked = request.asked
        base = await self._worlds.peek(world_id)
        if base is not None and base.archived_at is None:
            tick = asked.tick if asked.tick == -1 else self._worlds.committed(base, asked.tick)
            await self._require_code(base, tick)
        command = rollout_command(world_id, request)
        rollout = NewRun(
            run_id=request.run_id or new_id(),
            command=command,
            ticks_requested=asked.episodes * asked.max_steps,
            owner=self._simulation.owner,
            ttl_s=HOLD_TTL_S,
            expected_version=request.expected_version,
            may_wait=True,
        )
        accepted = await self._database.write(lambda connection: store.accept_rollout(connection, rollout))
        if accepted.run is None:
            raise refusal(command, accepted.answer, request.expected_version)
        return accepted.run

    async def _require_code(self, base: WorldRow, tick: int) -> None:
        """Refuse what cannot run here before anything is made for it."""
        program = await self._simulation.programs.program_after(base, tick)
        self._simulation.pool.load(base.world_id, program.scheduled(scheduler_settings(base.config)))

    async def run(
        self,
        row: RunRow,
        request: RolloutRequest,
        *,
        slot: AbstractAsyncContextManager[Any],
        signals: Signals,
    ) -> None:
        """Compute a rollout, or what is left of it, to its end; each episode computes while `slot` lets it.

        One that cannot be computed is recorded, and the others go on. Raises `UnavailableError` when this
        process stops, `WorldBusyError` when another computes it.
        """
        base = await self._worlds.find(row.world_id)
        if row.status != "cancelling":
            await self._require_code(base, rollout_tick(row, request.asked))
        holder = store.Holder(row.run_id, self._simulation.owner, HOLD_TTL_S)
        row = await self._database.write(lambda connection: store.claim_rollout(connection, holder))
        if row.status in ENDED:
            return
        active = _Active(row, request.asked, base, holder, signals, slot)
        active.is_cancelled = row.status == "cancelling"
        try:
            status = await self._compute(active)
        except UnavailableError:
            await self._finish(active, "stopped", "the server stopped")
            raise
        except WorldArchivedError:
            await self._clear(active)  # the base's log is over, and with it the rollout
            raise
        except WorldBusyError:
            raise  # the row is another's to close by now
        except Exception as error:
            reason = error.message if isinstance(error, ArchetypeError) else repr(error)
            await self._clear(active)
            await self._finish(active, "failed", reason)
            raise
        await self._finish(active, status)

    async def _clear(self, active: _Active) -> None:
        """Let go of the forks that nobody has let go of yet."""
        for fork in active.forks:
            if fork.world_id not in active.let_go:
                await self._let_go(active, fork.world_id)

    async def _finish(self, active: _Active, status: str, error: str | None = None) -> None:
        await self._database.write(
            lambda connection: store.finish_rollout(connection, active.holder, status, error)
        )

    async def _compute(self, active: _Active) -> str:
        """Run the episodes that are not over, and return how the rollout ended."""
        facts = await self._database.read(lambda connection: store.episode_facts(connection, active.row))
        over = {fact["index"] for fact in facts}
        active.forks = await self._forks(active)
        if len(over) < len(active.forks) and not active.is_cancelled:
            tick = rollout_tick(active.row, active.asked)
            active.start = await self._states.to_fork(active.base, tick)
            waiting = iter([index for index in range(len(active.forks)) if index not in over])
            async with self._held(active):
                await asyncio.gather(*(self._work(active, waiting) for _ in range(active.asked.parallel)))
        if active.error is not None:
            raise active.error
        await self._clear(active)
        return "completed" if await self._is_complete(active) else "cancelled"

    async def _is_complete(self, active: _Active) -> bool:
        """Tell whether every episode came to an end of its own; a rollout may be cancelled too late."""
        if not active.is_cancelled:
            return True
        facts = await self._database.read(lambda connection: store.episode_facts(connection, active.row))
        return [fact["reason"] != "cancelled" for fact in facts] == [True] * active.asked.episodes

    async def _forks(self, active: _Active) -> Sequence[WorldInfo]:
        """Make the forks, or return those that an earlier try made; one that is cancelled makes none."""
        asked, run_id = active.asked, active.row.run_id
        seed = active.base.seed if asked.seed is None else asked.seed
        request = ForkRequest(
            name=f"{active.base.name[:_NAME_CHARACTERS_MAX]}-{run_id.hex[-12:]}",
            tick=rollout_tick(active.row, asked),
            include_pending=asked.include_pending,
            count=asked.episodes,
            command_id=uuid5(run_id, "forks"),
            seeds=asked.seeds or [derived_seed(seed, index) for index in range(asked.episodes)],
            snapshots=asked.snapshots,
        )
        if active.is_cancelled:
            return await self._worlds.earlier_forks(request, active.base) or ()
        return await self._worlds.fork(active.base, request)

    @asynccontextmanager
    async def _held(self, active: _Active) -> AsyncGenerator[None]:
        """Keep the rollout this process's own, and heed that it is cancelled."""
        task = asyncio.create_task(self._hold(active))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _hold(self, active: _Active) -> None:
        changed = active.signals.changed
        while active.error is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HOLD_INTERVAL_S)
            changed.clear()
            try:
                status = await self._database.write(
                    lambda connection: store.hold_rollout(connection, active.holder)
                )
                if status == "cancelling":
                    await self._cancel(active)
            except ArchetypeError as error:
                active.error = error

    async def _cancel(self, active: _Active) -> None:
        """Let the episodes under way end behind their ticks, and begin no more."""
        active.is_cancelled = True
        for world_id in sorted(active.under_way):
            run_id = episode_run_id(world_id)
            payload = {"run_id": str(run_id), "reason": "its rollout was cancelled"}
            command = direct_command(
                CommandType.CANCEL_RUN,
                world_id,
                payload,
                command_id=uuid5(world_id, "cancel"),
            )

            def write(connection: Connection, run_id: UUID = run_id, command: Any = command) -> None:
                if find_view(connection, run_id) is not None:
                    cancel_run(connection, command, run_id)

            with suppress(RunEndedError, StateConflictError):
                await self._database.write(write)

    async def _work(self, active: _Active, waiting: Iterator[int]) -> None:
        """Run one waiting episode after the other; what keeps this process from going on ends them all."""
        for index in waiting:
            if active.is_cut_short:
                return
            try:
                await self._episode(active, index)
            except Exception as error:  # noqa: BLE001  the rollout raises it once all have ended
                active.error = active.error or error
                return

    async def _episode(self, active: _Active, index: int) -> None:
        """Run an episode in its fork, record what came of it, and let go of the fork."""
        fork = active.forks[index]
        error = await self._run_episode(active, fork)
        end = await self._end(active, index, error)
        status = await self._database.write(
            lambda connection: store.record_episode(connection, active.holder, end)
        )
        active.is_cancelled = active.is_cancelled or status == "cancelling"
        active.signals.on_episode()
        await self._let_go(active, fork.world_id)

    async def _run_episode(self, active: _Active, fork: WorldInfo) -> str | None:
        """Run the episode of a fork, on the state that all of them share; return why it failed, if it did."""
        live = self._worlds.live_worlds.of(fork.world_id)
        live.resources = self._worlds.live_worlds.of(active.base.world_id).resources.handles()
        if live.projection is None and active.start is not None:
            live.projection = replace(active.start, world_id=fork.world_id)
        asked = active.asked
        request = RunRequest(
            steps=asked.max_steps,
            kind=CommandType.RUN_EPISODE,
            inputs=asked.inputs,
            metadata=asked.metadata,
            is_debug=asked.debug,
            command_id=uuid5(fork.world_id, "run"),
            run_id=episode_run_id(fork.world_id),
            episode=asked.rules,
        )
        active.under_way.add(fork.world_id)
        try:
            await self._simulation.run(
                fork.world_id, request, on_tick=active.signals.on_tick, slot=active.slot
            )
        except (UnavailableError, WorldBusyError):
            raise
        except ArchetypeError as error:
            return error.message
        except Exception as error:  # noqa: BLE001  one episode's failure is no other's
            return repr(error)
        finally:
            active.under_way.discard(fork.world_id)
        return None

    async def _end(self, active: _Active, index: int, error: str | None) -> store.EpisodeEnd:
        """Say what came of an episode, by its run's row; one that could not begin has none."""
        fork = active.forks[index]
        run_id = episode_run_id(fork.world_id)

        def fetch(connection: Connection) -> tuple[RunView, RunSpan] | None:
            view = find_view(connection, run_id)
            return None if view is None else (view, run_span(connection, view.row))

        found = await self._database.read(fetch)
        info = None if found is None else RunInfo.of(found[0])
        commit_hash = None if found is None else found[1].commit_hash
        if commit_hash is None and active.start is not None and active.start.committed_tick >= 0:
            commit_hash = active.start.commit_hash
        steps = 0 if info is None else info.ticks_completed
        fact: dict[str, Any] = {
            "run_id": str(active.row.run_id),
            "index": index,
            "seed": fork.seed,
            "world_id": str(fork.world_id),
            "episode_run_id": str(run_id),
            "steps": steps,
            "reason": _reason(info),
            "return_value": info and info.return_value,
            "commit_hash": commit_hash and commit_hash.hex(),
            "commands_applied": info.commands_applied if info is not None else 0,
        }
        if fact["reason"] == "failed":
            fact["error"] = (info and info.error) or error or "it did not begin"
        return store.EpisodeEnd(fact, steps, fact["commands_applied"])

    async def _let_go(self, active: _Active, world_id: UUID) -> None:
        """Remove a fork unless it is to be kept, and keep nothing of it in memory."""
        fork = await self._worlds.peek(world_id)
        if fork is not None and fork.archived_at is None and not active.asked.keep:
            with suppress(WorldArchivedError):
                await self._worlds.remove_world(
                    fork,
                    reason="its episode is over",
                    command_id=uuid5(world_id, "remove"),
                )
        self._worlds.forget(world_id)
        self._simulation.pool.forget(world_id)
        active.let_go.add(world_id)


def _reason(info: RunInfo | None) -> str:
    if info is None or info.status not in {"completed", "cancelled"}:
        return "failed"
    return info.reason or info.status
