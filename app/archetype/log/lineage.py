"""Whose ticks a world's past is made of: arithmetic over the chain of forks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

__all__ = ["Lineage", "Segment", "Stretch"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The ticks `from_tick` <= t < `to_tick` that one world owns in a lineage; `to_tick` None is open."""

    world_id: UUID
    from_tick: int
    to_tick: int | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """The ticks `from_tick` <= t < `to_tick` of one world: a segment, or a part of one, with an end."""

    world_id: UUID
    from_tick: int
    to_tick: int

    def parts(self, tick_count: int) -> Iterator[Stretch]:
        """Cut it into stretches of at most so many ticks, in order."""
        for start in range(self.from_tick, self.to_tick, tick_count):
            yield Stretch(self.world_id, start, min(start + tick_count, self.to_tick))


class Lineage:
    """A world's unbroken past, oldest segment first. Immutable: forks below a fork tick never change."""

    __slots__ = ("_starts", "segments")

    def __init__(self, chain: Sequence[tuple[UUID, int | None]]) -> None:
        """Build it from the world itself to its root: (world_id, the tick it was forked at or None).

        A world forked at tick -1 inherits no tick at all, so its ancestors do not appear.
        """
        segments: list[Segment] = []
        to_tick: int | None = None
        for world_id, fork_tick in chain:
            from_tick = 0 if fork_tick is None else fork_tick + 1
            if to_tick is None or from_tick < to_tick:
                segments.append(Segment(world_id, from_tick, to_tick))
                to_tick = from_tick
            if from_tick == 0:
                break
        self.segments: tuple[Segment, ...] = tuple(reversed(segments))
        self._starts = [segment.from_tick for segment in self.segments]

    def depth_at(self, tick: int) -> int:
        """Return how many worlds this lineage has up to a tick; before tick 0 none."""
        return bisect_right(self._starts, tick)

    def owner_of(self, tick: int) -> UUID:
        """Return the world that owns this tick; ticks before 0 belong to the oldest world."""
        return self.segments[max(bisect_right(self._starts, tick) - 1, 0)].world_id

    def between(self, from_tick: int, to_tick: int | None = None) -> list[Segment]:
        """Return the segments that hold the ticks `from_tick` <= t < `to_tick`, cut to them, oldest first."""
        found: list[Segment] = []
        for segment in self.segments:
            start = max(segment.from_tick, from_tick)
            end = _earlier(segment.to_tick, to_tick)
            if end is None or start < end:
                found.append(Segment(segment.world_id, start, end))
        return found

    def stretches(self, from_tick: int, to_tick: int) -> list[Stretch]:
        """Return whose ticks `from_tick` <= t < `to_tick` are, in order."""
        return [
            Stretch(each.world_id, each.from_tick, to_tick if each.to_tick is None else each.to_tick)
            for each in self.between(from_tick, to_tick)
        ]

    def merge_base(self, tick: int, other: Lineage, other_tick: int) -> tuple[UUID, int] | None:
        """Return the last tick that this past up to `tick` shares with another, and the world that owns it.

        Both ticks are inclusive. None where the pasts share no tick.
        """
        ends = {segment.world_id: segment.to_tick for segment in other.segments}
        for segment in reversed(self.segments):
            if segment.world_id in ends:
                end = _earlier(segment.to_tick, ends[segment.world_id])
                last = min(tick, other_tick) if end is None else min(tick, other_tick, end - 1)
                if last >= segment.from_tick:
                    return segment.world_id, last
        return None


def _earlier(end: int | None, other: int | None) -> int | None:
    """Return the smaller of two ends, of which None is open."""
    return other if end is None else end if other is None else min(end, other)
