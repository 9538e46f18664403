"""Rounds of kills: a server under load dies at a moment of a seeded choice, and the next one goes on."""

from __future__ import annotations

from random import Random

from survival.invariants import check
from survival.journal import Journal
from survival.load import Load
from survival.server import serving

__all__ = ["kill_rounds"]

MOMENTS_MAX = 40
"""Requests, or answers, after which a server is killed at the latest."""

RETRIES = 5
ROUNDS_BETWEEN_CHECKS = 10


async def kill_rounds(database_url: str, *, seed: int, rounds: int, client_count: int = 3) -> Journal:
    """Kill `rounds` servers one after the other, then let one settle everything, and check it all.

    The seed fixes what is sent and behind which count of requests or answers the kill comes; what the
    machine makes of it is its own.
    """
    rng = Random(seed)
    load = Load(seed, client_count=client_count)
    for number in range(1, rounds + 1):
        async with serving(database_url) as server:
            await load.retry(server.url, count=RETRIES)
            what, count = rng.choice(["sent", "answered"]), rng.randint(1, MOMENTS_MAX)
            load.journal.at(what, count, server.kill)
            await load.work(server.url)
        if number % ROUNDS_BETWEEN_CHECKS == 0:
            await _settle(database_url, load)
    await _settle(database_url, load)
    return load.journal


async def _settle(database_url: str, load: Load) -> None:
    async with serving(database_url) as server:
        await load.finish(server.url)
    await check(database_url, load.journal)
