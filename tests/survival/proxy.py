"""A TCP proxy that does to connections what bad networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

__all__ = ["ChaosProxy", "proxied"]


class _Link:
    """A client's connection and the one behind it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.flowing = asyncio.Event()
        self.flowing.set()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class ChaosProxy:
    """Passes bytes on between clients and one server, until it is told to do otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._links: set[_Link] = set()
        self._fatal: int | None = None
        self.answer_count = 0
        self.lost_count = 0

    def lose_answer(self, number: int) -> None:
        """Swallow the `number`-th piece that the server answers from now on, and cut its connection."""
        self._fatal = self.answer_count + number

    def cut(self) -> None:
        """Cut every connection."""
        for link in list(self._links):
            link.cut()

    def stall(self) -> None:
        """Pass nothing on any more on the present connections, and leave them open."""
        for link in self._links:
            link.flowing.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, behind_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, reader, behind_writer, is_answer=False),
                self._pump(link, behind_reader, writer, is_answer=True),
            )
        finally:
            link.cut()
            self._links.discard(link)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await link.flowing.wait()
                if is_answer and self._is_lost():
                    break
                writer.write(data)
                await writer.drain()
        link.cut()

    def _is_lost(self) -> bool:
        self.answer_count += 1
        if self.answer_count != self._fatal:
            return False
        self.lost_count += 1
        return True


@asynccontextmanager
async def proxied(database_url: str, query: str = "") -> AsyncIterator[tuple[ChaosProxy, str]]:
    """Give a proxy before a PostgreSQL, and the database's URL through it."""
    parts = urlsplit(database_url)
    proxy = ChaosProxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    user = f"{parts.username}@" if parts.username else ""
    try:
        yield proxy, urlunsplit((parts.scheme, f"{user}127.0.0.1:{port}", parts.path, query, ""))
    finally:
        listening.close()
        proxy.cut()
