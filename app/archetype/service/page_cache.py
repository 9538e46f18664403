"""Pages in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping

__all__ = ["PageCache"]


class PageCache:
    """The pages read last, up to a size; content named by its hash can never be stale.

    It is asked from the event loop and filled from threads, so every method holds its lock.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pages: OrderedDict[bytes, bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def hold(self, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return those of the pages that are here."""
        with self._lock:
            found = {page_hash: self._pages[page_hash] for page_hash in hashes if page_hash in self._pages}
            for page_hash in found:
                self._pages.move_to_end(page_hash)
            return found

    def keep(self, pages: Mapping[bytes, bytes]) -> None:
        """Take pages in, and let the ones go that were not asked for longest."""
        with self._lock:
            for page_hash, data in pages.items():
                if page_hash not in self._pages:
                    self._pages[page_hash] = data
                    self._size_bytes += len(data)
            while self._size_bytes > self._limit_bytes:
                _, dropped = self._pages.popitem(last=False)
                self._size_bytes -= len(dropped)
