"""The past: forks of any depth, states at any of many ticks, one entity through time, replays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pyarrow as pa
from sqlalchemy import text

from archetype.service.runs import RunRequest
from bench import floors
from bench.databases import Databases
from bench.measure import Row, median, timed_async
from bench.worlds import moving_world, tick_durations_s

DEPTH = 200


def fork(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Fork a world of 100,000 entities at the end of a long chain of forks, each with a tick of its own."""
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, 100_000) as (services, _):
            worlds = services.world_service
            await worlds.configure_world(await worlds.find("bench"), snapshots="needed")
            row = await worlds.find("bench")
            for depth in range(20 if is_quick else DEPTH):
                info = await worlds.fork_world(row, f"depth-{depth}")
                await services.simulation_service.run(info.world_id, RunRequest())
                row = await worlds.find(info.world_id)
            numbers = iter(range(10_000))
            newest = await timed_async(lambda: worlds.fork_world(row, f"newest-{next(numbers)}"), repeat=50)
            middle = await timed_async(
                lambda: worlds.fork_world(row, f"middle-{next(numbers)}", tick=row.committed_tick // 2),
                repeat=50,
            )
        floor = await floors.insert_two_rows_s(url)
        for name, value in (("the newest tick", newest), ("a tick half-way", middle)):
            found.append(
                Row(
                    f"fork at {name}, 100,000 entities, depth {row.committed_tick}",
                    kind,
                    value * 1000,
                    "ms",
                    5.0,
                    floor * 1000,
                    "two inserts, durable",
                )
            )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found


def long_past(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Read one column of 100,000 entities at any of many ticks; it changes with every hundredth."""
    ticks = 1_000 if is_quick else 10_000
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, 100_000) as (services, world):
            await world.remove_processor("MovementProcessor")
            ids = pa.array(range(1, 100_001))
            generator = random.Random(2)
            for _ in range(ticks // 100):
                x = pa.array([generator.random()]).take(pa.array([0] * 100_000))
                await world.update_many(pa.table({"entity_id": ids, "position__x": x}))
                await services.simulation_service.run(world.world_id, RunRequest(steps=100))
            row = await services.world_service.find(world.world_id)
            durations: list[float] = []
            for number in generator.sample(range(row.committed_tick), 60):
                start = time.perf_counter()
                table = await services.query_service.frame(row, components=["Position"], ticks=[number])
                durations.append(time.perf_counter() - start)
                assert table.num_rows == 100_000
        found.append(
            Row(
                f"one component of 100,000 rows at any of {row.committed_tick + 1:,} ticks",
                kind,
                median(durations) * 1000,
                "ms",
                40.0,
            )
        )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found


def entity(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Follow one of 1,000 moving entities through 1,000 ticks."""
    ticks = 200 if is_quick else 1_000
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, 1_000) as (services, world):
            await tick_durations_s(services, world.world_id, ticks - 2)
            row = await services.world_service.find(world.world_id)
            durations: list[float] = []
            for entity_id in random.Random(3).sample(range(1, 1_001), 11):
                start = time.perf_counter()
                moments = await services.entity_service.history(row, entity_id)
                durations.append(time.perf_counter() - start)
                assert len(moments) == ticks
            query = text("SELECT page_hash FROM pages")
            pages = await services.database.read(
                lambda connection: [bytes(each) for each in connection.scalars(query)]
            )
        floor = await floors.select_pages_s(url, [pages] * 3)
        found.append(
            Row(
                f"one entity through {ticks:,} ticks, of 1,000 moving ones",
                kind,
                median(durations) * 1000,
                "ms",
                150.0 * ticks / 1_000,
                floor * 1000,
                "select of all pages",
            )
        )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found


def replay(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Replay a run, beside the run itself."""
    ticks = 100 if is_quick else 300
    found: list[Row] = []

    async def measure(url: str, count: int) -> None:
        async with moving_world(url, count) as (services, world):
            await tick_durations_s(services, world.world_id, 20)
            row = await services.world_service.find(world.world_id)
            ran = await _seconds(
                lambda: services.simulation_service.run(world.world_id, RunRequest(steps=ticks))
            )
            row = await services.world_service.find(world.world_id)
            replayed = await _seconds(lambda: services.replay_service.replay(row, from_tick=row.tick - ticks))
        found.append(
            Row(
                f"replay against the run, {count:,} entities",
                kind,
                replayed / ran,
                "x",
                1.0,
                note=f"{replayed / ticks * 1000:.1f} ms against {ran / ticks * 1000:.1f} ms a tick",
            )
        )

    for count in (1_000, 100_000):
        with databases.fresh(kind) as url:
            asyncio.run(measure(url, count))
    return found


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start
