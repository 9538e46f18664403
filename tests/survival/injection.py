"""Faults of the system, injected into a writer by strace: which call, which fault, and the how-manieth."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from survival.load import ANSWER_TIMEOUT_S
from survival.server import environment

__all__ = ["CannotTraceError", "Fault", "write_under"]

WRITER = Path(__file__).with_name("writer.py")


class CannotTraceError(Exception):
    """This machine lets nobody trace: strace is missing, or ptrace is forbidden."""


@dataclass(frozen=True)
class Fault:
    """What happens at the `number`-th of a system call: `signal=KILL`, `error=EIO`, `error=ENOSPC`."""

    call: str
    effect: str
    number: int

    @property
    def expression(self) -> str:
        return f"inject={self.call}:{self.effect}:when={self.number}"


async def write_under(fault: Fault, url: str, world_id: UUID, ids: list[UUID]) -> list[dict[str, Any]]:
    """Let a writer work under a fault, and return what it said: `done` is last if it came to its end.

    Raises `CannotTraceError` where that cannot be tried.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise CannotTraceError("strace is not installed")
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        arguments = [sys.executable, str(WRITER), url, str(world_id), *map(str, ids)]
        pipe = asyncio.subprocess.PIPE
        writer = await asyncio.create_subprocess_exec(*arguments, env=environment(), stdin=pipe, stdout=pipe)
        assert writer.stdin is not None
        assert writer.stdout is not None
        tracer = None
        try:
            await writer.stdout.readline()
            tracer = await _attached(strace, writer.pid, fault)
            writer.stdin.write(b"go\n")
            lines = [json.loads(line) async for line in writer.stdout]
            writer.stdin.close()
        except BaseException:
            writer.kill()
            raise
        finally:
            await writer.wait()
            if tracer is not None:
                await tracer.communicate()
    return lines


async def _attached(strace: str, pid: int, fault: Fault) -> asyncio.subprocess.Process:
    """Trace a process and all its threads; calls are counted from here on, in each thread by itself."""
    arguments = ("-f", "-p", str(pid), "-e", f"trace={fault.call}", "-e", fault.expression, "-o", "/dev/null")
    tracer = await asyncio.create_subprocess_exec(strace, *arguments, stderr=asyncio.subprocess.PIPE)
    assert tracer.stderr is not None
    line = (await tracer.stderr.readline()).decode()
    if "attached" not in line:
        await tracer.wait()
        raise CannotTraceError(line.strip() or "strace says nothing")
    return tracer
