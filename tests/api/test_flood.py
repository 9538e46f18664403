"""More than a server can take: it refuses in time, holds no more than it says, and goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import httpx
import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
import uvicorn
from applications import opened
from server_process import peak_mb, running

from archetype.api.server import Server
from archetype.core.bulk import encode_batch
from archetype.limits import BULK_ROWS_MAX
from archetype.service.appender import FLUSH_COMMANDS_MAX, FLUSHERS_MAX
from archetype.store.database import Database
from archetype.store.schema import events

WITHIN_S = 60.0
BATCH = 1_000
QUEUED_MAX = 20_000
FLYING_MAX = FLUSHERS_MAX * FLUSH_COMMANDS_MAX
"""What has left the queue for the database and is not answered yet."""
FLOOD_MB = 150.0
UPLOAD_BYTES = 16 * 1024 * 1024
UPLOADS_MB = 400.0
TABLES_MB = 1_500.0
PIECE_BYTES_MAX = 3 * 1024 * 1024


@asynccontextmanager
async def stalled(database_url: str) -> AsyncIterator[None]:
    """Hold the log's lock, so that the server's writers wait."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT lock_log()")
            yield
    finally:
        await other.close()


async def logged(database_url: str) -> Counter:
    """Count how often each command stands in the log."""
    database = Database(database_url)
    try:
        statement = sa.select(events.c.event_id).where(events.c.type == "custom")
        return Counter(await database.read(lambda connection: list(connection.scalars(statement))))
    finally:
        await database.close()


async def test_a_flood_on_a_stalled_database_is_refused_beyond_the_queue(database_url, tmp_path) -> None:
    """Whoever is not refused is answered when the database is back, and is in the log once."""
    batches = [[str(uuid4()) for _ in range(BATCH)] for _ in range(40)]

    async def send(client: httpx.AsyncClient, ids: list[str]) -> httpx.Response:
        commands = [{"type": "custom", "payload": {"n": 1}, "id": each} for each in ids]
        return await client.post("/worlds/demo/commands/batch", json={"commands": commands})

    with running(database_url, folder=tmp_path) as server:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=WITHIN_S, limits=limits) as client:
            assert (await client.post("/worlds", json={"name": "demo"})).status_code == 201
            before_mb = peak_mb(server.process)
            async with stalled(database_url):
                sent = {asyncio.create_task(send(client, ids)): ids for ids in batches}
                waiting, refused = set(sent), []
                while len(waiting) * BATCH > QUEUED_MAX + FLYING_MAX:
                    done, waiting = await asyncio.wait(
                        waiting, return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S
                    )
                    assert done
                    refused += done
                assert (await client.get("/worlds/demo")).status_code == 200
            await asyncio.wait(waiting)
            grown_mb = peak_mb(server.process) - before_mb
            assert (await send(client, [str(uuid4())])).status_code == 202
    answers = {task: task.result() for task in sent}
    assert {answer.status_code for answer in answers.values()} <= {202, 429, 503}
    assert all(answers[task].status_code == 429 for task in refused)
    assert all("retry-after" in each.headers for each in answers.values() if each.status_code != 202)
    accepted = [ids for task, ids in sent.items() if answers[task].status_code == 202]
    assert len(accepted) * BATCH >= QUEUED_MAX
    counted = await logged(database_url)
    assert {str(each) for each in counted} >= {each for ids in accepted for each in ids}
    assert counted.total() == len(counted) == len(accepted) * BATCH + 1
    assert grown_mb < FLOOD_MB


@dataclass(frozen=True)
class Body:
    """What an upload sends, and where to."""

    path: str
    media_type: str
    content: bytes


class Upload:
    """A large body on a connection of its own, all of it sent but the last byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: Body) -> None:
        self._reader = reader
        self._writer = writer
        self._head = f"POST {body.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {body.media_type}"
        self._body = body.content

    @classmethod
    async def begin(cls, url: str, body: Body) -> Upload:
        host, port = url.removeprefix("http://").split(":")
        upload = cls(*await asyncio.open_connection(host, int(port)), body)
        await upload.send()
        return upload

    async def send(self) -> None:
        self._writer.write(f"{self._head}\r\nContent-Length: {len(self._body)}\r\n\r\n".encode())
        for start in range(0, len(self._body) - 1, 1 << 18):
            self._writer.write(self._body[start : min(start + (1 << 18), len(self._body) - 1)])
            await self._writer.drain()

    def finish(self) -> None:
        self._writer.write(self._body[-1:])

    async def answer(self) -> tuple[int, bytes]:
        """Return the status and the head of an answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        await self._reader.readexactly(length)
        return int(head.split()[1]), head.lower()

    def close(self) -> None:
        self._writer.close()


