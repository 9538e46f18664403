"""Live feeds as server-sent events: blocks of text that say where a reader goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from litestar import Response
from litestar.response import Stream
from litestar.types import ASGIApp, Receive, Scope, Send

from archetype.api.schemas.events import EventResponse
from archetype.errors import ArchetypeError, OverloadedError
from archetype.service.live import Event, Feed

__all__ = ["EVENT_STREAM", "HEARTBEAT_S", "STREAMS_MAX", "EventStreams", "event_blocks"]

EVENT_STREAM = "text/event-stream"

HEARTBEAT_S = 15.0
"""Less than what proxies take for a connection that is dead; clients give up after three."""

STREAMS_MAX = 256
_RETRY_AFTER_S = 5.0

Sleep = Callable[[float], Awaitable[None]]


class EventStreams:
    """The streams that one server has open: no more than `streams_max`, all ended when it stops."""

    def __init__(
        self,
        stopping: asyncio.Event,
        *,
        streams_max: int = STREAMS_MAX,
        heartbeat_s: float = HEARTBEAT_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._stopping = stopping
        self._streams_max = streams_max
        self._heartbeat_s = heartbeat_s
        self._sleep = sleep
        self.open_count = 0
        self._feeds: set[Feed] = set()

    async def answer(
        self, opening: Callable[[], Awaitable[Feed]], location: str, *, follow: bool
    ) -> Response[Any]:
        """Open a feed and stream it; 204 tells a reader not to come back, since nothing more will come.

        Raises `OverloadedError` when too many streams are open, and what opening raises.
        """
        if self.open_count >= self._streams_max:
            msg = f"{self.open_count} streams are open already; try again in {_RETRY_AFTER_S:g} seconds"
            raise OverloadedError(msg, retry_after_s=_RETRY_AFTER_S, open_count=self.open_count)
        self.open_count += 1
        feed: Feed | None = None
        try:
            feed = await opening()
            self._feeds.add(feed)
            first = await feed.read()
        except BaseException:
            self._end(feed)
            raise
        headers = {"Content-Location": location, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if not first and (feed.is_final or (feed.is_at_end and not follow)):
            self._end(feed)
            return Response(None, status_code=204, headers=headers)
        blocks = self._blocks(feed, first, follow=follow)
        return _EventStream(blocks, media_type=EVENT_STREAM, headers=headers, ended=lambda: self._end(feed))

    def _end(self, feed: Feed | None) -> None:
        self.open_count -= 1
        if feed is not None:
            self._feeds.discard(feed)
            feed.close()

    def lag(self, position: int | None) -> int:
        """Return how many events the slowest open stream has yet to read, if the log ends at `position`."""
        behind = [(position or 0) - feed.place.position for feed in self._feeds if not feed.is_at_end]
        return max(0, *behind) if behind else 0

    async def _blocks(self, feed: Feed, events: list[Event], *, follow: bool) -> AsyncGenerator[bytes]:
        """Give the events of a feed as blocks of text until it ends, the server stops, or reading fails.

        The first block names the place where the feed begins, so that nothing is missed by a reader who is
        cut off before the first event. So do heartbeats: a filter passes much over.
        """
        yield _place(events[0].position - 1 if events else feed.place.position)
        try:
            while not self._stopping.is_set():
                if events:
                    yield event_blocks(events)
                elif feed.is_over or (feed.is_at_end and not follow):
                    return
                elif feed.is_at_end and not await self._waited(feed):
                    yield b": heartbeat\n" + _place(feed.place.position)
                    continue
                events = await feed.read()
        except ArchetypeError:
            # The reader asks again, and is told then what is wrong.
            return

    async def _waited(self, feed: Feed) -> bool:
        """Wait until the feed may have more, or the server stops; False when it is time for a heartbeat."""
        beat = asyncio.ensure_future(self._sleep(self._heartbeat_s))
        ringing = {asyncio.ensure_future(feed.wait()), asyncio.ensure_future(self._stopping.wait())}
        try:
            done, _ = await asyncio.wait({beat, *ringing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (beat, *ringing):
                each.cancel()
        return not done.isdisjoint(ringing)


class _EventStream(Stream):
    """A stream that says when it ended, however that was."""

    __slots__ = ("_blocks", "_ended")

    def __init__(
        self,
        blocks: AsyncGenerator[bytes],
        *,
        media_type: str,
        headers: dict[str, str],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(blocks, media_type=media_type, headers=headers)
        self._blocks = blocks
        self._ended = ended

    def to_asgi_response(self, *args: Any, **options: Any) -> Any:
        """Make the response that is sent."""
        return _Ending(super().to_asgi_response(*args, **options), self._blocks, self._ended)


class _Ending:
    """An ASGI response with something to do behind it, also when its client goes away."""

    def __init__(self, response: ASGIApp, blocks: AsyncGenerator[bytes], ended: Callable[[], None]) -> None:
        self._response = response
        self._blocks = blocks
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._ended()
            await self._blocks.aclose()


def event_blocks(events: list[Event]) -> bytes:
    """Spell events as blocks: `id` is the position, `event` the type, `data` the event in a line of JSON."""
    return b"".join(
        f"id: {event.position}\nevent: {event.type}\ndata: ".encode()
        + EventResponse.of(event).model_dump_json().encode()
        + b"\n\n"
        for event in events
    )


def _place(position: int) -> bytes:
    """Spell a place: no event, since it has no data, but where a reader who was cut off goes on."""
    return f"id: {position}\n\n".encode()
