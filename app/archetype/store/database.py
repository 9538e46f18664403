"""Connections: one writer and many readers on SQLite, a pool on PostgreSQL, one way to use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from archetype.errors import InvalidInputError, SchemaOutdatedError
from archetype.store import schema
from archetype.store.ending import to_end
from archetype.store.failures import translated
from archetype.store.postgres import POOL_SIZE, SILENCE, KeptConnection, postgres_engine
from archetype.store.sqlite import READERS, SqliteWriter, sqlite_readers

__all__ = ["Database", "Mapper", "Reading", "parse_url"]

T = TypeVar("T")
Mapper = Callable[[Connection], T]
"""A use of a connection. It runs inside a transaction, and on SQLite in another thread."""

SILENCE_S = 120.0
"""How long a statement that is no append waits for PostgreSQL's answer; `?command_timeout=` in the URL is
another number of seconds."""


def parse_url(url: str) -> URL:
    """Return the URL with the driver that is used; other databases are refused by name."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        msg = f"{url!r} is no database URL; write sqlite:///path/to.db or postgresql://user@host/name"
        raise InvalidInputError(msg) from None
    match parsed.get_backend_name():
        case "sqlite":
            if parsed.database in {None, "", ":memory:"}:
                msg = "an in-memory SQLite database keeps nothing; name a file: sqlite:///path/to.db"
                raise InvalidInputError(msg)
            return parsed.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+asyncpg")
        case other:
            msg = f"{other!r} is not supported; use sqlite:///path/to.db or postgresql://user@host/name"
            raise InvalidInputError(msg)


def _seconds(url: URL, name: str, default: float) -> float:
    """Read a number of seconds from a URL's query."""
    text = url.query.get(name)
    try:
        seconds = default if text is None else float(str(text))
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        msg = f"{name} in the database URL must be a number of seconds above 0, not {text!r}"
        raise InvalidInputError(msg)
    return seconds


