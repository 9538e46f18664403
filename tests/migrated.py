"""Databases for tests: where the PostgreSQL of this run is, statements on it, and the schema."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

__all__ = ["URL_VARIABLE", "migrate", "postgres_url", "run_on"]

URL_VARIABLE = "ARCHETYPE_TEST_POSTGRES_URL"


def postgres_url() -> str:
    url = os.environ.get(URL_VARIABLE)
    if not url:
        pytest.skip(f"no PostgreSQL here: install the dev dependencies, or set {URL_VARIABLE}")
    return url


async def run_on(url: str, *statements: str) -> None:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def migrate(url: str) -> None:
    from archetype.store.database import Database
    from archetype.store.migrate import upgrade

    database = Database(url)
    try:
        await upgrade(database)
    finally:
        await database.close()
