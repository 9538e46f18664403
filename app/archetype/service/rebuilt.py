"""States that were computed again, for the next reader: found by the nearest tick of a lineage."""

from __future__ import annotations

import threading
from bisect import bisect_right
from uuid import UUID

from archetype.log.lineage import Lineage
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.projection import Projection

__all__ = ["RebuiltStates"]


class RebuiltStates:
    """Projections without a snapshot of their own, by the worlds that own their ticks.

    Any thread may make one go at any moment; a tick that is still listed then is struck off once met.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._ticks: dict[UUID, list[int]] = {}
        self._lock = threading.Lock()
        self._kept: Cache[tuple[UUID, int], Projection] = budget.cache(
            "rebuilt states", lambda projection: projection.size_bytes, on_evicted=self._strike
        )

    def keep(self, owner_id: UUID, projection: Projection) -> None:
        """Take in the state after a tick that this world owns."""
        tick = projection.committed_tick
        self._kept.put((owner_id, tick), projection)
        with self._lock:
            ticks = self._ticks.setdefault(owner_id, [])
            place = bisect_right(ticks, tick)
            if place == 0 or ticks[place - 1] != tick:
                ticks.insert(place, tick)

    def nearest(self, lineage: Lineage, tick: int) -> Projection | None:
        """Return the newest state of a lineage at or before a tick that is here."""
        while (key := self._listed(lineage, tick)) is not None:
            found = self._kept.get(key)
            if found is not None:
                return found
            self._strike(key)
        return None

    def _listed(self, lineage: Lineage, tick: int) -> tuple[UUID, int] | None:
        with self._lock:
            for segment in reversed(lineage.segments):
                last = tick if segment.to_tick is None else min(tick, segment.to_tick - 1)
                ticks = self._ticks.get(segment.world_id, [])
                place = bisect_right(ticks, last)
                if place and ticks[place - 1] >= segment.from_tick:
                    return segment.world_id, ticks[place - 1]
        return None

    def _strike(self, key: tuple[UUID, int]) -> None:
        owner_id, tick = key
        with self._lock:
            ticks = self._ticks.get(owner_id, [])
            if tick in ticks:
                ticks.remove(tick)
            if not ticks:
                self._ticks.pop(owner_id, None)
