"""A runtime over a database of its own."""

import pytest

from archetype import ArchetypeRuntime


@pytest.fixture
async def runtime(database_url):
    async with ArchetypeRuntime(database_url) as opened:
        yield opened
