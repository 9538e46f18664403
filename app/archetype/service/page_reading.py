"""Pages by their hashes: from memory where they are there, else read, checked and kept."""

from __future__ import annotations

import asyncio

from archetype.service.cache import PageCache
from archetype.store.database import Reading
from archetype.store.pages import read_pages

__all__ = ["cached_pages"]


async def cached_pages(reading: Reading, cache: PageCache, hashes: set[bytes]) -> dict[bytes, bytes]:
    """Return these pages; `CorruptionError` names one that is missing or does not match its hash."""
    found = cache.hold(hashes)
    missing = hashes - found.keys()
    if missing:
        stored = await reading.read(lambda connection: read_pages(connection, missing, cache.hold))
        fresh = await asyncio.to_thread(stored.checked)
        cache.keep(fresh)
        found |= fresh
    return found
