"""Fixtures: the application over a fresh database, a client for it, and a world with one mover."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from applications import make_world, opened


@pytest.fixture
async def app(database_url: str):
    async with opened(database_url) as app:
        yield app


@pytest.fixture
async def sqlite_app(sqlite_url: str):
    """The application where the kind of database does not matter."""
    async with opened(sqlite_url) as app:
        yield app


@pytest.fixture
async def http(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def lite(sqlite_app):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(sqlite_app), base_url="http://localhost"
    ) as client:
        yield client


@pytest.fixture
async def restarted(database_url: str):
    """A client of a second server over the database, which knows only the code that is loaded now."""

    @asynccontextmanager
    async def opened_again() -> AsyncIterator[httpx.AsyncClient]:
        async with opened(database_url) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                yield client

    return opened_again


@pytest.fixture
async def world(http) -> str:
    return await make_world(http)


@pytest.fixture
async def lite_world(lite) -> str:
    return await make_world(lite)


def problem(response: httpx.Response, status: int, code: str) -> dict:
    """Check that a response is this problem, and return its document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    document = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:archetype:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return document


PUSH = """
from daft import col
from archetype import AsyncProcessor
from archetype.examples.movement import Position

class Push(AsyncProcessor):
    components = (Position,)

    async def process(self, df, **kwargs):
        return df.with_column("position__y", col("position__y") + {by})
"""


@pytest.fixture
def define():
    """Define the processor `Push` anew, as in a server that was started again with an edited module."""

    def defined(by: float) -> type:
        scope = {"__name__": "edited"}
        exec(PUSH.format(by=by), scope)
        return scope["Push"]

    return defined


@pytest.fixture(name="problem")
def problem_fixture():
    return problem
