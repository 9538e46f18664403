"""Floors: the same bytes through the same database, by the driver alone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import daft
import numpy as np
import pyarrow as pa
from daft import col

from archetype.clock import new_id
from archetype.core.querying import configure_daft
from archetype.store.acceptance import NewCommand
from archetype.store.append import APPEND_SQL, append, append_parameters
from archetype.store.database import Database
from bench.measure import median, timed, timed_async


def daft_query_s(rows: pa.Table, *, repeat: int) -> float:
    """Return how long Daft takes for the movement expressions on an Arrow table, frame to table."""
    configure_daft()

    def query() -> None:
        frame = daft.from_arrow(rows).with_columns(
            {
                "position__x": col("position__x") + col("velocity__dx"),
                "position__y": col("position__y") + col("velocity__dy"),
            }
        )
        frame.collect().to_arrow()

    return timed(query, repeat=repeat, warm_up=5)


def sqlite_connection(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


async def encode_and_insert_s(url: str, table: pa.Table, *, repeat: int) -> float:
    """Return how long an Arrow IPC encoding and one durable insert of its bytes take."""

    def encode() -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    durations: list[float] = []
    if url.startswith("sqlite"):
        with sqlite_connection(url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS floor_blob (data BLOB)")
            for _ in range(repeat):
                start = time.perf_counter()
                connection.execute("INSERT INTO floor_blob VALUES (?)", (encode(),))
                durations.append(time.perf_counter() - start)
        connection.close()
        return median(durations)
    session = await asyncpg.connect(url)
    await session.execute("CREATE TABLE IF NOT EXISTS floor_blob (data BYTEA)")
    for _ in range(repeat):
        start = time.perf_counter()
        await session.execute("INSERT INTO floor_blob VALUES ($1)", encode())
        durations.append(time.perf_counter() - start)
    await session.close()
    return median(durations)


async def insert_commands_s(url: str, *, batch: int) -> float:
    """Return rows a second for copying the log's commands to a table like it, `batch` to a transaction."""
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_sqlite_inserts, url, batch)
    session = await asyncpg.connect(url)
    rows = [tuple(row) for row in await session.fetch("SELECT * FROM events WHERE kind = 'command'")]
    await session.execute("CREATE TABLE floor_events (LIKE events INCLUDING INDEXES)")
    places = ", ".join(f"${number}" for number in range(1, len(rows[0]) + 1))
    insert = await session.prepare(f"INSERT INTO floor_events VALUES ({places})")
    start = time.perf_counter()
    for first in range(0, len(rows), batch):
        async with session.transaction():
            await insert.executemany(rows[first : first + batch])
    elapsed = time.perf_counter() - start
    await session.close()
    return len(rows) / elapsed


async def append_unchecked_s(database: Database, command: NewCommand, *, submitters: int, each: int) -> float:
    """Return commands a second for tasks that hand commands to the log's append, and do nothing else.

    What is left of us is a future for each command and the append itself, with two flushes under way at most.
    """
    loop = asyncio.get_running_loop()
    queue: list[tuple[NewCommand, asyncio.Future[object]]] = []
    flushers: set[asyncio.Task[None]] = set()

    async def flush() -> None:
        await asyncio.sleep(0)
        while queue:
            count = len(queue) if len(flushers) > 1 else -(-len(queue) // 2)
            taken = queue[:count]
            del queue[:count]
            start_flusher()
            groups = [[made] for made, _ in taken]
            if database.is_sqlite:
                answers = await database.write(lambda connection, groups=groups: append(connection, groups))
            else:
                answers = await database.call(APPEND_SQL, append_parameters(groups, None))
            for (_, done), answer in zip(taken, answers, strict=True):
                done.set_result(answer)

    def start_flusher() -> None:
        if queue and len(flushers) < 2:
            flusher = asyncio.create_task(flush())
            flushers.add(flusher)
            flusher.add_done_callback(flushers.discard)

    async def submit() -> None:
        for _ in range(each):
            done = loop.create_future()
            queue.append((command._replace(event_id=new_id()), done))
            start_flusher()
            await done

    start = time.perf_counter()
    await asyncio.gather(*(submit() for _ in range(submitters)))
    return submitters * each / (time.perf_counter() - start)


def _sqlite_inserts(url: str, batch: int) -> float:
    connection = sqlite_connection(url)
    rows = connection.execute("SELECT * FROM events WHERE kind = 'command'").fetchall()
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'events'").fetchone()
    # A table in a file of its own: named constraints and indexes keep their names.
    indexes = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL"
    ).fetchall()
    connection.close()
    other = sqlite3.connect(
        Path(url.removeprefix("sqlite:///")).with_suffix(".db-floor"), isolation_level=None
    )
    for pragma in ("page_size = 16384", "journal_mode = WAL", "synchronous = FULL"):
        other.execute(f"PRAGMA {pragma}")
    for (statement,) in [(sql,), *indexes]:
        other.execute(statement)
    places = ", ".join("?" * len(rows[0]))
    start = time.perf_counter()
    for first in range(0, len(rows), batch):
        other.execute("BEGIN IMMEDIATE")
        other.executemany(f"INSERT INTO events VALUES ({places})", rows[first : first + batch])
        other.execute("COMMIT")
    elapsed = time.perf_counter() - start
    other.close()
    return len(rows) / elapsed


