"""Rollouts for callers: started, waited for, and read while they go on and afterwards."""

from __future__ import annotations

from uuid import UUID

from archetype.errors import RunCancelledError, TickFailedError, UnavailableError
from archetype.service.rollout_results import RolloutRequest, RolloutResult, find_rollout
from archetype.service.run_service import RunService
from archetype.service.runs import RunInfo
from archetype.store.database import Database

__all__ = ["RolloutService"]


class RolloutService:
    """Runs an episode in each of many forks of one state."""

    def __init__(self, database: Database, runs: RunService) -> None:
        self._database = database
        self._runs = runs

    async def start(self, world_id: UUID, request: RolloutRequest) -> RunInfo:
        """Accept a rollout and return once it is durable; it goes on whatever becomes of its caller.

        Raises `InvalidInputError` where its rules name what is not loaded here, and all that
        `RolloutRunner.accept` raises.
        """
        return await self._runs.start(world_id, request.checked())

    async def run(self, world_id: UUID, request: RolloutRequest) -> RolloutResult:
        """Accept a rollout and return what came of it once all its episodes are over.

        Episodes that failed are rows like the others. Raises `RunCancelledError`, `TickFailedError` when the
        rollout itself could not be computed, `UnavailableError` when this process stops; a retry with the
        same command id is answered as the first time, or waits for what goes on.
        """
        info = await self._runs.wait((await self.start(world_id, request)).run_id)
        result = await self.find(info.run_id)
        details = {"run_id": str(result.run_id), "episodes_completed": len(result.episodes)}
        over = f"{len(result.episodes)} of {result.episodes_requested} episodes are over"
        match result.status:
            case "completed":
                return result
            case "cancelled":
                why = f": {result.error}" if result.error else ""
                msg = f"the rollout was cancelled{why}; {over}"
                raise RunCancelledError(msg, **details)
            case "failed":
                msg = f"the rollout did not complete: {result.error}; {over}"
                raise TickFailedError(msg, **details)
            case _:
                msg = f"the server is stopping: {over}, and the rollout goes on with the next one"
                raise UnavailableError(msg, retry_after_s=1, **details)

    async def find(self, run_id: UUID) -> RolloutResult:
        """Return a rollout as it is now; `RunNotFoundError` if there is none of that id."""
        return await find_rollout(self._database, run_id)
