"""A server in a process of its own, and what it takes of memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import archetype

START = """
import sys
from archetype.api.server import serve
serve(port=0, database_url=sys.argv[1], modules=sys.argv[2:], on_ready=lambda url: print(url, flush=True))
"""
WAIT_S = 30.0


class Running:
    """A server process and the URL that it said it is ready at."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def stop(self) -> tuple[int, list[dict]]:
        """Ask it to end, and return its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@contextmanager
def running(database_url: str, *modules: str, folder: Path) -> Iterator[Running]:
    root = Path(archetype.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning:archetype", "-c", START, database_url, *modules],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{folder}"},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise AssertionError(process.communicate()[1])
        yield Running(process, url)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_until(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def peak_mb(process: subprocess.Popen[str]) -> float:
    """Return the most memory that a process has held so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
