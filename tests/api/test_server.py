"""The real server, in a process of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from server_process import WAIT_S, running, wait_until

from archetype.api.server import serve
from archetype.errors import InvalidInputError, UnavailableError

SLOW = '''
"""A processor that takes its time."""
import asyncio
from archetype import AsyncProcessor
from archetype.examples.movement import Position


class ServerSlow(AsyncProcessor):
    components = (Position,)

    async def process(self, df, **kwargs):
        await asyncio.sleep(0.2)
        return df
'''


def test_sigterm_ends_a_run_behind_its_tick(database_url: str, tmp_path: Path) -> None:
    """Exit 0, the request answered 503, every committed tick there for the next server, which goes on."""
    (tmp_path / "server_slow.py").write_text(SLOW)
    answers: list[httpx.Response] = []
    with running(database_url, "server_slow", folder=tmp_path) as server:
        client = httpx.Client(base_url=server.url, timeout=WAIT_S)
        wait_until(lambda: client.get("/readyz").status_code == 200)
        client.post("/worlds", json={"name": "demo"})
        client.post(
            "/worlds/demo/commands", json={"type": "add_processor", "payload": {"processor": "ServerSlow"}}
        )
        client.post("/worlds/demo/entities", json={"components": [{"type": "Position"}]})

        def run() -> None:
            answers.append(
                httpx.post(f"{server.url}/worlds/demo/run", json={"num_steps": 1000}, timeout=WAIT_S)
            )

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: client.get("/worlds/demo").json()["tick"] >= 2)
        before = client.get("/worlds/demo").json()["tick"]
        code, log = server.stop()
        thread.join()
        client.close()
    assert code == 0
    (answer,) = answers
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    completed = answer.json()["ticks_completed"]
    assert before <= completed < 1000
    assert log[0]["event"] == "ready"
    assert log[0]["url"] == server.url
    lines = [line for line in log if line["event"] == "request" and line["path"] == "/worlds/{world}/run"]
    assert [(line["status"], line["world"]) for line in lines] == [(503, "demo")]
    assert {line["event"] for line in log} == {"ready", "request"}
    with running(database_url, "server_slow", folder=tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
            path = f"/runs/{answer.json()['run_id']}"
            wait_until(lambda: client.get(path).json()["ticks_completed"] > completed)
            assert client.get("/worlds/demo/entities/1").status_code == 200
            assert client.post(f"{path}/cancel", json={"reason": "enough"}).status_code == 202
            wait_until(lambda: client.get(path).json()["status"] == "cancelled")
            run = client.get(path).json()
            assert client.get("/worlds/demo").json()["tick"] == run["ticks_completed"]
            assert client.post("/worlds/demo/step").json()["tick"] == run["ticks_completed"] + 1
        code, _ = server.stop()
        assert code == 0


def test_a_stalled_client_does_not_hold_up_the_end(sqlite_url: str, tmp_path: Path) -> None:
    """A request whose body never comes is cut off."""
    with running(sqlite_url, folder=tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as stalled:
            stalled.sendall(b"POST /worlds HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert httpx.get(f"{server.url}/healthz").status_code == 200
            start = time.monotonic()
            code, _ = server.stop()
            assert code == 0
            assert time.monotonic() - start < 10


def test_hosts_that_others_can_reach_are_refused_until_there_is_a_key(sqlite_url: str) -> None:
    """The two commands that make one are named."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(InvalidInputError, match=r"actor create .* key create"):
            serve(host=host, port=0, database_url=sqlite_url)


def test_a_port_in_use_is_named(sqlite_url: str) -> None:
    """Before anything is opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=str(port)):
            serve(port=port, database_url=sqlite_url)


def test_a_database_without_its_schema_ends_the_start(postgres_template: str, tmp_path: Path) -> None:
    """The error reaches whoever starts the server, and says what to run."""
    url = os.environ["ARCHETYPE_TEST_POSTGRES_URL"]
    with pytest.raises(AssertionError) as failed, running(url, folder=tmp_path):
        pass
    last = str(failed.value).splitlines()[-1]
    assert last.startswith("archetype.errors.SchemaOutdatedError: ")
    assert "archetype db upgrade" in last
