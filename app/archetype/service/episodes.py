"""Episodes: runs that end when the world says so, and what they return."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.core.episodes import EpisodeRules
from archetype.service.run_service import RunService
from archetype.service.runs import RunInfo, RunRequest
from archetype.service.simulation import SimulationService
from archetype.service.states import OnTick
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.run_rows import RunSpan, RunView, find_view, run_span
from archetype.store.ticks import tick_row

__all__ = ["EpisodeResult", "EpisodeService"]


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """What an episode came to, in the ticks `from_tick` <= t < `to_tick`.

    `reason` is terminal, condition or max_steps; `commit_hash` is the last state's, in hex, None before the
    world's first tick. `return_value` is None where none was asked for, or it is no finite number.
    """

    run_id: UUID
    world_id: UUID
    world: str
    from_tick: int
    to_tick: int
    steps: int
    reason: str
    return_value: float | None
    commit_hash: str | None


class EpisodeService:
    """Runs episodes of a world, waiting for them or not."""

    def __init__(
        self, database: Database, worlds: WorldService, simulation: SimulationService, runs: RunService
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._simulation = simulation
        self._runs = runs

    async def run(
        self, world_id: UUID, request: RunRequest, *, on_tick: OnTick | None = None
    ) -> EpisodeResult:
        """Run ticks until the request's `episode` is over; `steps` is how many at most.

        Both rules are asked after each tick and before the first. Raises `InvalidInputError` where they name
        what is not loaded here, and all that `SimulationService.run` raises; a retry answers as the first
        time.
        """
        result = await self._simulation.run(world_id, _checked(request), on_tick=on_tick)
        return await self._result(result.run_id)

    async def start(self, world_id: UUID, request: RunRequest) -> RunInfo:
        """Accept an episode and return once it is durable, as `RunService.start` does."""
        return await self._runs.start(world_id, _checked(request))

    async def _result(self, run_id: UUID) -> EpisodeResult:
        def fetch(connection: Connection) -> tuple[RunView, RunSpan]:
            view = find_view(connection, run_id)
            assert view is not None  # noqa: S101  it has just run
            return view, run_span(connection, view.row)

        view, span = await self._database.read(fetch)
        row = view.row
        commit_hash = span.commit_hash
        if commit_hash is None:
            commit_hash = await self._commit_before(row.world_id, span.from_tick)
        return EpisodeResult(
            run_id=run_id,
            world_id=row.world_id,
            world=view.world,
            from_tick=span.from_tick,
            to_tick=span.to_tick,
            steps=row.ticks_completed,
            reason=row.reason or row.status,
            return_value=row.return_value,
            commit_hash=None if commit_hash is None else commit_hash.hex(),
        )

    async def _commit_before(self, world_id: UUID, tick: int) -> bytes | None:
        """Return the commit that an episode began and ended on, since it took no tick."""
        owner_id = (await self._worlds.lineage(world_id)).owner_of(tick - 1)
        row = await self._database.read(lambda connection: tick_row(connection, owner_id, tick - 1))
        return None if row is None else row.commit_hash


def _checked(request: RunRequest) -> RunRequest:
    return replace(request, episode=(request.episode or EpisodeRules()).checked())
