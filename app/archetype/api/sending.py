"""Sending a stream to a reader who may be slow: nothing is kept for one who does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from litestar.response import Stream
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

__all__ = ["PATIENCE_S", "STALLED", "Reader", "WatchedStream"]

PATIENCE_S = 30.0
"""How long a piece may lie unread; whoever then reads is told to come again, after as long again cut off."""

STALLED = "is_stalled"
"""The mark of a request whose connection the server may cut: what it was sent is not read."""

Sleep = Callable[[float], Awaitable[None]]


class Reader:
    """How one reader keeps up: `is_late` once a piece has lain unread for `patience_s`."""

    def __init__(self, *, patience_s: float = PATIENCE_S, sleep: Sleep = asyncio.sleep) -> None:
        self._patience_s = patience_s
        self._sleep = sleep
        self.is_late = False
        self.gave_up = asyncio.Event()

    async def send(self, send: Send, message: Message) -> None:
        """Send a piece and return when the reader took it; one who never does is given up, for good."""
        if self.gave_up.is_set():
            return
        sending = asyncio.ensure_future(send(message))
        try:
            await self._within_patience({sending})
            if not sending.done():
                self.is_late = True
                await self._within_patience({sending})
            if sending.done():
                sending.result()
            else:
                self.gave_up.set()
        finally:
            sending.cancel()

    async def receive(self, receive: Receive) -> ReceiveMessage:
        """Receive what the connection says; one that was given up says that it is over."""
        receiving = asyncio.ensure_future(receive())
        giving_up = asyncio.ensure_future(self.gave_up.wait())
        try:
            await asyncio.wait({receiving, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            giving_up.cancel()

    async def cut(self, scope: Scope, receive: Receive) -> None:
        """Let the server cut the connection, and wait until it has, with patience."""
        scope["state"][STALLED] = True
        receiving = asyncio.ensure_future(receive())
        try:
            await self._within_patience({receiving})
        finally:
            receiving.cancel()

    async def _within_patience(self, futures: set[asyncio.Future[Any]]) -> None:
        timer = asyncio.ensure_future(self._sleep(self._patience_s))
        try:
            await asyncio.wait({*futures, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()


class WatchedStream(Stream):
    """A stream to one reader that says when it ended, however that was."""

    __slots__ = ("_blocks", "_ended", "_reader")

    def __init__(
        self,
        blocks: AsyncGenerator[bytes],
        reader: Reader,
        *,
        media_type: str,
        headers: dict[str, str],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(blocks, media_type=media_type, headers=headers)
        self._blocks = blocks
        self._reader = reader
        self._ended = ended

    def to_asgi_response(self, *args: Any, **options: Any) -> Any:
        """Make the response that is sent."""
        return _Ending(super().to_asgi_response(*args, **options), self._blocks, self._reader, self._ended)


class _Ending:
    """An ASGI response with something to do behind it, also when its client goes away."""

    def __init__(
        self, response: ASGIApp, blocks: AsyncGenerator[bytes], reader: Reader, ended: Callable[[], None]
    ) -> None:
        self._response = response
        self._blocks = blocks
        self._reader = reader
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = self._reader

        async def send_on(message: Message) -> None:
            await reader.send(send, message)

        async def receive_on() -> ReceiveMessage:
            return await reader.receive(receive)

        try:
            await self._response(scope, receive_on, send_on)
            if reader.gave_up.is_set():
                await reader.cut(scope, receive)
        finally:
            self._ended()
            await self._blocks.aclose()
