"""What grows with a history's length, with the number of worlds and forks, and with a world's size.

Each ratio is taken within one run, early against late by turns, so that a busy machine meets both alike.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from archetype import ArchetypeRuntime
from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.examples.movement import MovementProcessor, rows
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from bench.databases import Databases
from bench.measure import Row, median
from bench.processes import resident_mb, started
from bench.worlds import SPAWN_PAYLOAD, moving_world, tick_durations_s

ENTITIES = 1_000
TURNS = 20
SAMPLE = 50
STORED_EVERY = 100
YOUNG_TICKS = STORED_EVERY * (SAMPLE + 10)
"""The age of the world that a long history is held against: enough for each read to find another state."""


def long(databases: Databases, kind: str, *, is_quick: bool, scale: float) -> list[Row]:
    """Tick and read a long history beside a short one, and start a server over each."""
    ticks = _scaled(100_000, scale / 10 if is_quick else scale)
    found: list[Row] = []

    async def measure(old_url: str, young_url: str) -> None:
        async with _long_world(old_url) as old, _long_world(young_url) as young:
            await tick_durations_s(*old.place, ticks)
            await tick_durations_s(*young.place, YOUNG_TICKS)
            late: list[float] = []
            early: list[float] = []
            for _ in range(TURNS):
                late += await tick_durations_s(*old.place, 10)
                early += await tick_durations_s(*young.place, 10)
            found.append(_ratio(f"a tick at {ticks:,} against {YOUNG_TICKS:,}", kind, (late, early)))
            reads = await _by_turns(old.read_another, young.read_another, SAMPLE)
            found.append(_ratio(f"one entity in any of {ticks:,} ticks against {YOUNG_TICKS:,}", kind, reads))
            described = await _by_turns(old.describe, young.describe, SAMPLE)
            found.append(
                _ratio(f"describing a world of {ticks:,} ticks against {YOUNG_TICKS:,}", kind, described)
            )
            listed = await _by_turns(old.list_another, young.list_another, SAMPLE)
            found.append(_ratio(f"100 ticks of a log of {ticks:,} against {YOUNG_TICKS:,}", kind, listed))

    with databases.fresh(kind) as old_url, databases.fresh(kind) as young_url:
        asyncio.run(measure(old_url, young_url))
        starts = _starts(old_url, young_url)
        found.append(_ratio(f"start over {ticks:,} ticks against {YOUNG_TICKS:,}", kind, starts))
    return found


class _LongWorld:
    """A moving world whose state is stored after some of its ticks."""

    def __init__(self, services: ServiceContainer, world_id: UUID) -> None:
        self.place = (services, world_id)
        self._random = random.Random(5)
        self._read: set[int] = set()

    async def read_another(self) -> None:
        """Read one entity after a tick that is stored, anywhere in the past, and was not read before."""
        services, world_id = self.place
        world = await services.world_service.find(world_id)
        stored = range(STORED_EVERY - 1, world.committed_tick, STORED_EVERY)
        tick = self._random.choice([each for each in stored if each not in self._read])
        self._read.add(tick)
        selection = Selection(entity_ids=(self._random.randrange(1, ENTITIES),))
        assert await services.query_service.select(world, tick, selection)

    async def list_another(self) -> None:
        """List the hundred ticks before one anywhere in the past."""
        services, world_id = self.place
        world = await services.world_service.find(world_id)
        before = self._random.randrange(100, world.committed_tick)
        assert len(await services.ancestry_service.log(world, before_tick=before)) == 100

    async def describe(self) -> None:
        """Describe the world."""
        services, world_id = self.place
        await services.world_service.info(await services.world_service.find(world_id))


@asynccontextmanager
async def _long_world(url: str) -> AsyncIterator[_LongWorld]:
    async with ArchetypeRuntime(url) as runtime:
        world = runtime.world("long", processors=[MovementProcessor()], snapshots=STORED_EVERY)
        await world.info()
        await world.spawn_many(rows(ENTITIES))
        await world.step()
        yield _LongWorld(await runtime.services(), world.world_id)


def many(databases: Databases, kind: str, *, is_quick: bool, scale: float) -> list[Row]:
    """Make many worlds, step them in turn, and see what a process keeps of them."""
    count = _scaled(1_000, scale / 10 if is_quick else scale)
    found: list[Row] = []

    async def measure(url: str, small_url: str) -> None:
        async with ServiceContainer(url) as services, ServiceContainer(small_url) as small:
            alone = await _small_world(small, "alone")
            await _step(small, alone)
            before_mb = resident_mb(os.getpid())
            ids = [await _small_world(services, f"world-{number}") for number in range(count)]
            for world_id in ids:
                await _step(services, world_id)
            turn = iter(ids)
            steps = await _by_turns(
                lambda: _step(services, next(turn)), lambda: _step(small, alone), min(count, 200)
            )
            found.append(_ratio(f"a step of one of {count:,} worlds against one alone", kind, steps))
            grown_kb = (resident_mb(os.getpid()) - before_mb) * 1024
            counted_kb = services.budget.size_bytes / 1024
            kept = services.budget.uses()["projections"].value_count
            note = f"counted {counted_kb / count:.0f} kB, {kept} states kept"
            found.append(Row("memory of a live world of one entity", kind, grown_kb / count, "kB", note=note))
            pages = await _by_turns(
                lambda: services.world_service.list_worlds(limit=100),
                lambda: services.world_service.list_worlds(limit=10),
                SAMPLE,
            )
            found.append(_ratio("a page of 100 worlds against one of 10", kind, pages, target=10.0))

    with databases.fresh(kind) as url, databases.fresh(kind) as small_url:
        asyncio.run(measure(url, small_url))
        found.append(_ratio(f"start over {count:,} worlds against one", kind, _starts(url, small_url)))
    return found


def forks(databases: Databases, kind: str, *, is_quick: bool, scale: float) -> list[Row]:
    """Fork one base many times, and a tree in which each world has two forks, beside a base without any."""
    found: list[Row] = []
    for name, is_tree in (("one base", False), ("a tree", True)):
        count = _scaled(1_000 if is_tree else 10_000, scale / 10 if is_quick else scale)
        with databases.fresh(kind) as url, databases.fresh(kind) as young_url:
            measuring = _forks(
                kind, f"{count:,} forks of {name}", url, young_url, count=count, is_tree=is_tree
            )
            found += asyncio.run(measuring)
    return found


async def _forks(kind: str, name: str, url: str, young_url: str, *, count: int, is_tree: bool) -> list[Row]:
    async with moving_world(url, ENTITIES) as old, moving_world(young_url, ENTITIES) as young:
        ids = [old[1].world_id]
        for number in range(count):
            ids.append(await _fork(old[0], ids[number // 2 if is_tree else 0]))
            if is_tree:  # only a world with a tick of its own is a parent; others pass theirs on
                await _step(old[0], ids[-1])
        parents = (old[0], ids[-1 if is_tree else 0]), (young[0], young[1].world_id)
        made: list[list[UUID]] = [[], []]

        async def fork(place: int) -> None:
            services, parent_id = parents[place]
            made[place].append(await _fork(services, parent_id))

        forked = await _by_turns(lambda: fork(0), lambda: fork(1), SAMPLE)
        stepped = await _by_turns(
            lambda: _step(old[0], made[0].pop()), lambda: _step(young[0], made[1].pop()), SAMPLE
        )
        tree_s = await _seconds(lambda: old[0].ancestry_service.tree(with_archived=True))
        return [
            _ratio(f"a fork behind {name} against a first one", kind, forked),
            _ratio(f"a step of a fork behind {name} against a first one", kind, stepped),
            Row(f"the whole tree of {name}", kind, tree_s * 1000, "ms"),
        ]


async def _fork(services: ServiceContainer, parent_id: UUID) -> UUID:
    parent = await services.world_service.find(parent_id)
    return (await services.world_service.fork_world(parent, f"fork-{new_id().hex}")).world_id


def big(databases: Databases, kind: str, *, is_quick: bool, scale: float) -> list[Row]:
    """Run a world of a million entities beside one of a tenth."""
    count = _scaled(1_000_000, scale / 10 if is_quick else scale)
    found: list[Row] = []

    async def measure(url: str, size: int) -> tuple[float, float, float]:
        start = time.perf_counter()
        async with moving_world(url, size) as (services, world):
            born = time.perf_counter() - start
            ticks = await tick_durations_s(services, world.world_id, 10)
            row = await services.world_service.find(world.world_id)
            selection = Selection(components=("Position",))
            read = await _seconds(lambda: services.query_service.select(row, 3, selection))
            return born, median(ticks), read

    with databases.fresh(kind) as url:
        tenth = asyncio.run(measure(url, count // 10))
    with databases.fresh(kind) as url:
        whole = asyncio.run(measure(url, count))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    for name, large, small in zip(
        ("spawn and first tick", "a tick", "one component of a past tick"), whole, tenth, strict=True
    ):
        found.append(
            Row(
                f"{count:,} entities against {count // 10:,}: {name}",
                kind,
                large / small,
                "x",
                note=f"{large * 1000:.0f} ms against {small * 1000:.0f} ms",
            )
        )
    found.append(Row(f"memory at its peak, {count:,} entities", kind, peak_mb, "MB"))
    return found


def _scaled(count: int, scale: float) -> int:
    return max(int(count * scale), 20)


async def _small_world(services: ServiceContainer, name: str) -> UUID:
    """Make a world with one moving entity, no tick committed."""
    info = await services.world_service.create_world(WorldConfig(name=name))
    start = [
        CommandRequest("add_processor", {"processor": MovementProcessor.__name__}),
        CommandRequest("spawn", SPAWN_PAYLOAD),
    ]
    await services.command_service.submit_batch(info.world_id, start)
    return info.world_id


async def _step(services: ServiceContainer, world_id: UUID) -> None:
    await services.simulation_service.run(world_id, RunRequest(steps=1))


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def _by_turns(
    late: Callable[[], Awaitable[Any]], early: Callable[[], Awaitable[Any]], count: int
) -> tuple[list[float], list[float]]:
    """Time two works in alternation, so often each."""
    pairs = [(await _seconds(late), await _seconds(early)) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _starts(late_url: str, early_url: str) -> tuple[list[float], list[float]]:
    """Time the start of servers over two databases by turns, from the process to the first answer."""
    late: list[float] = []
    early: list[float] = []
    for _ in range(3):
        for url, durations in ((late_url, late), (early_url, early)):
            with started(url) as (_, ready_s):
                durations.append(ready_s)
    return late, early


def _ratio(
    name: str, kind: str, durations: tuple[Sequence[float], Sequence[float]], *, target: float = 1.25
) -> Row:
    """Compare the medians of late and early durations; unless said otherwise nothing should grow."""
    late, early = (median(each) * 1000 for each in durations)
    return Row(name, kind, late / early, "x", target, note=f"{late:.1f} ms against {early:.1f} ms")
