"""Rollouts in this process: many short episodes that begin with one state."""

from __future__ import annotations

import asyncio
import time

from bench.databases import Databases
from bench.measure import Row
from bench.worlds import moving_world

ENTITIES, EPISODES, STEPS = 1_000, 100, 20
ROLLOUT_TARGET_S = 20.0


def rollout(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Measure a rollout beside as many ticks of one plain run."""
    episodes = EPISODES // 5 if is_quick else EPISODES

    async def measure(url: str) -> Row:
        async with moving_world(url, ENTITIES) as (_, world):
            await world.run_rollout(2, STEPS)
            start = time.perf_counter()
            await world.run_rollout(episodes, STEPS, returns="Position.x:last:mean", seed=7)
            taken_s = time.perf_counter() - start
            start = time.perf_counter()
            await world.run(episodes * STEPS)
            plain_s = time.perf_counter() - start
        name = f"rollout: {episodes} episodes x {STEPS} ticks of {ENTITIES:,} entities"
        target_s = ROLLOUT_TARGET_S * episodes / EPISODES
        return Row(name, kind, taken_s, "s", target_s, plain_s, "as many ticks of one run")

    with databases.fresh(kind) as url:
        return [asyncio.run(measure(url))]
