"""What a tick takes in the database, however long a world runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import daft
import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.engine import Connection

from archetype import ArchetypeRuntime, AsyncProcessor, Component
from archetype.examples.movement import rows
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from bench.databases import Databases
from bench.measure import Row
from bench.worlds import moving_world

SHARE = 0.01


class Gauge(Component):
    """A reading that seldom changes."""

    level: float = 0.0


class Sampling(AsyncProcessor):
    """Takes a new reading of one gauge in a hundred, chosen at random."""

    components = (Gauge,)

    async def process(self, df: Any, *, rng: Any, **kwargs: Any) -> Any:
        table = df.to_arrow()
        levels = table.column("gauge__level").to_numpy().copy()
        chosen = rng.choice(len(levels), int(len(levels) * SHARE), replace=False)
        levels[chosen] = rng.normal(size=len(chosen))
        return daft.from_arrow(
            table.set_column(table.column_names.index("gauge__level"), "gauge__level", [levels])
        )


def size_bytes(connection: Connection) -> tuple[int, int]:
    """Return what the database takes, its free pages apart, and what its pages of columns take in it."""
    pages = connection.scalar(text("SELECT coalesce(sum(size_bytes), 0) FROM pages"))
    if connection.dialect.name == "postgresql":
        tables = (
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname !~ '^pg_'"
        )
        return int(connection.scalar(text(tables))), int(pages)
    count, free, size = (
        connection.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "freelist_count", "page_size")
    )
    return (count - free) * size, int(pages)


async def growth_kb(
    services: ServiceContainer, step: Callable[[int], Awaitable[Any]], ticks: int
) -> tuple[float, float]:
    """Run ticks; return by how many KB (1,000 bytes) a tick the database grew, and its pages of columns."""
    before = await services.database.read(size_bytes)
    await step(ticks)
    after = await services.database.read(size_bytes)
    grown, pages = ((b - a) / ticks / 1_000 for a, b in zip(before, after, strict=True))
    return grown, pages


def storage(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    """Measure the first ticks of worlds and, many ticks later, some more of them."""
    part, between = (50, 100) if is_quick else (100, 800)
    found: list[Row] = []

    async def measure(name: str, services: ServiceContainer, world_id: UUID, target_kb: float) -> None:
        async def step(ticks: int) -> None:
            await services.simulation_service.run(world_id, RunRequest(steps=ticks))

        await step(2)
        for pause in (0, between):
            if pause:
                await step(pause)
            grown, pages = await growth_kb(services, step, part)
            which = f"{part} ticks{f', {part + pause} ticks later' if pause else ''}"
            note = f"pages alone {pages:.1f} KB"
            found.append(Row(f"{name}, {which}", kind, grown, "KB a tick", target_kb, note=note))

    async def movement(url: str) -> None:
        async with moving_world(url, 10_000) as (services, world):
            await measure("10,000 moving points", services, world.world_id, 120.0)

    async def gauges(url: str) -> None:
        async with ArchetypeRuntime(url) as runtime:
            world = runtime.world("bench", processors=[Sampling()])
            await world.info()
            await world.spawn_many(pa.table({"gauge__level": rows(100_000).column("position__x")}))
            await measure("1 % of 100,000 gauges", await runtime.services(), world.world_id, 60.0)

    for work in (movement, gauges):
        with databases.fresh(kind) as url:
            asyncio.run(work(url))
    return found
