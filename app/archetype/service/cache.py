"""What was read last, in memory: pages by their hashes, states by their ticks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

__all__ = ["PageCache", "SizedCache", "page_cache"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SizedCache(Generic[Key, Value]):
    """The values asked for last, up to a size; they must be of the kind that can never be stale.

    It is asked from the event loop and filled from threads, so every method holds its lock.
    """

    def __init__(self, limit_bytes: int, size_of: Callable[[Value], int]) -> None:
        self._limit_bytes = limit_bytes
        self._size_of = size_of
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def present(self) -> list[Key]:
        """Return the keys of what is here."""
        with self._lock:
            return list(self._values)

    def hold(self, keys: Collection[Key]) -> dict[Key, Value]:
        """Return those of the values that are here."""
        with self._lock:
            found = {key: self._values[key] for key in keys if key in self._values}
            for key in found:
                self._values.move_to_end(key)
            return found

    def keep(self, values: Mapping[Key, Value]) -> None:
        """Take values in, and let the ones go that were not asked for longest."""
        with self._lock:
            for key, value in values.items():
                if key not in self._values:
                    self._values[key] = value
                    self._size_bytes += self._size_of(value)
            while self._size_bytes > self._limit_bytes:
                _, dropped = self._values.popitem(last=False)
                self._size_bytes -= self._size_of(dropped)


PageCache = SizedCache[bytes, bytes]
"""Pages by their hashes."""

PAGE_CACHE_BYTES = 64 * 1024 * 1024


def page_cache() -> PageCache:
    """Return an empty cache of pages, to be shared by those who read them."""
    return SizedCache(PAGE_CACHE_BYTES, len)
