"""A PostgreSQL of one's own, which a test may kill, and a database in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from postgres import Cluster, find_binaries


@pytest.fixture(scope="session")
def mortal_cluster() -> Iterator[Cluster]:
    """A server that belongs to this worker alone; whoever kills it launches it again."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries here to start a server of its own from")
    cluster = Cluster(binaries)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def mortal_url(mortal_cluster: Cluster) -> str:
    """The URL of a migrated, empty database on the server that may be killed."""
    from migrated import migrate, run_on

    name = f"test_{uuid.uuid4().hex}"
    await run_on(mortal_cluster.url, f"CREATE DATABASE {name}")
    url = mortal_cluster.url.rsplit("/", 1)[0] + f"/{name}"
    await migrate(url)
    return url
