"""Hearing of what other processes commit: PostgreSQL's notices, and the counter of a SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from archetype.store.database import Database

__all__ = ["CHANNEL", "counting", "listening"]

CHANNEL = "archetype_log"
"""Where each commit that lengthens the log says its last position; migration 0004 has the trigger."""


@asynccontextmanager
async def listening(database: Database, heard: Callable[[int], None]) -> AsyncGenerator[asyncio.Event]:
    """Call `heard` with the log's last position behind each commit, by a connection of its own.

    PostgreSQL only. The event that it gives is set when the connection is lost: then nothing more is heard.
    Raises `UnavailableError` when there is no connection.
    """
    lost = asyncio.Event()

    def notice(_connection: Any, _process: int, _channel: str, payload: str) -> None:
        heard(int(payload))

    async with database.held() as driver:
        driver.add_termination_listener(lambda _: lost.set())
        await driver.add_listener(CHANNEL, notice)
        yield lost


@asynccontextmanager
async def counting(database: Database) -> AsyncGenerator[Callable[[], Awaitable[int]]]:
    """Give a function that returns another number whenever a SQLite file was changed meanwhile.

    The number means something only to the connection that it was read by, so that is held.
    """
    async with database.held() as driver:

        async def count() -> int:
            async with database.translating(), driver.execute("PRAGMA data_version") as cursor:
                (number,) = await cursor.fetchone()
                return number

        yield count
