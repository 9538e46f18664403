"""Copies of one rich past, made once for all tests of a worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rich import build

URL_VARIABLE = "ARCHETYPE_TEST_POSTGRES_URL"


async def _on(url: str, *statements: str) -> None:
    session = await asyncpg.connect(url)
    try:
        for statement in statements:
            await session.execute(statement)
    finally:
        await session.close()


@pytest.fixture(scope="session")
def rich_file(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rich") / "rich.db"
    shutil.copy(sqlite_template, path)
    asyncio.run(build(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def rich_postgres(postgres_template: str):
    url = os.environ[URL_VARIABLE]
    name = f"rich_{uuid.uuid4().hex}"
    asyncio.run(_on(url, f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY file_copy"))
    asyncio.run(build(url.rsplit("/", 1)[0] + f"/{name}"))
    yield name
    asyncio.run(_on(url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path):
    """Give copies of the rich past, each by its URL for as long as its block runs."""
    if request.param == "sqlite":
        source: Path = request.getfixturevalue("rich_file")

        @asynccontextmanager
        async def copied():
            path = tmp_path / f"{uuid.uuid4().hex}.db"
            shutil.copy(source, path)
            yield f"sqlite:///{path}"

        return copied

    template: str = request.getfixturevalue("rich_postgres")

    @asynccontextmanager
    async def cloned():
        url, name = os.environ[URL_VARIABLE], f"test_{uuid.uuid4().hex}"
        await _on(url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield url.rsplit("/", 1)[0] + f"/{name}"
        finally:
            await _on(url, f"DROP DATABASE {name} WITH (FORCE)")

    return cloned