class Database:
    """A database by its URL. It connects at first use; `close` ends every connection it made."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._silence_s = _seconds(self.url, SILENCE, SILENCE_S)
        self._engine: AsyncEngine | None = None
        self._reads: AsyncEngine | None = None
        self._writer: SqliteWriter | None = None
        self._kept = KeptConnection(self._open, silence_s=self._silence_s)
        self._on_write: list[Callable[[], None]] = []

    @property
    def name(self) -> str:
        """The URL without its password, for people."""
        return self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=True)

    @property
    def connections_max(self) -> int:
        """How many connections this process opens at most."""
        return READERS + 2 if self.is_sqlite else 2 * POOL_SIZE

    @property
    def connections_in_use(self) -> int:
        """How many connections of the pool are lent out now; that of a SQLite file's writer is not in it."""
        pool: Any = None if self._engine is None else self._engine.pool
        return 0 if pool is None else pool.checkedout()

    async def read(self, use: Mapper[T]) -> T:
        """Run a read in one transaction, which sees one state throughout, and return its result."""
        async with translated(self.name), self._reader().connect() as connection:
            return await connection.run_sync(use)

    async def read_to_end(self, use: Mapper[T]) -> T:
        """Run a read that is not broken off when its caller is, for callers that come and go.

        A connection that is being made, or is in use, would otherwise be lost to the pool.
        """
        return await to_end(self.read(use))

    @asynccontextmanager
    async def reading(self, *, is_lenient: bool = False) -> AsyncGenerator[Reading]:
        """Read one state of the database in many steps, whatever others write meanwhile.

        With `is_lenient`, text of a SQLite file that is no UTF-8 is read all the same, with its bytes as lone
        surrogates.
        """
        async with translated(self.name), self._reader().connect() as connection:
            if not (self.is_sqlite and is_lenient):
                yield Reading(connection, self)
                return
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.text_factory = _lenient_text
            try:
                yield Reading(connection, self)
            finally:
                driver.text_factory = str

    def on_write(self, written: Callable[[], None]) -> None:
        """Have `written` called whenever a write of this process has ended, also one that came to nothing."""
        self._on_write.append(written)

    @contextmanager
    def _announced(self) -> Generator[None]:
        # Whoever is cancelled may have written all the same.
        try:
            yield
        finally:
            for written in self._on_write:
                written()

    async def write(self, use: Mapper[T]) -> T:
        """Run a write as one transaction: all of it is durable when this returns, or none of it happened."""
        async with translated(self.name):
            with self._announced():
                return await self._write(use)

    async def _write(self, use: Mapper[T]) -> T:
        if self.is_sqlite:
            return await self._sqlite_writer().run(use)
        async with self._open().begin() as connection:
            return await connection.run_sync(use)

    async def call(self, statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one PostgreSQL statement that is a transaction by itself, in one round trip.

        The statement must bear being run twice: after a lost connection it is tried once more.
        """
        async with translated(self.name):
            with self._announced():
                return await self._kept.call(statement, parameters)

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Any]:
        """Lend the driver's own connection, outside any transaction; it is thrown away behind its use."""
        async with self.translating():
            connection = await to_end(self._open().connect(), undone=AsyncConnection.close)
            try:
                yield (await connection.get_raw_connection()).driver_connection
            finally:
                await connection.invalidate()
                await connection.close()

    def translating(self) -> AbstractAsyncContextManager[None]:
        """Let only errors of our own kind out of what uses a driver's connection."""
        return translated(self.name)

    async def migrate(self, run: Callable[[Connection], None]) -> None:
        """Run schema changes as one transaction that no other migration can overlap."""

        if self.is_sqlite:
            await self.write(run)
            return

        def locked(connection: Connection) -> None:
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended('archetype-migrate', 0))")
            )
            run(connection)

        engine = postgres_engine(self.url, silence_s=None)
        try:
            async with translated(self.name), engine.begin() as connection:
                await connection.run_sync(locked)
        finally:
            await engine.dispose()

    async def revision(self) -> str | None:
        """Return the migration that the schema is at, or None for a database without one."""

        def query(connection: Connection) -> str | None:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))

        return None if self._is_missing_file() else await self.read(query)

    async def require_schema(self) -> None:
        """Raise `SchemaOutdatedError` unless the schema is exactly the one this release needs."""
        found = await self.revision()
        if found == schema.REVISION:
            return
        have = "no schema" if found is None else f"schema {found}"
        remedy = "run `archetype db upgrade`"
        if found is not None and found > schema.REVISION:
            remedy = "it was made by a newer release: upgrade archetype-log"
        msg = f"{self.name} has {have}, this release needs {schema.REVISION}; {remedy}"
        raise SchemaOutdatedError(msg, found=found, needed=schema.REVISION)

    async def close(self) -> None:
        """End every connection; the database can be used again afterwards."""
        engine, self._engine, self._reads = self._engine, None, None
        writer, self._writer = self._writer, None
        await self._kept.close()
        if engine is not None:
            # A pool forgets what is lent out when it ends; whoever was cancelled may still be giving it back.
            event.listen(engine.sync_engine.pool, "checkin", _end_connection)
            await engine.dispose()
        if writer is not None:
            await writer.close()

    def _is_missing_file(self) -> bool:
        return self.is_sqlite and not Path(self.url.database or "").exists()

    def _open(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = (
                sqlite_readers(self.url)
                if self.is_sqlite
                else postgres_engine(self.url, silence_s=self._silence_s)
            )
        return self._engine

    def _reader(self) -> AsyncEngine:
        """Return the engine for reads: of several statements, none may see what came after the first."""
        if self._reads is None:
            one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reads = self._open().execution_options(**({} if self.is_sqlite else one_state))
        return self._reads

    def _sqlite_writer(self) -> SqliteWriter:
        if self._writer is None:
            self._writer = SqliteWriter(self.url)
        return self._writer


class Reading:
    """One state of a database, for as long as its `Database.reading` is open."""

    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._name = database.name
        self.is_sqlite = database.is_sqlite

    async def read(self, use: Mapper[T]) -> T:
        """Run a read in this state and return its result.

        Raises `CorruptionError` when the database finds itself damaged; a PostgreSQL then answers no more
        in this state, a SQLite file goes on.
        """
        async with translated(self._name):
            return await self._connection.run_sync(use)

    @asynccontextmanager
    async def stream(
        self, statement: sa.Select[Any], *, row_count: int
    ) -> AsyncGenerator[AsyncIterator[Sequence[sa.Row[Any]]]]:
        """Run a query and give its rows in parts of up to `row_count`; other reads may run in between."""
        options = {"yield_per": row_count}
        async with (
            translated(self._name),
            self._connection.stream(statement, execution_options=options) as result,
        ):
            yield result.partitions()


def _end_connection(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    if connection is not None:
        record.invalidate()


def _lenient_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
