"""Connections to a SQLite file: one writer, in a thread of its own, and many readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from archetype.store.ending import to_end

__all__ = ["READERS", "SqliteWriter", "sqlite_readers"]

T = TypeVar("T")

READERS = 4
_BUSY_TIMEOUT_MS = 30_000
_PAGE_BYTES = 16_384


def sqlite_readers(url: URL) -> AsyncEngine:
    """Return the engine for reads of a file; each of them is one transaction, and none can write."""
    engine = create_async_engine(
        url,
        pool_size=READERS,
        hide_parameters=True,  # what callers sent is not for logs
        max_overflow=1,  # for the one that a watch holds
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "isolation_level": None},
    )
    _on_connect(engine.sync_engine, f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}", "PRAGMA query_only = ON")
    _begin_with(engine.sync_engine, "BEGIN")
    return engine


class SqliteWriter:
    """The one thread that writes: a whole transaction is one hop to it, and none waits for another's lock."""

    def __init__(self, url: URL) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="archetype-sqlite-writer")
        self._engine = sa.create_engine(
            url.set(drivername="sqlite"),
            poolclass=StaticPool,
            hide_parameters=True,  # what callers sent is not for logs
            connect_args={
                "timeout": _BUSY_TIMEOUT_MS / 1000,
                "isolation_level": None,
                "check_same_thread": False,
            },
        )
        _on_connect(
            self._engine,
            f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
            f"PRAGMA page_size = {_PAGE_BYTES}",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
        )
        _begin_with(self._engine, "BEGIN IMMEDIATE")

    async def run(self, use: Callable[[Connection], T]) -> T:
        """Run a write as one transaction; it is finished also when its caller is cancelled."""
        loop = asyncio.get_running_loop()
        # The thread goes on: whoever cancels must not take the connection away under it.
        return await to_end(loop.run_in_executor(self._thread, partial(self._transaction, use)))

    def _transaction(self, use: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return use(connection)

    async def close(self) -> None:
        """End the connection and the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()


def _on_connect(engine: sa.Engine, *statements: str) -> None:
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()

    event.listen(engine, "connect", prepare)


def _begin_with(engine: sa.Engine, statement: str) -> None:
    """Say which BEGIN is meant: the driver's own would start a write as a read and fail on the upgrade."""

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin)
