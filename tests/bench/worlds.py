"""Worlds in this process: ticks, bulk spawns, commands from many submitters, any past tick."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from uuid import UUID

from sqlalchemy import text

from archetype import ArchetypeRuntime
from archetype.examples.movement import MovementProcessor, rows
from archetype.runtime.world import RuntimeWorld
from archetype.service.admission import CommandRequest, admit
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from bench import floors
from bench.databases import Databases
from bench.measure import Row, median

TICK_TARGETS_MS = {
    "sqlite": {1_000: 5.0, 10_000: 6.0, 100_000: 15.0},
    "postgres": {1_000: 8.0, 10_000: 10.0, 100_000: 25.0},
}
SPAWN_TARGETS_S = {100_000: 0.5, 1_000_000: 5.0}
SPAWN_PAYLOAD = {
    "components": [
        {"type": "Position", "x": 1.5, "y": -2.25},
        {"type": "Velocity", "dx": 0.125, "dy": 0.5},
    ]
}
SUBMITTERS = 256
SUBMITTED_TARGETS = {"sqlite": 20_000, "postgres": 30_000}


@asynccontextmanager
async def moving_world(url: str, count: int) -> AsyncIterator[tuple[ServiceContainer, RuntimeWorld]]:
    """Open a world with `count` moving points, its first tick committed."""
    async with ArchetypeRuntime(url) as runtime:
        world = runtime.world("bench", processors=[MovementProcessor()])
        await world.info()
        if count:
            await world.spawn_many(rows(count))
            await world.step()
        yield await runtime.services(), world


async def tick_durations_s(services: ServiceContainer, world_id: UUID, ticks: int) -> list[float]:
    """Run ticks and return how long each took, from commit to commit."""
    moments = [time.perf_counter()]

    async def on_tick(_tick: int) -> None:
        moments.append(time.perf_counter())

    await services.simulation_service.run(world_id, RunRequest(steps=ticks + 1), on_tick=on_tick)
    # The first of a run also begins the run.
    return [after - before for before, after in pairwise(moments[1:])]


def tick(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    found: list[Row] = []

    async def measure(url: str, count: int) -> None:
        async with moving_world(url, count) as (services, world):
            await tick_durations_s(services, world.world_id, 20)
            durations = await tick_durations_s(services, world.world_id, 50 if is_quick else 200)
        floor = floors.daft_query_s(rows(count), repeat=50 if is_quick else 200)
        found.append(
            Row(
                f"tick of {count:,} entities",
                kind,
                median(durations) * 1000,
                "ms",
                TICK_TARGETS_MS[kind][count],
                floor * 1000,
                "bare Daft query",
            )
        )

    for count in TICK_TARGETS_MS[kind]:
        with databases.fresh(kind) as url:
            asyncio.run(measure(url, count))
    return found


def age(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Tick an old world and a young one by turns, so that whatever else the machine does meets both alike."""
    late = 500 if is_quick else 2_000
    found: list[Row] = []

    async def measure(old_url: str, young_url: str) -> None:
        async with (
            moving_world(old_url, 1_000) as (old_services, old_world),
            moving_world(young_url, 1_000) as (young_services, young_world),
        ):
            await tick_durations_s(old_services, old_world.world_id, late - 2)
            await tick_durations_s(young_services, young_world.world_id, 98)
            old: list[float] = []
            young: list[float] = []
            for _ in range(10 if is_quick else 20):
                old += await tick_durations_s(old_services, old_world.world_id, 10)
                young += await tick_durations_s(young_services, young_world.world_id, 10)
        found.append(
            Row(
                f"tick {late:,} against tick 100, 1,000 entities",
                kind,
                median(old) / median(young),
                "x",
                1.1,
                note=f"{median(old) * 1000:.1f} ms against {median(young) * 1000:.1f} ms",
            )
        )

    with databases.fresh(kind) as old_url, databases.fresh(kind) as young_url:
        asyncio.run(measure(old_url, young_url))
    return found


