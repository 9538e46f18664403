"""Judging an episode: the state that it begins with, each of its ticks, and those behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

from archetype.core.episodes import EpisodeRules, Judged, recorded_number, spelled_number
from archetype.core.state import WorldState
from archetype.service.states import StateService
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.run_rows import RunRow
from archetype.store.ticks import run_facts

__all__ = ["Judge", "recorded_return"]


class Judge:
    """Asks the rules of episodes; without rules, for any other run, it has nothing to say."""

    def __init__(self, database: Database, worlds: WorldService, states: StateService) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states

    async def start(self, world_id: UUID, rules: EpisodeRules | None) -> tuple[int, Judged] | None:
        """Judge the state that an episode begins with, or goes on from; return its tick too."""
        world = None if rules is None else await self._worlds.peek(world_id)
        if rules is None or world is None or world.archived_at is not None:
            return None
        projection = await self._states.of_live(self._worlds.live_worlds.of(world_id), world.committed_tick)
        return world.committed_tick, await asyncio.to_thread(rules.judge, projection.state)

    async def tick(self, state: WorldState, rules: EpisodeRules | None) -> Judged | None:
        """Judge the state that a tick leads to."""
        return None if rules is None else await asyncio.to_thread(rules.judge, state)

    async def tick_returns(self, row: RunRow, rules: EpisodeRules | None) -> list[float | None]:
        """Read from the log what the ticks of an episode that was cut short count for, in order."""
        if rules is None:
            return []
        facts = await self._database.read(
            lambda connection: run_facts(connection, row.world_id, row.run_id, row.from_tick)
        )
        return [recorded_number(json.loads(fact).get("tick_return")) for fact in facts]


def recorded_return(judged: Judged | None) -> dict[str, Any]:
    """Say in a tick's fact what it counts for in its episode, if it does."""
    if judged is None or judged.tick_return is None:
        return {}
    return {"tick_return": spelled_number(judged.tick_return)}
