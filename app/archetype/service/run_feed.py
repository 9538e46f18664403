"""One reader's way along a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from archetype.service.runs import RunInfo

__all__ = ["RunFeed"]


class RunFeed:
    """Gives a run whenever it has come further than `after` ticks, and last of all as it ended.

    Ticks that pass while the reader is busy come as one. It is over too when the process stops.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[tuple[RunInfo, Callable[[], Awaitable[object]]]]],
        is_stopping: Callable[[], bool],
        after: int,
    ) -> None:
        self._look = look
        self._is_stopping = is_stopping
        self._changed: Callable[[], Awaitable[object]] | None = None
        self.after = after
        self.is_over = False

    async def read(self) -> RunInfo | None:
        """Return the run if it has come further or ended; nothing behind its end."""
        if self.is_over:
            return None
        info, self._changed = await self._look()
        self.is_over = info.has_ended or self._is_stopping()
        if not self.is_over and info.ticks_completed <= self.after:
            return None
        self.after = max(self.after, info.ticks_completed)
        return info

    async def wait(self) -> None:
        """Return when `read` may give more."""
        if self._changed is not None and not self.is_over:
            await self._changed()
