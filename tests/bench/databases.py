"""Databases to measure on: SQLite files, and a PostgreSQL that syncs what it commits."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from archetype.store.database import Database
from archetype.store.migrate import upgrade
from postgres import Cluster, find_binaries


class DurableCluster(Cluster):
    """The tests' PostgreSQL, but with fsync on: what it has committed is on the disk."""

    settings = "-c max_connections=200"
    is_durable = True


class Databases:
    """Gives out empty databases with the schema in place, by kind, and removes them again."""

    def __init__(self, postgres_url: str | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="archetype-bench-"))
        self._postgres_url = postgres_url
        self.kinds = ("sqlite", "postgres") if postgres_url else ("sqlite",)

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """Give the URL of a new database, dropped at the end."""
        name = f"bench_{uuid.uuid4().hex}"
        if kind == "sqlite":
            url = f"sqlite:///{self._folder / name}.db"
            run(_migrate(url))
            yield url
            for path in self._folder.glob(f"{name}.db*"):
                path.unlink()
        elif self._postgres_url:
            run(_execute(self._postgres_url, f"CREATE DATABASE {name}"))
            url = self._postgres_url.rsplit("/", 1)[0] + f"/{name}"
            run(_migrate(url))
            yield url
            run(_execute(self._postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def run(coroutine: object) -> None:
    asyncio.run(coroutine)  # type: ignore[arg-type]


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await upgrade(database)
    finally:
        await database.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def databases(postgres_url: str | None, *, with_postgres: bool) -> Iterator[Databases]:
    """Give databases on SQLite, and on the given PostgreSQL or, without one, on one of our own."""
    cluster = None
    binaries = find_binaries() if with_postgres and postgres_url is None else None
    if binaries is not None:
        cluster = DurableCluster(binaries)
        cluster.start()
        postgres_url = cluster.url
    given = Databases(postgres_url if with_postgres else None)
    try:
        yield given
    finally:
        given.close()
        if cluster is not None:
            cluster.stop()
