"""What is streamed: the events of the log, and how far a run is."""

from __future__ import annotations

from dataclasses import asdict

from archetype.api.schemas.events import EventResponse
from archetype.api.schemas.simulation import RunInfoResponse
from archetype.api.streaming import place_block
from archetype.service.live import Event, Feed
from archetype.service.run_feed import RunFeed
from archetype.service.runs import RunInfo

__all__ = ["FeedSource", "RunSource", "event_blocks", "run_block"]


class FeedSource:
    """The events of a feed, a page at a time."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @property
    def is_at_end(self) -> bool:
        """Whether the log held no more at the last `read`."""
        return self._feed.is_at_end

    @property
    def is_over(self) -> bool:
        """Whether no more will come in this process."""
        return self._feed.is_over

    @property
    def is_final(self) -> bool:
        """Whether the world was removed, and all was read."""
        return self._feed.is_final

    def place(self) -> bytes:
        """Spell the position up to which all was read."""
        return place_block(self._feed.place.position)

    async def read(self) -> bytes:
        """Return the next events as blocks."""
        return event_blocks(await self._feed.read())

    def lag(self, position: int) -> int:
        """Return how many events are yet to be read, if the log ends at `position`."""
        return 0 if self._feed.is_at_end else max(0, position - self._feed.place.position)

    async def wait(self) -> None:
        """Return when the log may have more."""
        await self._feed.wait()

    def close(self) -> None:
        """Stop waiting for the log."""
        self._feed.close()


class RunSource:
    """How far a run is, whenever it has come further; the last block says how it ended."""

    is_at_end = True
    is_final = False

    def __init__(self, feed: RunFeed) -> None:
        self._feed = feed

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, or this process does."""
        return self._feed.is_over

    def place(self) -> bytes:
        """Spell the ticks that the reader knows of."""
        return b"" if self._feed.after < 0 else place_block(self._feed.after)

    async def read(self) -> bytes:
        """Return the run if it has come further."""
        info = await self._feed.read()
        return b"" if info is None else run_block(info)

    def lag(self, position: int) -> int:
        """Return 0: what a reader has missed of a run comes as one."""
        return 0

    async def wait(self) -> None:
        """Return when the run may have come further."""
        await self._feed.wait()

    def close(self) -> None:
        """Do nothing: a look at a run leaves nothing open."""


def event_blocks(events: list[Event]) -> bytes:
    """Spell events as blocks: `id` is the position, `event` the type, `data` the event in a line of JSON."""
    return b"".join(
        f"id: {event.position}\nevent: {event.type}\ndata: ".encode()
        + EventResponse.of(event).model_dump_json().encode()
        + b"\n\n"
        for event in events
    )


def run_block(info: RunInfo) -> bytes:
    """Spell a run as a block: `id` is the ticks completed, `event` says whether it has ended."""
    kind = "ended" if info.has_ended else "progress"
    data = RunInfoResponse(**asdict(info)).model_dump_json()
    return f"id: {info.ticks_completed}\nevent: {kind}\ndata: {data}\n\n".encode()
