"""What the gate costs: commands over HTTP with an API key, against the single user without one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from archetype.core.config import WorldConfig
from archetype.service.container import ServiceContainer
from bench.databases import Databases
from bench.load import Target, storm
from bench.measure import Row, median
from bench.processes import BATCH, CONNECTIONS, MANY, ONE, answering

COST_MAX_PERCENT = 15.0
ROUND_S = 1.0
SINGLE_USER = "single user"
QUOTAS: Mapping[str, int | None] = {"no limit": None, "a quota that is counted": 2**50}
SENT = {"single commands": ("commands", ONE), f"batches of {BATCH}": ("commands/batch", MANY)}


def gate(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Compare servers that answer by turns, each over a database of its own, in short rounds."""
    rounds = 6 if is_quick else 18
    rows: list[Row] = []
    with ExitStack() as open_servers:
        servers: dict[str, tuple[int, list[str], str | None]] = {}
        for name in (SINGLE_USER, *QUOTAS):
            url = open_servers.enter_context(databases.fresh(kind))
            world_ids, key = asyncio.run(_prepare(url, name, rounds + 1))
            servers[name] = (open_servers.enter_context(answering(url)), world_ids, key)
        for sent, (path, body) in SENT.items():
            targets = {
                name: [Target(port, f"/worlds/{world_id}/{path}", body, key) for world_id in world_ids]
                for name, (port, world_ids, key) in servers.items()
            }
            rates = _by_turns(targets)
            rows += [_row(f"gate: {sent}, {name}", kind, rates[SINGLE_USER], rates[name]) for name in QUOTAS]
    return rows


async def _prepare(url: str, name: str, world_count: int) -> tuple[list[str], str | None]:
    """Make worlds, and for a quota an actor; return the worlds' ids and the actor's key."""
    async with ServiceContainer(url) as services:
        configs = [WorldConfig(name=f"bench-{number}") for number in range(world_count)]
        worlds = [await services.world_service.create_world(config) for config in configs]
        world_ids = [str(world.world_id) for world in worlds]
        if name not in QUOTAS:
            return world_ids, None
        await services.identity_service.create_actor("bench", roles=["admin"])
        quota = {"commands_per_tick": QUOTAS[name], "tokens_per_day": QUOTAS[name]}
        await services.quota_service.set("bench", quota)
        return world_ids, (await services.identity_service.create_key("bench")).key


def _by_turns(targets: Mapping[str, Sequence[Target]]) -> dict[str, list[float]]:
    """Return the rates of each kind, by round; the order turns, and the first round warms up.

    Each round has a world of its own: no more than so many commands may wait in one.
    """
    rates: dict[str, list[float]] = {name: [] for name in targets}
    names = list(targets)
    for number in range(min(map(len, targets.values()))):
        names.append(names.pop(0))
        for name in names:
            rate = asyncio.run(storm(targets[name][number], connections=CONNECTIONS, seconds=ROUND_S))
            if number:
                rates[name].append(rate)
    return rates


def _row(name: str, kind: str, without: list[float], keyed: list[float]) -> Row:
    kept = median([rate / other for rate, other in zip(keyed, without, strict=True)])
    return Row(name, kind, 100 * (1 - kept), "% of the throughput", COST_MAX_PERCENT)