async def select_pages_s(url: str, hashes: Sequence[Sequence[bytes]]) -> float:
    """Return how long the driver takes to read a set of pages by name, as the median over the sets."""
    durations: list[float] = []

    async def measure(read: Callable[[Sequence[bytes]], Awaitable[Any]]) -> None:
        for names in hashes:
            start = time.perf_counter()
            await read(names)
            durations.append(time.perf_counter() - start)

    if url.startswith("sqlite"):
        connection = sqlite_connection(url)

        async def read_sqlite(names: Sequence[bytes]) -> None:
            places = ", ".join("?" * len(names))
            connection.execute(f"SELECT data FROM pages WHERE page_hash IN ({places})", names).fetchall()

        await measure(read_sqlite)
        connection.close()
        return median(durations)
    session = await asyncpg.connect(url)
    await measure(lambda names: session.fetch("SELECT data FROM pages WHERE page_hash = ANY($1)", names))
    await session.close()
    return median(durations)


async def insert_two_rows_s(url: str) -> float:
    """Return how long the driver takes to make two small rows durable in one transaction."""
    statement = "INSERT INTO floor_row VALUES ('a'), ('b')"
    if url.startswith("sqlite"):
        connection = sqlite_connection(url)
        connection.execute("CREATE TABLE floor_row (data TEXT)")
        duration = timed(lambda: connection.execute(statement), repeat=50)
        connection.close()
        return duration
    session = await asyncpg.connect(url)
    await session.execute("CREATE TABLE floor_row (data TEXT)")
    duration = await timed_async(lambda: session.execute(statement), repeat=50)
    await session.close()
    return duration


async def compare_pages_s(
    url: str, pairs: Sequence[tuple[bytes | None, bytes | None]], *, repeat: int
) -> float:
    """Return how long the driver takes to read pairs of pages by name, and NumPy to compare their bytes."""
    names = list({name for pair in pairs for name in pair if name is not None})

    def compare(pages: dict[bytes, bytes]) -> None:
        for one, other in pairs:
            a, b = (np.frombuffer(pages.get(name or b"", b""), dtype=np.uint8) for name in (one, other))
            shared = min(len(a), len(b))
            np.flatnonzero(a[:shared] != b[:shared])

    if url.startswith("sqlite"):
        connection = sqlite_connection(url)
        places = ", ".join("?" * len(names))
        select = f"SELECT page_hash, data FROM pages WHERE page_hash IN ({places})"
        duration = timed(lambda: compare(dict(connection.execute(select, names).fetchall())), repeat=repeat)
        connection.close()
        return duration
    session = await asyncpg.connect(url)
    select = "SELECT page_hash, data FROM pages WHERE page_hash = ANY($1)"

    async def work() -> None:
        compare({row["page_hash"]: row["data"] for row in await session.fetch(select, names)})

    duration = await timed_async(work, repeat=repeat)
    await session.close()
    return duration
