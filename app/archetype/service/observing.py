"""What the services tell of their work while they do it: flushes, ticks with their phases, leases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from archetype.clock import monotonic_s
from archetype.store.commit import TickCommit

__all__ = ["FlushSeen", "LeaseChange", "Observer", "Observers", "Phases", "TickSeen", "tick_seen"]

logger = logging.getLogger(__name__)

LeaseChange = Literal["taken", "taken_over", "lost"]
"""What became of a world's lease here: taken for a run, taken over from another process, or lost to one."""


@dataclass(frozen=True, slots=True)
class FlushSeen:
    """A flush of the appender: how many commands it took, and when, in seconds of the monotonic clock.

    `queued_at_s` is when the first of its callers came; `callers` is what `Observer.caller` gave for each.
    """

    command_count: int
    queued_at_s: float
    started_at_s: float
    ended_at_s: float
    callers: Sequence[Any]
    is_committed: bool


@dataclass(frozen=True, slots=True)
class TickSeen:
    """A committed tick: its `phases` as (name, start, end), in seconds of the monotonic clock, in order."""

    world_id: UUID
    run_id: UUID
    tick: int
    command_count: int
    phases: Sequence[tuple[str, float, float]]
    pages_written: int


class Observer:
    """Hears of the work of this process; what it does not override, it ignores. It must be quick."""

    def caller(self) -> Any:
        """Return what stands for whoever is calling, for a flush to name; None is nobody."""
        return None

    def flushed(self, seen: FlushSeen) -> None:
        """Hear of a flush that ended."""

    def sealed(self, started_at_s: float, ended_at_s: float) -> None:
        """Hear of a run that began: its command, its lease and its first sealed tick are durable."""

    def ticked(self, seen: TickSeen) -> None:
        """Hear of a committed tick."""

    def lease_changed(self, change: LeaseChange) -> None:
        """Hear that this process took a world's lease, or lost one."""


class Observers(Observer):
    """Passes on to those that were added; what one of them raises is logged, and harms nobody's work."""

    def __init__(self) -> None:
        self._all: list[Observer] = []

    def add(self, observer: Observer) -> None:
        """Let an observer hear of all that comes."""
        self._all.append(observer)

    def caller(self) -> Any:
        """Return the first answer that is not None."""
        for observer in self._all:
            if (caller := observer.caller()) is not None:
                return caller
        return None

    def flushed(self, seen: FlushSeen) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.flushed(seen))

    def sealed(self, started_at_s: float, ended_at_s: float) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.sealed(started_at_s, ended_at_s))

    def ticked(self, seen: TickSeen) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.ticked(seen))

    def lease_changed(self, change: LeaseChange) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.lease_changed(change))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for observer in self._all:
            try:
                tell(observer)
            except Exception:
                logger.exception("An observer failed.")


class Phases:
    """Measures what follows each other: each phase begins where the one before it ended."""

    def __init__(self) -> None:
        self.began_s = self._last_s = monotonic_s()
        self.measured: list[tuple[str, float, float]] = []

    def end(self, name: str) -> float:
        """End the phase of that name now, and return when that is."""
        now_s = monotonic_s()
        self.measured.append((name, self._last_s, now_s))
        self._last_s = now_s
        return now_s


def tick_seen(commit: TickCommit, phases: Phases) -> TickSeen:
    """Describe a tick that was committed: its phases, and how many pages its snapshots brought."""
    writes = [write for snapshot in commit.snapshots for write in snapshot.writes]
    return TickSeen(
        world_id=commit.world_id,
        run_id=commit.run_id,
        tick=commit.sealed.tick,
        command_count=commit.command_count,
        phases=phases.measured,
        pages_written=len({page.page_hash for write in writes for page in write.new_pages}),
    )
