"""What the gate costs: commands over HTTP with an API key, against the single user without one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from archetype.core.config import WorldConfig
from archetype.service.container import ServiceContainer
from bench.databases import Databases
from bench.load import Target, storm
from bench.measure import Row, median
from bench.processes import BATCH, CONNECTIONS, MANY, ONE, answering

COST_MAX = 0.15
SINGLE_USER = "single user"
QUOTAS: Mapping[str, int | None] = {"no limit": None, "a quota that is counted": 2**50}


def gate(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Measure by turns, in short rounds, so that what else the machine does falls on all of them alike."""
    rounds, seconds = (5, 1.0) if is_quick else (15, 1.0)
    with databases.fresh(kind) as open_url, databases.fresh(kind) as keyed_url:
        open_world, _ = asyncio.run(_prepare(open_url, {}))
        keyed_world, keys = asyncio.run(_prepare(keyed_url, QUOTAS))
        with answering(open_url) as open_port, answering(keyed_url) as keyed_port:
            rows: list[Row] = []
            for path, body, count in [("commands", ONE, 1), ("commands/batch", MANY, BATCH)]:
                keyed = f"/worlds/{keyed_world}/{path}"
                targets = {SINGLE_USER: Target(open_port, f"/worlds/{open_world}/{path}", body)}
                targets |= {name: Target(keyed_port, keyed, body, key) for name, key in keys.items()}
                rows += _rows(kind, count, _by_turns(targets, rounds, seconds))
    return rows


async def _prepare(url: str, quotas: Mapping[str, int | None]) -> tuple[str, dict[str, str]]:
    """Make a world, and an actor with a key for each quota; return the world's id and the keys."""
    keys: dict[str, str] = {}
    async with ServiceContainer(url) as services:
        world = await services.world_service.create_world(WorldConfig(name="bench"))
        for number, (name, allowed) in enumerate(quotas.items()):
            actor = f"actor-{number}"
            await services.identity_service.create_actor(actor, roles=["admin"])
            quota = {"commands_per_tick": allowed, "tokens_per_day": allowed}
            await services.quota_service.set(actor, quota)
            keys[name] = (await services.identity_service.create_key(actor)).key
    return str(world.world_id), keys


def _by_turns(targets: Mapping[str, Target], rounds: int, seconds: float) -> dict[str, float]:
    """Return the median rate of each target in requests a second; the first round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(rounds + 1):
        for name, target in targets.items():
            rate = asyncio.run(storm(target, connections=CONNECTIONS, seconds=seconds))
            if number:
                rates[name].append(rate)
    return {name: median(found) for name, found in rates.items()}


def _rows(kind: str, count: int, rates: Mapping[str, float]) -> list[Row]:
    sent = "single commands" if count == 1 else f"batches of {count}"
    floor = rates[SINGLE_USER] * count
    return [
        Row(
            f"{sent} over HTTP with a key, {name}",
            kind,
            rates[name] * count,
            "commands/s",
            floor * (1 - COST_MAX),
            floor,
            "without keys, by turns",
        )
        for name in QUOTAS
    ]
