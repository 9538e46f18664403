"""Storing less: dropping the snapshots that a replay rebuilds, and the pages that nothing needs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.errors import DivergenceError, TickFailedError
from archetype.log.command import CommandType
from archetype.service.answers import refusal
from archetype.service.direct import direct_command
from archetype.service.gate import LOCAL, Principal
from archetype.service.policy import Keep, Keeping
from archetype.service.program import Program
from archetype.service.projection import Projection
from archetype.service.replay import Replayer
from archetype.service.states import OnTick, StateService
from archetype.service.worlds import WorldService
from archetype.store import retention as store
from archetype.store.acceptance import NewCommand
from archetype.store.database import Database
from archetype.store.retention import Holdings, PageUse
from archetype.store.ticks import TickRow
from archetype.store.worlds import WorldRow

__all__ = ["RetentionService", "ThinPlan", "ThinResult", "kept_ticks", "needed_ticks"]


def needed_ticks(holdings: Holdings) -> dict[int, str]:
    """Return the stored ticks that have to stay, each with the reason.

    The newest is what the world goes on from, and what it compares its pages with; a fork goes on from the
    newest at or before its fork tick. A tick that is not deterministic cannot be computed again; the last
    one of a program could not be once the program's code is gone.
    """
    stored = holdings.stored_ticks
    if not stored:
        return {}
    needed = {stored[-1]: "the newest"}
    for fork_tick in holdings.fork_ticks:
        index = bisect_right(stored, fork_tick)
        if index:
            needed.setdefault(stored[index - 1], "a fork begins with it")
    sure = {
        code: Program.from_document(document).is_deterministic for code, document in holdings.programs.items()
    }
    for tick in stored:
        code = holdings.code_hashes[tick]
        if not sure[code]:
            needed.setdefault(tick, "it is not deterministic")
        elif holdings.code_hashes.get(tick + 1, code) != code:
            needed.setdefault(tick, "the program changes behind it")
    return needed


def kept_ticks(holdings: Holdings, keeping: Keeping) -> dict[int, str]:
    """Return the stored ticks that stay, each with the first reason: those that have to, and those wanted."""
    kept = needed_ticks(holdings)
    newest = max(holdings.code_hashes, default=-1)
    for tick in holdings.stored_ticks:
        reason = keeping.reason(tick, newest=newest)
        if keeping.keep is not None and reason is None:
            if tick in holdings.run_ends:
                reason = "a run ended with it"
            elif tick in holdings.label_ticks:
                reason = "it has a label"
        if reason is not None:
            kept.setdefault(tick, reason)
    return kept


@dataclass(frozen=True, slots=True)
class ThinPlan:
    """What thinning a world would do: `ticks` lose their snapshots if a replay rebuilds them.

    `kept` counts by reason those that stay; `freed` is what a collection could remove afterwards.
    """

    world_id: UUID
    name: str
    stored_count: int
    ticks: Sequence[int]
    kept: Mapping[str, int]
    freed: PageUse


@dataclass(frozen=True, slots=True)
class ThinResult:
    """What thinning a world did; `unproved` are the ticks that no replay could rebuild here, and why."""

    world_id: UUID
    name: str
    ticks_dropped: int
    ticks_kept: int
    unproved: Mapping[int, str]


class RetentionService:
    """Thins worlds, and collects garbage; both are safe beside whoever runs and reads the worlds."""

    def __init__(self, database: Database, worlds: WorldService, states: StateService) -> None:
        self._database = database
        self._worlds = worlds
        self._states = states

    async def plan(
        self, world: WorldRow, *, keep_every: int | None = None, keep: Keep | None = None
    ) -> ThinPlan:
        """Say which of a world's own snapshots can go; `keep_every` N keeps those of each N-th tick too.

        `keep` log-spaced keeps many of late and few of long ago, see `Keeping`; one of the two may be given.
        """
        keeping = Keeping(keep_every, keep)

        def read(connection: Connection) -> ThinPlan:
            holdings = store.holdings(connection, world.world_id)
            kept = kept_ticks(holdings, keeping)
            reasons = [kept[tick] for tick in holdings.stored_ticks if tick in kept]
            dropped = _droppable(holdings, keeping)
            return ThinPlan(
                world_id=world.world_id,
                name=world.name,
                stored_count=len(holdings.stored_ticks),
                ticks=dropped,
                kept={reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
                freed=store.freeable_pages(connection, world.world_id, dropped),
            )

        return await self._database.read(read)

    async def thin(
        self,
        world: WorldRow,
        *,
        keep_every: int | None = None,
        keep: Keep | None = None,
        reason: str | None = None,
        actor_id: UUID | None = None,
        on_tick: OnTick | None = None,
    ) -> ThinResult:
        """Drop the snapshots of a plan, each once a replay from those that stay has rebuilt it to the byte.

        The processors must be loaded, as they were recorded; ticks that cannot be computed here keep their
        snapshots. The log records it. `on_tick` hears of each tick computed.
        """
        keeping = Keeping(keep_every, keep)
        holdings = await self._database.read(lambda connection: store.holdings(connection, world.world_id))
        candidates = _droppable(holdings, keeping)
        unproved = await self._unproved(world, candidates, on_tick)
        proved = set(candidates) - unproved.keys()

        def choose(now: Holdings) -> Sequence[int]:
            return [tick for tick in _droppable(now, keeping) if tick in proved]

        def command_for(ticks_dropped: int) -> NewCommand:
            return _thin_command(world, ticks_dropped, keeping, reason=reason, actor_id=actor_id)

        answer, dropped = await self._database.write(
            lambda connection: store.drop_snapshots(connection, world.world_id, choose, command_for)
        )
        if not answer.status.is_in_log:
            raise refusal(command_for(0), answer)
        kept = len(holdings.stored_ticks) - len(dropped)
        return ThinResult(world.world_id, world.name, len(dropped), kept, unproved)

    async def _unproved(
        self, world: WorldRow, candidates: Sequence[int], on_tick: OnTick | None
    ) -> dict[int, str]:
        """Compute again from what stays; return the candidates that do not come out as stored, and why."""
        unproved: dict[int, str] = {}
        if not candidates:
            return unproved
        lineage = await self._worlds.lineage(world.world_id)
        replayer = Replayer(self._database, self._worlds.live_worlds.of(world.world_id).resources)
        wanted = set(candidates)
        before: Projection | None = None
        why = ""
        try:
            before = await self._states.projection(world, candidates[0] - 1)
        except (TickFailedError, DivergenceError) as error:
            why = f"the tick before it could not be computed: {error.message}"
        async for row in self._states.rows(lineage, candidates[0], candidates[-1] + 1):
            after: Projection | None = None
            if before is not None:
                after, why = await _rebuilt(replayer, before, row)
            if after is None:
                after = await self._states.stored(world.world_id, row.tick)
                if row.tick in wanted:
                    unproved[row.tick] = why
            before = after
            if on_tick is not None:
                await on_tick(row.tick)
        return unproved

    async def garbage(self) -> PageUse:
        """Count the pages of the whole database that no snapshot needs."""
        return await self._database.read(store.unused_pages)

    async def collect_garbage(self, *, by: Principal = LOCAL, reason: str | None = None) -> PageUse:
        """Remove those pages, in one transaction that records who did, and say what they took."""
        acting = by.acting(reason)
        return await self._database.write(lambda connection: store.collect_pages(connection, acting))


async def _rebuilt(replayer: Replayer, before: Projection, row: TickRow) -> tuple[Projection | None, str]:
    """Compute a tick again; None, and why, where it cannot be or comes out as another state."""
    recorded = await replayer.read(before, row)
    if not recorded.program.is_deterministic:
        return None, "it is not deterministic"
    try:
        after = await replayer.compute(before, recorded)
    except TickFailedError as error:
        return None, error.message
    if after.snapshot.state_hash != row.state_hash:
        return None, "computed again it is another state"
    return after, ""


def _droppable(holdings: Holdings, keeping: Keeping) -> list[int]:
    kept = kept_ticks(holdings, keeping)
    return [tick for tick in holdings.stored_ticks if tick not in kept]


def _thin_command(
    world: WorldRow,
    ticks_dropped: int,
    keeping: Keeping,
    *,
    reason: str | None,
    actor_id: UUID | None,
) -> NewCommand:
    given = {"keep_every": keeping.every, "keep": keeping.keep, "reason": reason}
    payload: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    payload["ticks_dropped"] = ticks_dropped
    return direct_command(CommandType.THIN_WORLD, world.world_id, payload, actor_id=actor_id)
