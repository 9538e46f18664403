"""What ran in the ticks of a world: the executions of its processors, and the conflicts of their writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.ticks import tick_facts
from archetype.store.worlds import WorldRow

__all__ = ["ExecutionService", "TickExecutions"]


@dataclass(frozen=True)
class TickExecutions:
    """What ran in one tick, as it was recorded.

    `executions` are in the order of their groups and, within one, of registration; `conflicts` are cells that
    several processors of a group wrote; `spawned` are the ids that each group's spawns were given, as
    (first, count).
    """

    tick: int
    run_id: UUID
    compute_ms: float
    executions: Sequence[Mapping[str, Any]]
    conflicts: Sequence[Mapping[str, Any]]
    spawned: Sequence[tuple[int, int]]


class ExecutionService:
    """Reads what ticks recorded of their processors."""

    def __init__(self, database: Database, worlds: WorldService) -> None:
        self._database = database
        self._worlds = worlds

    async def of_ticks(self, world: WorldRow, from_tick: int, to_tick: int) -> list[TickExecutions]:
        """Return what ran in the committed ticks `from_tick` <= t < `to_tick` of a world's past, in order."""
        stretches = (await self._worlds.lineage(world.world_id)).stretches(from_tick, to_tick)
        facts = await self._database.read(lambda connection: tick_facts(connection, stretches))
        return [_read(tick, payload) for tick, payload in facts]


def _read(tick: int, payload: str) -> TickExecutions:
    recorded: Mapping[str, Any] = json.loads(payload)
    return TickExecutions(
        tick=tick,
        run_id=UUID(recorded["run_id"]),
        compute_ms=recorded["compute_ms"],
        executions=recorded.get("executions", []),
        conflicts=recorded.get("conflicts", []),
        spawned=[(first, count) for first, count in recorded.get("spawned", [])],
    )
