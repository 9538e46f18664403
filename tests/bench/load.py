"""A lean HTTP/1.1 load generator: one request under way on each kept-alive connection."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import Any

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """What is sent, over and over."""

    port: int
    path: str
    body: bytes
    key: str | None = None

    @property
    def request(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        )
        head += "\r\n" if self.key is None else f"Authorization: Bearer {self.key}\r\n\r\n"
        return head.encode() + self.body


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, request: bytes, deadline: float, done: asyncio.Future[int]) -> None:
        self._request = request
        self._deadline = deadline
        self._done = done
        self._buffer = b""
        self._count = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._transport is None:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        if length is None:
            self._fail("an answer has no Content-Length")
            return
        if len(self._buffer) < end + 4 + int(length[1]):
            return
        if self._buffer[9:10] != b"2":
            self._fail(self._buffer[: end + 300].decode(errors="replace"))
            return
        self._buffer = b""
        self._count += 1
        if time.perf_counter() < self._deadline:
            self._transport.write(self._request)
        else:
            self._done.set_result(self._count)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._fail(f"the server closed the connection: {exc}")

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(reason))
        if self._transport is not None:
            self._transport.close()


async def storm(target: Target, *, connections: int, seconds: float) -> float:
    """Send requests on all connections for that long, and return how many were answered a second."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    waiting: list[asyncio.Future[int]] = []
    for _ in range(connections):
        done: asyncio.Future[int] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(target.request, start + seconds, done), "127.0.0.1", target.port
        )
    counts = await asyncio.gather(*waiting)
    return sum(counts) / (time.perf_counter() - start)


async def request_json(port: int, method: str, path: str, payload: Any) -> dict[str, Any]:
    """Send one request and return the answer's JSON."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(payload).encode()
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if head[9:10] != b"2":
        raise RuntimeError((head + b"\r\n" + rest).decode(errors="replace"))
    return json.loads(rest)
