"""Pages in memory: what was read last, by its hash, for all who read pages."""

from __future__ import annotations

from archetype.service.budget import Cache, MemoryBudget

__all__ = ["ENTRY_BYTES", "PageCache", "page_cache"]

PageCache = Cache[bytes, bytes]
"""Pages by their hashes."""

ENTRY_BYTES = 300
"""What an entry takes beside the bytes of its page: keys, places in the order, the objects' heads."""


def page_cache(budget: MemoryBudget) -> PageCache:
    """Return an empty cache of pages, to be shared by those who read them."""
    return budget.cache("pages", lambda page: len(page) + ENTRY_BYTES)
