"""Fixtures: a fresh migrated database per test, SQLite or PostgreSQL, and services over it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import archetype  # noqa: F401  before any test imports Daft, which reports that otherwise

sys.path.insert(0, str(Path(__file__).parent))

from migrated import URL_VARIABLE, migrate, postgres_url, run_on
from postgres import Cluster, find_binaries
from statements import listening

TEMPLATE = "archetype_template"

# How fast a machine is, is no property of the code: a loaded one must not fail a law.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for all workers, in the process that outlives them."""
    config.addinivalue_line("markers", "postgres_only: needs what only PostgreSQL has")
    if hasattr(config, "workerinput") or config.option.collectonly or os.environ.get(URL_VARIABLE):
        return
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            message = "no PostgreSQL binaries: install the dev dependencies, or set " + URL_VARIABLE
            raise pytest.UsageError(message)
        return
    cluster = Cluster(binaries)
    cluster.start()
    config.add_cleanup(cluster.stop)
    config.add_cleanup(lambda: os.environ.pop(URL_VARIABLE, None))
    os.environ[URL_VARIABLE] = cluster.url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "archetype.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template() -> str:
    """A migrated database that tests are cloned from; each worker makes its own."""
    url = postgres_url()
    name = f"{TEMPLATE}_{uuid.uuid4().hex[:12]}"
    asyncio.run(run_on(url, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(url.rsplit("/", 1)[0] + f"/{name}"))
    return name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "archetype.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def postgres_database_url(postgres_template: str):
    url = postgres_url()
    name = f"test_{uuid.uuid4().hex}"
    await run_on(url, f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY file_copy")
    yield url.rsplit("/", 1)[0] + f"/{name}"
    await run_on(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database that is this test's alone."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database_url")


@pytest.fixture
async def database(database_url: str):
    from archetype.store.database import Database

    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def services(database_url: str):
    from archetype.service.container import ServiceContainer

    async with ServiceContainer(database_url) as container:
        yield container


@pytest.fixture
def statements():
    """Every statement that any engine executes while the test runs, with its parameters."""
    with listening() as heard:
        yield heard
