"""A real server for the tests of the client and of the command line: a process of its own on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from archetype.client import ArchetypeClient

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
SYSTEMS = "served_systems"


class RunningServer:
    """`archetype serve` with the example and the systems beside it; use it as a context manager."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log = folder / "server.log"
        self.url = f"http://127.0.0.1:{port}"
        self.database_url = database_url or f"sqlite:///{folder / 'served.db'}"
        self._arguments = ["serve", "--port", str(port), "--database-url", self.database_url]
        self._arguments += ["--module", "archetype.examples.movement", "--module", SYSTEMS]

    def __enter__(self) -> RunningServer:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "archetype", *self._arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": _path()},
            )
        deadline = time.monotonic() + READY_WITHIN_S
        with ArchetypeClient(self.url, timeout_s=5) as client:
            while not client.is_ready():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError(self._log.read_text())
                time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _path() -> str:
    """Let the server find the systems too."""
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(Path(__file__).parent), *([inherited] if inherited else [])])
