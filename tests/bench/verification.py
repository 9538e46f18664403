"""Verifying all that is stored: megabytes of pages a second."""

from __future__ import annotations

import asyncio
import hashlib
import time

from archetype.service.verification.verify import verify as check
from bench.databases import Databases
from bench.measure import Row, median, timed
from bench.worlds import moving_world, tick_durations_s

ENTITIES = 100_000
PAGE_BYTES = 524_288
MEGABYTE = 1_000_000


def verify(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    ticks = 60 if is_quick else 250
    found: list[Row] = []

    async def measure(url: str) -> None:
        async with moving_world(url, ENTITIES) as (services, world):
            await tick_durations_s(services, world.world_id, ticks)
            rates: list[float] = []
            page_bytes = 0
            for _ in range(3):
                start = time.perf_counter()
                report = await check(services.database)
                rates.append(report.page_bytes / MEGABYTE / (time.perf_counter() - start))
                assert report.is_sound
                page_bytes = report.page_bytes
        data = bytes(PAGE_BYTES)
        floor = PAGE_BYTES / MEGABYTE / timed(lambda: hashlib.sha256(data).digest(), repeat=50)
        found.append(
            Row(
                f"verify {ticks:,} ticks of {ENTITIES:,} entities, pages",
                kind,
                median(rates),
                "MB/s",
                50.0,
                floor,
                "SHA-256 of as many bytes",
                note=f"{page_bytes / MEGABYTE:,.0f} MB",
            )
        )

    with databases.fresh(kind) as url:
        asyncio.run(measure(url))
    return found
