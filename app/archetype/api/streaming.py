"""Server-sent events: blocks of text from any source that grows, under one limit for all that are open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

from litestar import Response

from archetype.api.sending import PATIENCE_S, Reader, WatchedStream
from archetype.clock import monotonic_s
from archetype.errors import ArchetypeError, AuthenticationError, OverloadedError, PermissionDeniedError
from archetype.limits import STREAMS_MAX

__all__ = [
    "EVENT_STREAM",
    "HEARTBEAT_S",
    "EventStreams",
    "Source",
    "closed_block",
    "place_block",
]

EVENT_STREAM = "text/event-stream"

HEARTBEAT_S = 15.0
"""Less than what proxies take for a connection that is dead; clients give up after three."""

_RETRY_AFTER_S = 5.0

Sleep = Callable[[float], Awaitable[None]]
Recheck = Callable[[], Awaitable[object]]


class Source(Protocol):
    """What a stream is made of. Nothing is read ahead: the source keeps what its reader has not asked for."""

    @property
    def is_at_end(self) -> bool:
        """Whether there was no more at the last `read`."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether no more will come in this process."""
        ...

    @property
    def is_final(self) -> bool:
        """Whether no more will ever come."""
        ...

    def place(self) -> bytes:
        """Spell where a reader goes on who has everything that was read so far."""
        ...

    async def read(self) -> bytes:
        """Return the next blocks, none where there are none at present."""
        ...

    def lag(self, position: int) -> int:
        """Return how many events are yet to be read, if the log ends at `position`."""
        ...

    async def wait(self) -> None:
        """Return when there may be more."""
        ...

    def close(self) -> None:
        """End; a second time does no harm."""
        ...


class EventStreams:
    """The streams that one server has open: no more than `streams_max`, all ended when it stops."""

    def __init__(
        self,
        stopping: asyncio.Event,
        *,
        streams_max: int = STREAMS_MAX,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._stopping = stopping
        self._patience_s = patience_s
        self._streams_max = streams_max
        self._heartbeat_s = heartbeat_s
        self._sleep = sleep
        self.open_count = 0
        self._sources: set[Source] = set()

    async def answer(
        self,
        opening: Callable[[], Awaitable[Source]],
        location: str,
        *,
        recheck: Recheck,
        follow: bool = True,
    ) -> Response[Any]:
        """Open a source and stream it; 204 tells a reader not to come back, since nothing more will come.

        `recheck` raises once its reader is not permitted any more; it is asked at each heartbeat, and as
        often in a stream that has no rest. Raises `OverloadedError` when too many streams are open, and what
        opening raises.
        """
        if self.open_count >= self._streams_max:
            msg = f"{self.open_count} streams are open already; try again in {_RETRY_AFTER_S:g} seconds"
            raise OverloadedError(msg, retry_after_s=_RETRY_AFTER_S, open_count=self.open_count)
        self.open_count += 1
        source: Source | None = None
        try:
            source = await opening()
            self._sources.add(source)
            start = source.place()
            first = await source.read()
        except BaseException:
            self._end(source)
            raise
        headers = {"Content-Location": location, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if not first and (source.is_final or (source.is_at_end and not follow)):
            self._end(source)
            return Response(None, status_code=204, headers=headers)
        reader = Reader(patience_s=self._patience_s, sleep=self._sleep)
        blocks = self._blocks(source, reader, start + first, recheck=recheck, follow=follow)
        return WatchedStream(
            blocks, reader, media_type=EVENT_STREAM, headers=headers, ended=lambda: self._end(source)
        )

    def _end(self, source: Source | None) -> None:
        self.open_count -= 1
        if source is not None:
            self._sources.discard(source)
            source.close()

    def lag(self, position: int | None) -> int:
        """Return how many events the slowest open stream has yet to read, if the log ends at `position`."""
        return max((source.lag(position or 0) for source in self._sources), default=0)

    async def _blocks(
        self, source: Source, reader: Reader, blocks: bytes, *, recheck: Recheck, follow: bool
    ) -> AsyncGenerator[bytes]:
        """Give blocks of text until the source ends, the server stops, the reader is late, or reading fails.

        The first names the place where the stream begins, so that nothing is missed by a reader who is cut
        off before the first event. So do heartbeats: a filter passes much over.
        """
        checked_s = monotonic_s()
        try:
            while not self._stopping.is_set():
                if monotonic_s() - checked_s >= self._heartbeat_s:
                    await recheck()
                    checked_s = monotonic_s()
                if blocks:
                    yield blocks
                elif source.is_over or (source.is_at_end and not follow):
                    return
                elif source.is_at_end and not await self._waited(source):
                    await recheck()
                    yield b": heartbeat\n" + source.place()
                    continue
                if reader.is_late:
                    yield closed_block("slow_reader", "what was sent was read too late; ask again from here")
                    return
                blocks = await source.read()
        except (AuthenticationError, PermissionDeniedError) as error:
            yield closed_block(error.code, error.message)
        except ArchetypeError:
            # The reader asks again, and is told then what is wrong.
            return

    async def _waited(self, source: Source) -> bool:
        """Wait until there may be more, or the server stops; False when it is time for a heartbeat."""
        beat = asyncio.ensure_future(self._sleep(self._heartbeat_s))
        ringing = {asyncio.ensure_future(source.wait()), asyncio.ensure_future(self._stopping.wait())}
        try:
            done, _ = await asyncio.wait({beat, *ringing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (beat, *ringing):
                each.cancel()
        return not done.isdisjoint(ringing)


def place_block(place: int) -> bytes:
    """Spell a place: no event, since it has no data, but where a reader who was cut off goes on."""
    return f"id: {place}\n\n".encode()


def closed_block(code: str, detail: str) -> bytes:
    """Spell why the server ends a stream; it has no id, so that a reader goes on where it was."""
    data = json.dumps({"code": code, "detail": detail})
    return f"event: closed\ndata: {data}\n\n".encode()
