"""One limit for all that a process keeps in memory and could read or compute again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Cache", "CacheUse", "MemoryBudget"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Place = tuple[str, Hashable]
"""A cache's name, and a key in it."""


@dataclass(slots=True)
class CacheUse:
    """What one cache takes: the bytes and values in it now, and the values that had to go so far."""

    size_bytes: int = 0
    value_count: int = 0
    eviction_count: int = 0


@dataclass(slots=True)
class _Entry:
    value: Any
    size_bytes: int


class MemoryBudget:
    """Keeps the caches of a process below one limit together: what was not used for longest goes first.

    Sizes are in bytes, as each cache counts its values. What is in use stays, even beyond the limit. It is
    asked from the event loop and filled from threads, so every method holds its lock.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: OrderedDict[Place, _Entry] = OrderedDict()
        self._caches: dict[str, Cache[Any, Any]] = {}
        self._uses: dict[str, CacheUse] = {}
        self._size_bytes = 0
        self._lock = threading.RLock()

    @property
    def size_bytes(self) -> int:
        """What all values take now."""
        return self._size_bytes

    def uses(self) -> dict[str, CacheUse]:
        """Return what each cache takes, by its name."""
        with self._lock:
            return {
                name: CacheUse(use.size_bytes, use.value_count, use.eviction_count)
                for name, use in self._uses.items()
            }

    def cache(
        self,
        name: str,
        size_of: Callable[[Any], int],
        *,
        is_in_use: Callable[[Any], bool] | None = None,
        on_evicted: Callable[[Any], None] | None = None,
    ) -> Cache[Any, Any]:
        """Return a new cache, of which the budget has one of each name.

        `is_in_use` says of a value that it must stay for now; `on_evicted` hears the key of one that goes.
        """
        if name in self._caches:
            msg = f"there is a cache named {name!r} already"
            raise ValueError(msg)
        made = self._caches[name] = Cache(self, name, size_of, is_in_use, on_evicted)
        self._uses[name] = CacheUse()
        return made

    def hold(self, name: str, keys: Collection[Hashable]) -> dict[Any, Any]:
        """Return those of a cache's values that are here, and count them as just used."""
        found: dict[Any, Any] = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get((name, key))
                if entry is not None:
                    self._entries.move_to_end((name, key))
                    found[key] = entry.value
        return found

    def keep(self, name: str, values: Mapping[Any, Any]) -> None:
        """Take a cache's values in, in the place of older ones, and let others go to make room."""
        cache = self._caches[name]
        with self._lock:
            for key, value in values.items():
                self._remove((name, key))
                size_bytes = cache.size_of(value)
                self._entries[name, key] = _Entry(value, size_bytes)
                self._count(name, size_bytes, 1)
                if size_bytes > self.limit_bytes and not cache.is_needed(value):
                    self._evict((name, key))  # by itself: it would take everything else along
            self._make_room()

    def drop(self, name: str, keys: Collection[Hashable]) -> None:
        """Forget a cache's values; a key that is not here is passed over."""
        with self._lock:
            for key in keys:
                self._remove((name, key))

    def make_room(self) -> None:
        """Let go what was beyond the limit because it was in use, and is so no more."""
        with self._lock:
            self._make_room()

    def _make_room(self) -> None:
        """Let the values go that were not used for longest; one that is in use counts as used now."""
        for _ in range(len(self._entries)):
            if self._size_bytes <= self.limit_bytes:
                return
            place = next(iter(self._entries))
            if self._caches[place[0]].is_needed(self._entries[place].value):
                self._entries.move_to_end(place)
            else:
                self._evict(place)

    def _evict(self, place: Place) -> None:
        name, key = place
        self._remove(place)
        self._uses[name].eviction_count += 1
        self._caches[name].forgot(key)

    def _remove(self, place: Place) -> None:
        entry = self._entries.pop(place, None)
        if entry is not None:
            self._count(place[0], -entry.size_bytes, -1)

    def _count(self, name: str, size_bytes: int, value_count: int) -> None:
        self._size_bytes += size_bytes
        use = self._uses[name]
        use.size_bytes += size_bytes
        use.value_count += value_count


class Cache(Generic[Key, Value]):
    """Values by their keys, as long as the budget that made it has room for them."""

    def __init__(
        self,
        budget: MemoryBudget,
        name: str,
        size_of: Callable[[Value], int],
        is_in_use: Callable[[Value], bool] | None,
        on_evicted: Callable[[Key], None] | None,
    ) -> None:
        self._budget = budget
        self._name = name
        self._is_in_use = is_in_use
        self._on_evicted = on_evicted
        self.size_of = size_of

    def is_needed(self, value: Value) -> bool:
        """Tell whether a value must stay for now."""
        return self._is_in_use is not None and self._is_in_use(value)

    def forgot(self, key: Key) -> None:
        """Hear that a value had to go."""
        if self._on_evicted is not None:
            self._on_evicted(key)

    def get(self, key: Key) -> Value | None:
        """Return a value, which counts as just used, or None."""
        return self._budget.hold(self._name, (key,)).get(key)

    def hold(self, keys: Collection[Key]) -> dict[Key, Value]:
        """Return those of the values that are here; they count as just used."""
        return self._budget.hold(self._name, keys)

    def put(self, key: Key, value: Value) -> None:
        """Take one value in, in the place of an older one."""
        self._budget.keep(self._name, {key: value})

    def keep(self, values: Mapping[Key, Value]) -> None:
        """Take values in, in the place of older ones; they may be gone again at once."""
        self._budget.keep(self._name, values)

    def drop(self, key: Key) -> None:
        """Forget a value, if it is here."""
        self._budget.drop(self._name, (key,))