def spawn(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    found: list[Row] = []

    async def measure(url: str, count: int, repeat: int) -> None:
        table = rows(count)
        accepted: list[float] = []
        committed: list[float] = []
        async with ArchetypeRuntime(url) as runtime:
            for number in range(repeat + 1):
                world = runtime.world(f"bench-{number}", processors=[MovementProcessor()])
                await world.info()
                start = time.perf_counter()
                await world.spawn_many(table)
                accepted.append(time.perf_counter() - start)
                await world.step()
                committed.append(time.perf_counter() - start)
        floor = await floors.encode_and_insert_s(url, table, repeat=repeat)
        target = SPAWN_TARGETS_S[count]
        name = f"spawn of {count:,} from Arrow"
        floor_is = "IPC encode, one insert"
        found.append(Row(f"{name}, accepted", kind, median(accepted[1:]), "s", target, floor, floor_is))
        found.append(
            Row(f"{name}, tick committed", kind, median(committed[1:]), "s", target, floor, floor_is)
        )

    for count in SPAWN_TARGETS_S:
        if count > 100_000 and is_quick:
            continue
        with databases.fresh(kind) as url:
            asyncio.run(measure(url, count, 5 if count == 100_000 else 2))
    return found


def commands(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    each = 40 if is_quick else 120
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, 0) as (services, world):
            world_id = world.world_id

            async def submit(count: int) -> None:
                for _ in range(count):
                    await services.command_service.submit(world_id, CommandRequest("spawn", SPAWN_PAYLOAD))

            async def storm(count: int) -> float:
                start = time.perf_counter()
                await asyncio.gather(*(submit(count) for _ in range(SUBMITTERS)))
                return SUBMITTERS * count / (time.perf_counter() - start)

            await storm(10)
            rate = median([await storm(each) for _ in range(5)])
            command = admit(CommandRequest("spawn", SPAWN_PAYLOAD), world_id=world_id, actor_id=None)
            unchecked = await floors.append_unchecked_s(
                services.database, command, submitters=SUBMITTERS, each=each
            )
        floor = await floors.insert_commands_s(url, batch=SUBMITTERS)
        found.append(
            Row(
                f"commands of {SUBMITTERS} submitters, each durable",
                kind,
                rate,
                "commands/s",
                SUBMITTED_TARGETS[kind],
                floor,
                f"executemany of the same rows, {SUBMITTERS} a transaction",
                note=f"as many tasks and the append alone, nothing checked: {unchecked:,.0f}/s",
            )
        )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found


def past(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    ticks = 100 if is_quick else 1_000
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, 100_000) as (services, world):
            await tick_durations_s(services, world.world_id, ticks - 2)
            row = await services.world_service.find(world.world_id)
            chosen = random.Random(1).sample(range(row.committed_tick), 40)
            durations: list[float] = []
            for number in chosen:
                start = time.perf_counter()
                table = await services.query_service.frame(row, components=["Position"], ticks=[number])
                durations.append(time.perf_counter() - start)
                assert table.num_rows == 100_000
            page_sets = [await _position_pages(services, number) for number in chosen]
        floor = await floors.select_pages_s(url, page_sets)
        found.append(
            Row(
                f"one component of 100,000 rows at any of {ticks:,} past ticks",
                kind,
                median(durations) * 1000,
                "ms",
                40.0,
                floor * 1000,
                "select of the same pages",
                note="quick: fewer ticks" if is_quick else "",
            )
        )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found


async def _position_pages(services: ServiceContainer, tick_number: int) -> list[bytes]:
    query = text("SELECT pages FROM snapshots WHERE tick = :tick").bindparams(tick=tick_number)
    document = await services.database.read(lambda connection: connection.scalar(query))
    pages = json.loads(document)
    names = ("entity_id", "position__x", "position__y")
    return [bytes.fromhex(each) for name in names for each in pages[name]]
