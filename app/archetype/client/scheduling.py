"""Calls about scheduling: which processors run together, and what ran."""

from __future__ import annotations

from archetype.client import scheduling_answers
from archetype.client.calls import Calls, path_of

__all__ = ["SchedulingCalls"]


class SchedulingCalls(Calls):
    """The calls about scheduling."""

    def plan(self, world: str) -> scheduling_answers.WorldPlan:
        """Return the plan of the next tick, made on the last committed state; nothing is run.

        Raises `PlanError` where the plan cannot be run, `CodeNotLoadedError` and `CodeChangedError` where the
        server has not the recorded code.
        """
        return self._read(path_of(world, "plan"))

    def executions(
        self, world: str, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[scheduling_answers.TickExecutions]:
        """Return what ran in each tick of a range, by default of all that are committed."""
        return self._read(path_of(world, "executions"), from_tick=from_tick, to_tick=to_tick)
