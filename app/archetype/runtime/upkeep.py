"""What a world's handle does to make sure of the past: replaying, verifying, and storing less of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, overload

from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.runtime.handle import WorldHandle
from archetype.service.policy import Keep
from archetype.service.replays import ReplayReport
from archetype.service.retention import ThinPlan, ThinResult
from archetype.service.verification.faults import VerifyReport
from archetype.service.verification.verify import verify

__all__ = ["Upkeep"]


class Upkeep(WorldHandle):
    """Replays, verifies and thins a world."""

    async def replay(
        self,
        from_tick: int | None = None,
        to_tick: int | None = None,
        on_tick: Callable[[int], Awaitable[None] | None] | None = None,
    ) -> ReplayReport:
        """Compute ticks again, by default all, with this process's code, up to the first that differs.

        A tick that differs is reported, not raised. `on_tick` hears of each by its number; nothing is
        written. Raises `CodeNotLoadedError` where a processor is not loaded.
        """

        async def heard(tick: int) -> None:
            outcome = None if on_tick is None else on_tick(tick)
            if outcome is not None:
                await outcome

        services = await self._activate(Access.REPLAY_WORLD)
        row = await self._row(services)
        return await services.replay_service.replay(row, from_tick=from_tick, to_tick=to_tick, on_tick=heard)

    async def verify(self, expect: str | None = None, tick: int | str | None = None) -> VerifyReport:
        """Check the world with all that its past is made of; faults are reported, not raised.

        `expect` is the commit hash in hex, kept elsewhere, of `tick`: a number or a label, by default that
        of the last one. With it the whole past up to there is proven.
        """
        services = await self._activate(Access.VERIFY)
        if tick is None:
            return await verify(services.database, str(self.world_id), expect=expect)
        _, at = await self._at(services, tick)
        return await verify(services.database, f"{self.world_id}@{at}", expect=expect)

    @overload
    async def thin(
        self,
        keep_every: int | None = None,
        *,
        keep: Keep | None = None,
        reason: str | None = None,
        dry_run: Literal[False] = False,
    ) -> ThinResult: ...

    @overload
    async def thin(
        self,
        keep_every: int | None = None,
        *,
        keep: Keep | None = None,
        reason: str | None = None,
        dry_run: Literal[True],
    ) -> ThinPlan: ...

    async def thin(
        self,
        keep_every: int | None = None,
        *,
        keep: Keep | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> ThinPlan | ThinResult:
        """Drop the snapshots of the world's own ticks that a replay rebuilds, or with `dry_run` say which.

        `keep_every` N keeps those of each N-th tick too. `keep="log-spaced"` instead keeps the last 64, then
        every second, fourth and so on, the older they are, and those with which runs ended or which have
        labels. The log keeps `reason`. Each is rebuilt and compared first, with this process's code; pages
        are freed by `ArchetypeRuntime.collect_garbage`.
        """
        services = await self._activate(CommandType.THIN_WORLD)
        row = await self._row(services)
        if dry_run:
            return await services.retention_service.plan(row, keep_every=keep_every, keep=keep)
        return await services.retention_service.thin(
            row, keep_every=keep_every, keep=keep, reason=reason, actor_id=self._actor_id
        )
