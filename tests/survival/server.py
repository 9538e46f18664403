"""Real server processes: started as users start them, killed, paused and woken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import archetype

__all__ = ["ServerProcess", "environment", "serving"]

MODULE = "archetype.examples.movement"
START_TIMEOUT_S = 120.0
"""Far more than a start takes, so that only a server which hangs fails by it."""


class ServerProcess:
    """`archetype serve` on a free loopback port; its log is read, so that it never waits for a reader."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: deque[str] = deque(maxlen=40)
        self._draining: asyncio.Task[None] | None = None
        self._is_killed = False
        self.url = ""

    @classmethod
    async def start(cls, database_url: str, *, prefix: tuple[str, ...] = ()) -> ServerProcess:
        """Start one and return once it is ready; `prefix` is a program that runs it, such as strace."""
        arguments = ("-m", "archetype", "serve", "--port", "0")
        process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            *arguments,
            "--database-url",
            database_url,
            "--module",
            MODULE,
            env=environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        server = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                server.url = await server._ready()
        except BaseException:
            await server.end()
            raise
        server._draining = asyncio.create_task(server._drain())
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """The last lines of what it said."""
        return "".join(self._said)

    def kill(self) -> None:
        """End it without a chance to do anything more; a second time does nothing."""
        if not self._is_killed:
            self._is_killed = True
            self._send(signal.SIGKILL)

    def pause(self) -> None:
        """Let it stand still, with its connections open, until `wake`."""
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    async def end(self) -> None:
        """Kill it if it still runs, and leave nothing behind."""
        self.kill()
        await self._process.wait()
        if self._draining is not None:
            await self._draining

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _ready(self) -> str:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._said.append(line.decode())
            if b'"event":"ready"' in line:
                return json.loads(line)["url"]
        raise AssertionError(f"the server did not start:\n{self.log}")

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._said.append(line.decode())


def environment() -> dict[str, str]:
    """Return an environment in which this very package is imported, and nothing else is set for it."""
    root = Path(archetype.__file__).parent.parent
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ARCHETYPE_")}
    return plain | {"PYTHONPATH": str(root)}


@asynccontextmanager
async def serving(database_url: str) -> AsyncIterator[ServerProcess]:
    server = await ServerProcess.start(database_url)
    try:
        yield server
    finally:
        await server.end()
