"""What this process keeps warm of worlds: their states, and what users gave them that no log can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID
from weakref import WeakValueDictionary

from archetype.core.hooks import Hooks
from archetype.core.resources import Resources
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.projection import Projection
from archetype.service.resource_records import ResourceRecord

__all__ = ["LiveWorld", "LiveWorlds"]

WORLD_BYTES = 3 * 1024
"""What a live world takes in memory without its projection; measured, and rounded up."""


class LiveWorld:
    """What this process keeps of one world: its projection, and the handles that no log can hold.

    `known_resources` are those that were recorded, by full name, when `resources` were last brought in line;
    `next_tick` and `run_id` are the next tick to run and the last run, as scripts here last saw them.
    """

    def __init__(self, world_id: UUID, projections: Cache[UUID, Projection]) -> None:
        self._projections = projections
        self.world_id = world_id
        self.lock = asyncio.Lock()
        self.resources = Resources()
        self.known_resources: Mapping[str, ResourceRecord] = {}
        self.hooks = Hooks()
        self.next_tick = 0
        self.run_id: UUID | None = None
        self.adopters = 0

    @property
    def projection(self) -> Projection | None:
        """Its state after the last tick that was committed or read here, as long as there is room for it."""
        return self._projections.get(self.world_id)

    @projection.setter
    def projection(self, projection: Projection) -> None:
        self._projections.put(self.world_id, projection)

    @property
    def is_in_use(self) -> bool:
        """Whether a run holds it, or a script that may give it what nothing could bring back."""
        return self.adopters > 0 or self.lock.locked()

    def release(self) -> None:
        """Undo one `LiveWorlds.adopt`: what nobody holds any more goes when its room is needed."""
        self.adopters -= 1


class LiveWorlds:
    """The live worlds of this process, as long as there is room for them or somebody holds them."""

    def __init__(self, budget: MemoryBudget) -> None:
        # Whoever holds a live world meets the same one again, whether or not there is room for it.
        self._live: WeakValueDictionary[UUID, LiveWorld] = WeakValueDictionary()
        self._kept: Cache[UUID, LiveWorld] = budget.cache(
            "worlds", lambda _: WORLD_BYTES, is_in_use=lambda live: live.is_in_use
        )
        self._projections: Cache[UUID, Projection] = budget.cache(
            "projections",
            lambda projection: projection.size_bytes,
            is_in_use=lambda projection: self.is_running(projection.world_id),
        )

    def of(self, world_id: UUID) -> LiveWorld:
        """Return what this process keeps of a world, made at first use."""
        live = self._kept.get(world_id)
        if live is None:
            live = self._live.get(world_id) or LiveWorld(world_id, self._projections)
            self._live[world_id] = live
            self._kept.put(world_id, live)
        return live

    def drop(self, world_id: UUID) -> LiveWorld | None:
        """Let go of a world's state and handles, and return them; the next use makes them anew."""
        self._kept.drop(world_id)
        self._projections.drop(world_id)
        return self._live.pop(world_id, None)

    def adopt(self, world_id: UUID) -> LiveWorld:
        """Return a live world that stays until `LiveWorld.release`, for whoever gives it handles or hooks."""
        live = self.of(world_id)
        live.adopters += 1
        self._kept.put(world_id, live)
        return live

    def is_running(self, world_id: UUID) -> bool:
        """Tell whether a run holds a world in this process."""
        live = self._live.get(world_id)
        return live is not None and live.lock.locked()

    def has_hooks(self, world_id: UUID) -> bool:
        """Tell whether anyone in this process listens to a world."""
        live = self._live.get(world_id)
        return live is not None and bool(live.hooks.registrations())
