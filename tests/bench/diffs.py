"""Two large worlds that differ in a few rows, compared by a process that has read neither."""

from __future__ import annotations

import asyncio
import json
import random
import time
from itertools import zip_longest
from uuid import UUID

from sqlalchemy import text

from archetype.core.state import WorldState
from archetype.service.admission import CommandRequest
from archetype.service.budget import MemoryBudget
from archetype.service.cache import page_cache
from archetype.service.container import ServiceContainer
from archetype.service.diff import DiffService
from archetype.service.runs import RunRequest
from archetype.store.worlds import WorldRow
from bench import floors
from bench.databases import Databases
from bench.measure import Row, median
from bench.worlds import moving_world

ENTITIES = 100_000
DIFFERENT_ROWS = 100
TARGET_MS = 50.0


def diff(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    repeat = 10 if is_quick else 40
    found: list[Row] = []

    async def measure(url: str, name: str, requests: list[CommandRequest]) -> None:
        async with moving_world(url, ENTITIES) as (services, world):
            a = await services.world_service.find(world.world_id)
            b = await services.world_service.fork_world(a, "fork")
            await services.command_service.submit_batch(b.world_id, requests)
            rows = [await _advanced(services, each.world_id) for each in (a, b)]
            durations: list[float] = []
            for _ in range(repeat):
                # Each time anew: what it has read once would come from memory.
                service = DiffService(
                    services.database,
                    services.world_service,
                    _every_state_is_stored,
                    page_cache(MemoryBudget(2**26)),
                )
                start = time.perf_counter()
                outcome = await service.diff(rows[0], 1, rows[1], 1)
                durations.append(time.perf_counter() - start)
            summary = outcome.summary
            counted = summary.added + summary.removed + summary.moved + summary.changed
            assert counted == DIFFERENT_ROWS, summary
            pairs = await _differing_pages(services, [each.world_id for each in rows])
        floor = await floors.compare_pages_s(url, pairs, repeat=repeat)
        found.append(
            Row(
                f"diff of two worlds of {ENTITIES:,}, {name}",
                kind,
                median(durations) * 1000,
                "ms",
                TARGET_MS,
                floor * 1000,
                "select and compare the pages that differ",
            )
        )

    for name, requests in (
        (f"{DIFFERENT_ROWS} rows changed", _changes(DIFFERENT_ROWS)),
        (f"{DIFFERENT_ROWS} rows added, removed, moved and changed", _mixture(DIFFERENT_ROWS // 4)),
    ):
        with databases.fresh(kind) as url:
            asyncio.run(measure(url, name, requests))
    return found


def _changes(count: int, *, seed: int = 1) -> list[CommandRequest]:
    chosen = random.Random(seed).sample(range(1, ENTITIES + 1), count)
    position = {"type": "Position", "x": 0.5, "y": 0.5}
    return [CommandRequest("update", {"entity_id": each, "components": [position]}) for each in chosen]


def _mixture(count: int) -> list[CommandRequest]:
    """`count` each of updates, spawns, despawns and moves to another archetype."""
    chosen = random.Random(2).sample(range(1, ENTITIES + 1), 3 * count)
    spawn = {"components": [{"type": "Position"}, {"type": "Velocity"}]}
    position = {"type": "Position", "x": 0.5, "y": 0.5}
    return [
        *(CommandRequest("spawn", spawn) for _ in range(count)),
        *(CommandRequest("despawn", {"entity_id": each}) for each in chosen[:count]),
        *(
            CommandRequest("remove_component", {"entity_id": each, "component_types": ["Velocity"]})
            for each in chosen[count : 2 * count]
        ),
        *(
            CommandRequest("update", {"entity_id": each, "components": [position]})
            for each in chosen[2 * count :]
        ),
    ]


async def _advanced(services: ServiceContainer, world_id: UUID) -> WorldRow:
    await services.simulation_service.run(world_id, RunRequest(steps=1))
    return await services.world_service.find(world_id)


async def _every_state_is_stored(world: WorldRow, tick: int) -> WorldState:
    raise AssertionError((world.name, tick))


async def _differing_pages(
    services: ServiceContainer, world_ids: list[UUID]
) -> list[tuple[bytes | None, bytes | None]]:
    """Pair the pages of both worlds, column by column, and keep the pairs that differ."""
    query = text("SELECT world_id, pages FROM snapshots WHERE tick = 1 ORDER BY row_count DESC")
    documents = await services.database.read(lambda connection: connection.execute(query).all())
    pages: dict[str, dict[str, list[str]]] = {}
    for world_id, document in documents:
        pages.setdefault(str(world_id), json.loads(document))
    a, b = (pages[str(each)] for each in world_ids)
    return [
        (one and bytes.fromhex(one), other and bytes.fromhex(other))
        for name in a
        for one, other in zip_longest(a[name], b[name])
        if one != other
    ]