def json_body() -> Body:
    text = "t" * 1_000_000
    commands = [{"type": "custom", "payload": {"text": text}} for _ in range(16)]
    content = json.dumps({"commands": commands}).encode().ljust(UPLOAD_BYTES)
    return Body("/worlds/demo/commands/batch", "application/json", content)


def arrow_body() -> Body:
    """A table of as many rows as are allowed, a little less than a quarter of the tables that are held."""
    values = np.random.default_rng(1).normal(size=BULK_ROWS_MAX)
    names = ("position__x", "position__y", "velocity__dx", "velocity__dy")
    table = pa.table(dict.fromkeys(names, values))
    return Body("/worlds/demo/entities/bulk", "application/vnd.apache.arrow.stream", encode_batch(table))


@pytest.mark.parametrize(
    ("body", "upload_count", "held_count", "grown_mb"),
    [(json_body, 24, 2, UPLOADS_MB), (arrow_body, 12, 4, TABLES_MB)],
    ids=["json", "arrow"],
)
async def test_a_flood_of_large_bodies_is_refused_beyond_what_is_held(
    sqlite_url, tmp_path, body, upload_count, held_count, grown_mb
) -> None:
    """As many as fit are read to their end; the others are told to come again, and do."""
    sent = body()
    with running(sqlite_url, "archetype.examples.movement", folder=tmp_path) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=WITHIN_S) as client:
            assert (await client.post("/worlds", json={"name": "demo"})).status_code == 201
            before_mb = peak_mb(server.process)
            uploads = await asyncio.gather(*(Upload.begin(server.url, sent) for _ in range(upload_count)))
            answering = {asyncio.create_task(upload.answer()): upload for upload in uploads}
            held = set(answering)
            while len(held) > held_count:
                done, held = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
                assert done
            refused = [task for task in answering if task not in held]
            assert {task.result()[0] for task in refused} == {503}
            assert all(b"\r\nretry-after: 1\r\n" in task.result()[1] for task in refused)
            assert (await client.get("/healthz")).status_code == 200
            for upload in uploads:
                upload.finish()
            assert [status for status, _ in await asyncio.gather(*held)] == [202] * held_count
            again = answering[refused[0]]
            await again.send()
            again.finish()
            assert (await again.answer())[0] == 202
            for upload in uploads:
                upload.close()
        assert peak_mb(server.process) - before_mb < grown_mb


@asynccontextmanager
async def serving(app) -> AsyncIterator[tuple[Server, tuple[str, int]]]:
    """Serve an application in this process, and give the server and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = asyncio.Event()
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
        server = Server(config, on_started=started.set, on_stop=app.state.stopping.set)
        task = asyncio.create_task(server.serve([listener]))
        await asyncio.wait_for(started.wait(), WITHIN_S)
        try:
            yield server, listener.getsockname()
        finally:
            app.state.stopping.set()
            server.should_exit = True
            await task


async def test_readers_who_never_read_are_cut_off_on_their_sockets(sqlite_url) -> None:
    """Meanwhile one piece waits for each, however much of the log they asked for; others are served."""
    text = "t" * 1_000_000
    commands = [{"type": "custom", "payload": {"text": text}} for _ in range(15)]
    readers = []
    async with opened(sqlite_url) as app, serving(app) as (server, (host, port)):
        app.state.streams._patience_s = 1.0
        connections = server.server_state.connections
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=WITHIN_S) as client:
            await client.post("/worlds", json={"name": "demo"})
            sent = await client.post("/worlds/demo/commands/batch", json={"commands": commands})
            assert sent.status_code == 202
            for _ in range(4):
                reader = socket.socket()
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                reader.setblocking(False)
                await asyncio.get_running_loop().sock_connect(reader, (host, port))
                reader.send(b"GET /worlds/demo/events?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                readers.append(reader)
            waiting_bytes: dict[object, int] = {}
            async with asyncio.timeout(WITHIN_S):
                while len(waiting_bytes) < 4 or app.state.streams.open_count or len(connections) > 1:
                    for each in connections:
                        if size_bytes := each.transport.get_write_buffer_size():
                            waiting_bytes[each] = max(size_bytes, waiting_bytes.get(each, 0))
                    assert (await client.get("/healthz")).status_code == 200
            assert len(connections) == 1
        for reader in readers:
            reader.close()
    assert len(waiting_bytes) == 4
    assert max(waiting_bytes.values()) < PIECE_BYTES_MAX
