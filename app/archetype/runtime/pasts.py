"""What a world's handle says of its past: where it comes from, and what makes it differ from another."""

from __future__ import annotations

from archetype.log.permissions import Access
from archetype.runtime.handle import WorldHandle, resolved
from archetype.service.ancestry import MergeBase, TickEntry, TreeNode
from archetype.service.container import ServiceContainer
from archetype.service.diff import WorldDiff
from archetype.service.entities import EntityMoment
from archetype.service.ranges import require_order
from archetype.store.worlds import WorldRow

__all__ = ["Pasts"]


class Pasts(WorldHandle):
    """Compares and traces pasts; another world is a handle on it, or a reference such as `demo@120`."""

    async def diff(
        self,
        other: WorldHandle | str,
        *,
        tick: int | str | None = None,
        other_tick: int | str | None = None,
        tolerance: float = 0.0,
        limit: int = 100,
    ) -> WorldDiff:
        """Return what leads from this world to another, each after a tick, by default its last one.

        Ticks are numbers or labels. Two floats x and y are equal if |x - y| <= tolerance * max(1, |x|, |y|).
        The counts are complete, of each listing the first `limit` come.
        """
        services = await self._activate(Access.READ_WORLD)
        row, at = await self._at(services, tick)
        other_row, other_at = await self._other(services, other, other_tick)
        return await services.diff_service.diff(
            row, at, other_row, other_at, tolerance=tolerance, limit=limit
        )

    async def merge_base(self, other: WorldHandle | str) -> MergeBase:
        """Return the last tick that this past and another share; `NotFoundError` if they share none."""
        services = await self._activate(Access.READ_WORLD)
        row, at = await self._at(services, None)
        return await services.ancestry_service.merge_base(row, at, *await self._other(services, other, None))

    async def tree(self, *, with_archived: bool = False) -> list[TreeNode]:
        """Return the world's family, each world followed by its forks in the order of their ticks."""
        services = await self._activate(Access.LIST_WORLDS)
        row = await self._row(services)
        return await services.ancestry_service.tree(row, with_archived=with_archived)

    async def log(
        self, limit: int = 100, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[TickEntry]:
        """Return the newest ticks `from_tick` <= t < `to_tick` of the world's lineage, newest first."""
        require_order(from_tick, to_tick)
        services = await self._activate(Access.READ_LOG)
        row = await self._row(services)
        return await services.ancestry_service.log(row, from_tick=from_tick, to_tick=to_tick, limit=limit)

    async def entity_history(
        self, entity_id: int, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[EntityMoment]:
        """Return an entity after each tick of a range in which it was there, with the commands about it.

        `EntityNotFoundError` if it was there in none.
        """
        services = await self._activate(Access.READ_LOG)
        row = await self._row(services)
        return await services.entity_service.history(row, entity_id, from_tick=from_tick, to_tick=to_tick)

    async def _other(
        self, services: ServiceContainer, other: WorldHandle | str, tick: int | str | None
    ) -> tuple[WorldRow, int]:
        """Return another world of this database and its tick; a handle's world is opened, or made."""
        if isinstance(other, str):
            return await resolved(services, other, tick)
        await other._activate(Access.READ_WORLD)  # noqa: SLF001  a handle as this one is
        return await resolved(services, str(other.world_id), tick)
