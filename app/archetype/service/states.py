"""States at any committed tick: from memory, from a snapshot, or computed again from the nearest one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.core.resources import Resources
from archetype.core.state import WorldState
from archetype.errors import CorruptionError
from archetype.log.lineage import Lineage
from archetype.service.budget import MemoryBudget
from archetype.service.live_worlds import LiveWorld
from archetype.service.projection import EMPTY_STATE, Projection, StoredTick, newborn, project, read_tick
from archetype.service.rebuilt import RebuiltStates
from archetype.service.replay import Replayer
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.snapshots import nearest_stored
from archetype.store.ticks import TickRow, tick_row, tick_rows
from archetype.store.worlds import WorldRow

__all__ = ["OnTick", "StateService"]

OnTick = Callable[[int], Awaitable[None]]
"""What hears of each tick that is done, by its number."""

TICKS_PER_READ = 256


class StateService:
    """Finds or rebuilds the state after a tick, down any lineage.

    A state between two snapshots is computed again from the one before it, with exactly the recorded code,
    and must come out with the recorded hash, or nothing is returned.
    """

    def __init__(self, database: Database, worlds: WorldService, budget: MemoryBudget) -> None:
        self._database = database
        self._worlds = worlds
        self._rebuilt = RebuiltStates(budget)

    async def of_live(self, live: LiveWorld, committed_tick: int) -> Projection:
        """Return a live world after its last tick, from memory if it is there, and keep it.

        It never begins with a state that was rebuilt for a reader: of such a one nobody knows whether the
        pages that it shares with an old snapshot are still stored when it is the next to be.
        """
        held = live.projection
        if held is None or held.committed_tick != committed_tick:
            held = await self._at(live.world_id, committed_tick, live.resources, rebuilt=None, goes_on=True)
            live.projection = held
        return held

    async def to_fork(self, world: WorldRow, tick: int) -> Projection:
        """Return a world after a committed tick, for forks of it to begin with.

        Like `of_live` it takes no state that was rebuilt for a reader; the forks must be there already, so
        that what it refers to stays stored.
        """
        live = self._worlds.live_worlds.of(world.world_id)
        held = live.projection
        if held is not None and held.committed_tick == tick:
            return held
        return await self._at(world.world_id, tick, live.resources, rebuilt=None, goes_on=True)

    async def state(self, world: WorldRow, tick: int) -> WorldState:
        """Return the active entities of a world after a committed tick; -1 is before the first.

        Raises `CodeNotLoadedError` or `CodeChangedError` where a tick without a snapshot needs code that is
        not here, `DivergenceError` where it does not come out as recorded, `CorruptionError` on damage.
        """
        return (await self.projection(world, tick)).state

    async def projection(self, world: WorldRow, tick: int) -> Projection:
        """Return a world after a committed tick as `state` does, with what its next tick begins with."""
        live = self._worlds.live_worlds.of(world.world_id)
        held = live.projection
        if held is not None and held.committed_tick == tick:
            return held
        lineage = await self._worlds.lineage(world.world_id)
        rebuilt = self._rebuilt.nearest(lineage, tick)
        found = await self._at(world.world_id, tick, live.resources, rebuilt=rebuilt)
        if not found.is_stored:
            self._rebuilt.keep(lineage.owner_of(tick), found)
        return found

    async def _at(
        self,
        world_id: UUID,
        tick: int,
        resources: Resources,
        *,
        rebuilt: Projection | None,
        goes_on: bool = False,
    ) -> Projection:
        lineage = await self._worlds.lineage(world_id)
        stored = await self._database.read(lambda connection: _nearest(connection, lineage, tick, rebuilt))
        if stored is not None:
            projection = await asyncio.to_thread(project, world_id, stored, goes_on=goes_on)
        else:
            projection = newborn(world_id) if rebuilt is None else replace(rebuilt, world_id=world_id)
        replayer = Replayer(self._database, resources)
        async for row in self.rows(lineage, projection.committed_tick + 1, tick + 1):
            projection = await replayer.follow(projection, row)
        return projection

    async def stored(self, world_id: UUID, tick: int) -> Projection | None:
        """Return a world after a tick by its own snapshot, or None if it has none."""
        owner_id = (await self._worlds.lineage(world_id)).owner_of(tick)

        def fetch(connection: Connection) -> StoredTick | None:
            found = read_tick(connection, owner_id, tick)
            return found if found.snapshot or found.row.state_hash == EMPTY_STATE else None

        found = await self._database.read(fetch)
        return None if found is None else await asyncio.to_thread(project, world_id, found)

    async def rows(self, lineage: Lineage, from_tick: int, to_tick: int) -> AsyncIterator[TickRow]:
        """Go through the committed ticks `from_tick` <= t < `to_tick` of a lineage in order.

        Raises `CorruptionError` that names the first one which is missing.
        """
        for stretch in lineage.stretches(from_tick, to_tick):
            for part in stretch.parts(TICKS_PER_READ):
                rows = await self._database.read(partial(tick_rows, stretch=part))
                for tick, row in zip_longest(range(part.from_tick, part.to_tick), rows):
                    if row is None or row.tick != tick:
                        msg = f"tick {tick} of world {part.world_id} is missing"
                        raise CorruptionError(msg, world_id=str(part.world_id), tick=tick)
                    yield row


def _nearest(
    connection: Connection, lineage: Lineage, tick: int, rebuilt: Projection | None
) -> StoredTick | None:
    """Read the newest stored state at or before a tick, unless the one in memory is as new."""
    last = tick_row(connection, lineage.owner_of(tick), tick)
    if last is not None and last.state_hash == EMPTY_STATE:
        return read_tick(connection, last.world_id, tick)
    found = nearest_stored(connection, lineage.segments, tick)
    if found is None or (rebuilt is not None and found[1] <= rebuilt.committed_tick):
        return None
    return read_tick(connection, *found)
