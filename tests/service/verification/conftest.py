"""Copies of one rich past, made once for all tests of a worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rich_past import Tamper, build

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
    yield url.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(_on(url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgres"])
def rich_url(request: pytest.FixtureRequest) -> str:
    """The URL of the rich past; what a test changes there it must take back."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('rich_file')}"
    return request.getfixturevalue("rich_postgres")


@pytest.fixture
async def tamper(rich_url: str):
    """Give a way to write into the rich past; whatever a test changes is taken back behind it."""
    async with Tamper(rich_url) as opened:
        yield opened
        await opened.undo()


@pytest.fixture
def copied_file(rich_file: Path, tmp_path: Path) -> Path:
    """Give a copy of the SQLite file, to be damaged."""
    return Path(shutil.copy(rich_file, tmp_path / "copy.db"))
