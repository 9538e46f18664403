"""Replaying a world: its ticks computed again and compared, to the byte, with what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from archetype.log.lineage import Lineage
from archetype.service.program import CodeChange
from archetype.service.projection import PagedColumn, PagedTable, Projection
from archetype.service.ranges import committed_range
from archetype.service.replay import Replayer
from archetype.service.states import OnTick, StateService
from archetype.service.values import json_value
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.ticks import TickRow
from archetype.store.worlds import WorldRow

__all__ = ["DifferentValue", "Divergence", "ReplayReport", "ReplayService"]

VALUES_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class DifferentValue:
    """One entity's value in the column that differs, as recorded and as computed, in JSON forms."""

    entity_id: int
    recorded: Any
    computed: Any


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first tick that did not come out as recorded, with both state hashes in hex.

    `archetype`, `column` and `values` (of the first entities) say where, as far as the recorded state is
    stored; `what` says it in words.
    """

    tick: int
    recorded_hash: str
    computed_hash: str
    what: str
    archetype: str | None = None
    column: str | None = None
    values: Sequence[DifferentValue] = ()


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay of the ticks `from_tick` <= t < `to_tick` found.

    `ticks_skipped` are those that nobody can compute again, since a processor says that it is no function of
    its inputs; `code_changes` are processors whose loaded code is not what some of the ticks recorded.
    """

    world_id: UUID
    from_tick: int
    to_tick: int
    ticks_compared: int
    ticks_skipped: int
    code_changes: Sequence[CodeChange]
    divergence: Divergence | None


class ReplayService:
    """Computes ticks again in memory; the world is only read."""

    def __init__(self, database: Database, worlds: WorldService, states: StateService) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states

    async def replay(
        self,
        world: WorldRow,
        *,
        from_tick: int | None = None,
        to_tick: int | None = None,
        on_tick: OnTick | None = None,
    ) -> ReplayReport:
        """Compute committed ticks again, by default all, with the loaded code, up to the first that differs.

        `on_tick` hears of each by its number. Raises as `committed_range` does for ticks that are not
        committed, and `CodeNotLoadedError` where a processor is not loaded.
        """
        ticks = committed_range(world, from_tick, to_tick, is_limited=False)
        lineage = await self._worlds.lineage(world.world_id)
        replayer = Replayer(
            self._database, self._worlds.live_worlds.of(world.world_id).resources, allows_changes=True
        )
        before = await self._states.projection(world, ticks.start - 1)
        changes: dict[str, CodeChange] = {}
        compared = skipped = 0
        divergence: Divergence | None = None
        async for row in self._states.rows(lineage, ticks.start, ticks.stop):
            recorded = await replayer.read(before, row)
            if not recorded.program.is_deterministic:
                before = await self._states.projection(world, row.tick)
                skipped += 1
            else:
                changes.update((change.processor, change) for change in recorded.program.changes())
                before = await replayer.compute(before, recorded)
                compared += 1
                if before.snapshot.state_hash != row.state_hash:
                    divergence = await self._describe(lineage, row, before)
            if on_tick is not None:
                await on_tick(row.tick)
            if divergence is not None:
                break
        return ReplayReport(
            world.world_id, ticks.start, ticks.stop, compared, skipped, list(changes.values()), divergence
        )

    async def _describe(self, lineage: Lineage, row: TickRow, computed: Projection) -> Divergence:
        recorded = await self._states.stored(lineage.owner_of(row.tick), row.tick)
        hashes = row.state_hash.hex(), computed.snapshot.state_hash.hex()
        if recorded is None:
            what = "it is another state; what was recorded is not stored, so nobody can say where it differs"
            return Divergence(row.tick, *hashes, what)
        return await asyncio.to_thread(_first_difference, row.tick, hashes, recorded, computed)


def _first_difference(
    tick: int, hashes: tuple[str, str], recorded: Projection, computed: Projection
) -> Divergence:
    """Find the first archetype, and in it the first column, in which two states differ."""
    theirs, ours = recorded.snapshot.tables, computed.snapshot.tables
    for archetype_id in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(archetype_id), ours.get(archetype_id)
        if a is None or b is None:
            name = next(table.row.archetype.name for table in (a, b) if table is not None)
            what = f"archetype {name} was {'not recorded' if a is None else 'recorded, and not computed'}"
            return Divergence(tick, *hashes, what, name)
        name = a.row.archetype.name
        for column in dict.fromkeys(["entity_id", "is_active", *a.columns]):
            values = _different_values(column, a, b)
            if values:
                what = f"{column} of {name} differs, first in entity {values[0].entity_id}"
                return Divergence(tick, *hashes, what, name, column, values)
    msg = f"two states of tick {tick} have different hashes and the same content"
    raise AssertionError(msg)


def _different_values(column: str, recorded: PagedTable, computed: PagedTable) -> list[DifferentValue]:
    """Return the first entities whose values differ in a column; a row that one side lacks counts as null."""
    pair = recorded.columns.get(column), computed.columns.get(column)
    if pair[0] is not None and pair[1] is not None and pair[0].hashes == pair[1].hashes:
        return []
    theirs, ours = _by_entity(recorded, pair[0]), _by_entity(computed, pair[1])
    # By their spelling, NaN is the same as NaN, and -0.0 not as 0.0: as in the pages.
    differing = [key for key in sorted(theirs | ours) if repr(theirs.get(key)) != repr(ours.get(key))]
    return [
        DifferentValue(key, json_value(theirs.get(key)), json_value(ours.get(key)))
        for key in differing[:VALUES_SHOWN_MAX]
    ]


def _by_entity(table: PagedTable, column: PagedColumn | None) -> dict[int, Any]:
    """Return a column's values by entity; without flags every row is active."""
    ids = table.columns["entity_id"].array.to_pylist()
    values = [True] * len(ids) if column is None else column.array.to_pylist()
    return dict(zip(ids, values, strict=True))
