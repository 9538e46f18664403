"""Fresh processes: imports, the command line, the server's start, and the server under load."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.databases import Databases
from bench.floors import insert_commands_s
from bench.load import Target, request_json, storm
from bench.measure import Row, median, timed
from bench.worlds import SPAWN_PAYLOAD

CONNECTIONS = 32
BATCH = 400
START_TIMEOUT_S = 30.0
ONE = json.dumps({"type": "spawn", "payload": SPAWN_PAYLOAD}).encode()
MANY = json.dumps({"commands": [{"type": "spawn", "payload": SPAWN_PAYLOAD}] * BATCH}).encode()

SERVER = """
from archetype.api.server import serve
serve(port={port}, modules=["archetype.examples.movement"])
"""
BARE_SERVER = """
import uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({{"type": "http.response.start", "status": 202, "headers": headers}})
    await send({{"type": "http.response.body", "body": b"{{}}"}})
uvicorn.run(app, host="127.0.0.1", port={port}, log_level="error", lifespan="off", access_log=False)
"""
BARE_LITESTAR = """
import uvicorn
from litestar import Litestar, get, post
from archetype.api.schemas.commands import CommandBody
@get("/readyz")
async def ready() -> dict[str, int]:
    return {{}}
@post("/", status_code=202)
async def take(data: CommandBody) -> dict[str, int]:
    return {{"tick": data.tick}}
app = Litestar([ready, take])
uvicorn.run(app, host="127.0.0.1", port={port}, log_level="error", lifespan="off", access_log=False)
"""


def imports(_databases: Databases, _kind: str, *, is_quick: bool) -> list[Row]:
    repeat = 3 if is_quick else 9
    bare = timed(lambda: _python("-c", "pass"), repeat=repeat)
    library = timed(lambda: _python("-c", "from archetype import ArchetypeRuntime"), repeat=repeat)
    found = [Row("from archetype import ArchetypeRuntime", "-", library, "s", 0.8, bare, "bare python")]
    program = Path(sys.executable).with_name("archetype")
    if (
        program.exists()
        and subprocess.run([program, "--help"], capture_output=True, check=False).returncode == 0
    ):
        shown = timed(
            lambda: subprocess.run([program, "--help"], capture_output=True, check=True), repeat=repeat
        )
        found.append(Row("archetype --help", "-", shown, "s", 0.5, bare, "bare python"))
    return found


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], env=_plain_environment(), check=True, capture_output=True)


def _plain_environment() -> dict[str, str]:
    """Return this environment, but let Python keep its byte code, as it does where a package is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def server(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    ready: list[float] = []
    rest: list[float] = []
    with databases.fresh(kind) as url:
        with _serving(SERVER, _environment(url)):
            pass  # its byte code is there from now on
        for _ in range(1 if is_quick else 3):
            with _serving(SERVER, _environment(url)) as (_, process, ready_s):
                ready.append(ready_s)
                time.sleep(1.0)
                rest.append(resident_mb(process.pid))
    with _serving(BARE_SERVER, _plain_environment()) as (_, process, bare_ready_s):
        time.sleep(0.5)
        bare_mb = resident_mb(process.pid)
    return [
        Row("server ready", kind, median(ready), "s", 2.0, bare_ready_s, "bare uvicorn"),
        Row("server at rest", kind, median(rest), "MB", 220.0, bare_mb, "bare uvicorn"),
    ]


def http(databases: Databases, kind: str, *, is_quick: bool) -> list[Row]:
    seconds = 2.0 if is_quick else 5.0
    with databases.fresh(kind) as url:
        with _serving(SERVER, _environment(url)) as (port, _, _ready_s):
            # A world each: no more than so many commands may wait in one.
            single = _storm(port, f"/worlds/{_world(port)}/commands", ONE, seconds)
            batched = _storm(port, f"/worlds/{_world(port)}/commands/batch", MANY, min(seconds, 4.0)) * BATCH
        batched_floor = asyncio.run(insert_commands_s(url, batch=BATCH))
    with _serving(BARE_SERVER, _plain_environment()) as (port, _, _ready_s):
        single_floor = _storm(port, "/", ONE, seconds)
    with _serving(BARE_LITESTAR, _plain_environment()) as (port, _, _ready_s):
        routed = _storm(port, "/", ONE, seconds)
    return [
        Row(
            f"commands over HTTP, {CONNECTIONS} connections",
            kind,
            single,
            "commands/s",
            2_500,
            single_floor,
            "bare uvicorn, same requests",
            note=f"a Litestar handler that checks the body and does nothing: {routed:,.0f}/s",
        ),
        Row(
            f"batches of {BATCH} over HTTP, {CONNECTIONS} connections",
            kind,
            batched,
            "commands/s",
            40_000,
            batched_floor,
            f"executemany of the same rows, {BATCH} a transaction",
        ),
    ]


def _world(port: int) -> str:
    return asyncio.run(request_json(port, "POST", "/worlds", {"name": f"bench-{time.time_ns()}"}))["world_id"]


@contextmanager
def answering(url: str) -> Iterator[int]:
    """Start a server over a database, and give its port."""
    with _serving(SERVER, _environment(url)) as (port, _, _ready_s):
        yield port


@contextmanager
def started(url: str) -> Iterator[tuple[int, float]]:
    """Start a server over a database; give its process id and how long it took until it answered."""
    with _serving(SERVER, _environment(url)) as (_, process, ready_s):
        yield process.pid, ready_s


def _storm(port: int, path: str, body: bytes, seconds: float) -> float:
    target = Target(port, path, body)
    asyncio.run(storm(target, connections=CONNECTIONS, seconds=0.5))
    return asyncio.run(storm(target, connections=CONNECTIONS, seconds=seconds))


def _environment(url: str) -> Mapping[str, str]:
    return _plain_environment() | {
        "ARCHETYPE_DATABASE_URL": url,
        "ARCHETYPE_MODULES": "archetype.examples.movement",
    }


@contextmanager
def _serving(
    code: str, environment: Mapping[str, str]
) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """Start a server; give its port, its process and how long it took until it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code.format(port=port)], env=dict(environment), stdout=said, stderr=said
        )
        try:
            _wait_until_ready(port, process, said)
            yield port, process, time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            message = f"the server did not start: {lines[-1] if lines else process.returncode}"
            raise RuntimeError(message)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if re.match(rb"HTTP/1.1 20[0-9]", connection.recv(64)):
                    return
        except OSError:
            pass
        time.sleep(0.01)
    message = f"the server did not answer within {START_TIMEOUT_S:.0f} s"
    raise RuntimeError(message)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    message = f"process {pid} has no VmRSS"
    raise RuntimeError(message)
