"""One server for the tests of a module, and a client of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from archetype.client import ArchetypeClient

sys.path.insert(0, str(Path(__file__).parent))

from running_server import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with RunningServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server):
    with ArchetypeClient(server.url) as made:
        yield made
