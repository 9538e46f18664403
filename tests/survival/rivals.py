"""Several servers over one database: clients ask any of them, readers read at any, one of them dies."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import sqlalchemy as sa

from archetype.store.database import Database
from archetype.store.schema import events
from survival.invariants import check
from survival.load import Load
from survival.readers import LogFollower, WorldReader, check_readings
from survival.server import serving

__all__ = ["rivalry"]

READERS = 2


async def rivalry(
    database_url: str, *, seed: int, server_count: int, operations: int, kill_after: int
) -> tuple[Load, int]:
    """Let clients do so many operations each, kill the last server behind so many answers, check it all.

    Returns the load, and how many readings were judged.
    """
    load, follower, over = Load(seed, client_count=3), LogFollower(), asyncio.Event()
    readers = [WorldReader(seed + number, load) for number in range(READERS)]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(database_url)) for _ in range(server_count)]
        urls = [server.url for server in servers]
        load.journal.at("answered", kill_after, servers[-1].kill)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(follower.follow(urls[0]))
            for reader in readers:
                group.create_task(reader.read(urls, until=over))
            await load.work(*urls, count=operations)
            over.set()
            await load.finish(*urls[:-1])
            head, final = await _final(database_url)
            await follower.reach(head)
            following.cancel()
    assert follower.positions == list(range(1, len(follower.positions) + 1))
    readings = [reading for reader in readers for reading in reader.readings]
    check_readings(load.journal, readings, final)
    await check(database_url, load.journal)
    return load, len(readings)


async def _final(database_url: str) -> tuple[int, dict[UUID, list[UUID]]]:
    """Return the log's last position, and each world's queued commands in their order."""
    database = Database(database_url)
    query = (
        sa.select(events.c.world_id, events.c.event_id)
        .where(events.c.type.in_(["spawn", "add_processor"]))
        .order_by(events.c.position)
    )
    try:
        rows = await database.read(lambda connection: connection.execute(query).all())
        head = await database.read(
            lambda connection: connection.scalar(sa.select(sa.func.max(events.c.position)))
        )
    finally:
        await database.close()
    final: dict[UUID, list[UUID]] = {}
    for row in rows:
        final.setdefault(row.world_id, []).append(row.event_id)
    return head or 0, final
