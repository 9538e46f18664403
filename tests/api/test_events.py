"""Live feeds over HTTP: what a stream says, where it begins, and how it ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from unittest.mock import Mock
from uuid import UUID

import pytest
import uvicorn
from applications import latched
from keyed_client import keyed

from archetype.api.sending import STALLED
from archetype.api.server import Server
from archetype.api.sources import FeedSource, RunSource
from archetype.api.streaming import EventStreams, closed_block
from archetype.errors import AuthenticationError, OverloadedError
from archetype.service.container import ServiceContainer

WITHIN_S = 30.0


def blocks(text):
    """The blocks of a stream: each a dictionary of its fields, comments under an empty name."""
    for block in text.split("\n\n"):
        if block:
            yield dict(line.split(": ", 1) for line in block.split("\n"))


def events(text):
    return [json.loads(block["data"]) for block in blocks(text) if "data" in block]


async def test_a_stream_gives_each_event_with_its_position_and_type(http, world):
    await http.post(f"/worlds/{world}/step")
    answer = await http.get("/worlds/demo/events", params={"after": 0, "follow": "false"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["content-location"] == f"/worlds/{world}/events"
    first, *rest = blocks(answer.text)
    assert first == {"id": "0"}
    found = events(answer.text)
    assert [(int(block["id"]), block["event"]) for block in rest] == [
        (event["position"], event["type"]) for event in found
    ]
    assert [event["type"] for event in found] == [
        "create_world",
        "add_processor",
        "spawn",
        "step",
        "tick_committed",
        "run_finished",
    ]
    spawn = found[2]
    assert (spawn["kind"], spawn["world_id"], spawn["version"], spawn["tick"]) == ("command", world, 3, 0)
    assert spawn["payload"]["components"][0] == {"type": "Position", "x": 1, "y": 0}


async def test_the_log_of_all_worlds_is_one_stream(lite, lite_world):
    other = (await lite.post("/worlds", json={"name": "other"})).json()["world_id"]
    found = events((await lite.get("/events?after=0&follow=false")).text)
    assert [event["position"] for event in found] == [1, 2, 3, 4]
    assert [event["world_id"] for event in found] == [lite_world] * 3 + [other]


@pytest.mark.parametrize("after", [None, "0", "3"], ids=["alone", "before", "behind"])
async def test_the_last_event_id_says_where_to_go_on(lite, lite_world, after):
    params = {"follow": "false"} | ({} if after is None else {"after": after})
    answer = await lite.get("/worlds/demo/events", params=params, headers={"Last-Event-ID": "2"})
    assert [event["position"] for event in events(answer.text)] == [3]


@pytest.mark.parametrize(
    ("query", "positions"),
    [("kinds=fact", []), ("kinds=command", [1, 2, 3]), ("types=spawn,tick_committed", [3])],
    ids=["facts", "commands", "types"],
)
async def test_a_stream_holds_what_is_wanted(lite, lite_world, query, positions):
    answer = await lite.get(f"/worlds/demo/events?after=0&follow=false&{query}")
    assert [event["position"] for event in events(answer.text)] == positions
    assert answer.status_code == (200 if positions else 204)


@pytest.mark.parametrize(
    ("query", "last_id", "path"),
    [
        ("", "x", "Last-Event-ID"),
        ("", "-1", "Last-Event-ID"),
        ("", str(2**64), "Last-Event-ID"),
        ("", "99", "after"),
        ("after=-1", None, "after"),
        ("after=99", None, "after"),
        ("kinds=row", None, "kinds"),
        ("types=spawned", None, "types"),
    ],
    ids=["word", "negative", "huge", "another log's", "after", "after the end", "kind", "type"],
)
async def test_a_place_or_filter_that_cannot_be_is_refused(lite, lite_world, problem, query, last_id, path):
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    document = problem(await lite.get(f"/worlds/demo/events?{query}", headers=headers), 422, "invalid_input")
    assert [error["path"] for error in document["errors"]] == [path]


async def test_an_unknown_world_has_no_stream(lite, problem):
    problem(await lite.get("/worlds/none/events"), 404, "world_not_found")


async def test_a_removed_world_is_read_to_its_end_by_its_id_and_then_there_is_no_more(http, world, problem):
    """204 is what keeps a reader from asking for ever."""
    await http.delete(f"/worlds/{world}")
    answer = await http.get(f"/worlds/{world}/events?after=3")
    assert [event["type"] for event in events(answer.text)] == ["destroy_world"]
    assert (await http.get(f"/worlds/{world}/events", headers={"Last-Event-ID": "4"})).status_code == 204
    problem(await http.get("/worlds/demo/events"), 404, "world_not_found")


async def test_a_stream_ends_when_the_server_stops(app, http, world):
    reading = asyncio.create_task(http.get("/worlds/demo/events?after=0"))
    while not app.state.streams.open_count:
        await asyncio.sleep(0)
    app.state.stopping.set()
    answer = await asyncio.wait_for(reading, WITHIN_S)
    assert len(events(answer.text)) in {0, 3}
    assert app.state.streams.open_count == 0


async def allowed():
    """Raise nothing: the reader may go on."""


@asynccontextmanager
async def streaming(database_url, recheck=allowed, **options):
    """Streams over fresh services, with an empty log."""
    async with ServiceContainer(database_url) as services:
        stopping = asyncio.Event()
        streams = EventStreams(stopping, **options)

        async def opened(after=0):
            async def source():
                return FeedSource(await services.live_service.feed(after))

            return await streams.answer(source, "/events", recheck=recheck)

        yield streams, opened


async def test_heartbeats_come_while_nothing_happens_and_say_where_the_reader_stands(sqlite_url):
    """As often as the clock says, and not by the wall: each turn of it is one."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async with streaming(sqlite_url, heartbeat_s=15.0, sleep=sleep) as (_, opened):
        chunks = (await opened()).iterator
        assert [await anext(chunks) for _ in range(3)] == [
            b"id: 0\n\n",
            b": heartbeat\nid: 0\n\n",
            b": heartbeat\nid: 0\n\n",
        ]
        await chunks.aclose()
    assert set(slept) == {15.0}


async def test_streams_beyond_the_limit_are_refused_until_one_ends(sqlite_url):
    async with streaming(sqlite_url, streams_max=1) as (streams, opened):
        response = (await opened()).to_asgi_response(None, None)
        with pytest.raises(OverloadedError) as caught:
            await opened()
        assert caught.value.details["retry_after_s"] == 5.0

        async def receive():
            return {"type": "http.disconnect"}

        async def send(_message):
            pass

        scope = {"type": "http", "headers": [], "extensions": {}}
        await asyncio.wait_for(response(scope, receive, send), WITHIN_S)
        assert streams.open_count == 0
        (await opened()).to_asgi_response(None, None)._ended()


async def test_a_place_that_is_refused_takes_no_stream(app, http, world):
    await http.get("/events?after=99")
    assert app.state.streams.open_count == 0


async def test_too_many_streams_are_answered_429(sqlite_app, lite, problem):
    sqlite_app.state.streams._streams_max = 0
    answer = await lite.get("/events")
    problem(answer, 429, "overloaded")
    assert answer.headers["retry-after"] == "5"


async def test_a_stream_whose_reader_is_not_permitted_any_more_says_so_and_ends(sqlite_url):
    """It is asked at each heartbeat."""
    beats = []

    async def recheck():
        beats.append(1)
        if len(beats) == 3:
            raise AuthenticationError("key k is revoked")

    async def sleep(_seconds):
        pass

    async with streaming(sqlite_url, recheck, sleep=sleep) as (_, opened):
        *_, last = [chunk async for chunk in (await opened()).iterator]
    assert last == closed_block("unauthenticated", "key k is revoked")
    assert b"id:" not in last
    assert len(beats) == 3


async def test_a_busy_stream_is_asked_too(sqlite_url):
    """A stream that never rests has no heartbeats."""

    async def refuse():
        raise AuthenticationError("key k is revoked")

    async with streaming(sqlite_url, refuse, heartbeat_s=0) as (_, opened):
        assert [chunk async for chunk in (await opened()).iterator] == [
            closed_block("unauthenticated", "key k is revoked")
        ]


@pytest.mark.parametrize("path", ["/events", "/worlds/demo/events", "/runs/{}/events"], ids=str)
async def test_revoking_a_key_ends_its_streams(app, http, world, path):
    """Whatever is followed; streams of others go on."""
    latch = await latched(app, http, world)
    run = await http.post("/worlds/demo/run", json={"num_steps": 9}, headers={"Prefer": "respond-async"})
    path = path.format(run.json()["run_id"])
    services = app.dependencies["services"].dependency()
    app.state.streams._heartbeat_s = 0.01
    async with await keyed(app, "admin") as client:
        key_id = (await client.get("/me")).json()["key_id"]
        reading = asyncio.create_task(client.get(path))
        while not app.state.streams.open_count:
            await asyncio.sleep(0)
        await services.identity_service.revoke_key(key_id)
        answer = await asyncio.wait_for(reading, WITHIN_S)
    latch.opened.set()
    last = list(blocks(answer.text))[-1]
    assert last["event"] == "closed"
    assert json.loads(last["data"])["code"] == "unauthenticated"
    assert app.state.streams.open_count == 0


class Transport:
    """A connection whose reader takes what it is sent once it may."""

    def __init__(self):
        self.may_read, self.is_cut = asyncio.Event(), asyncio.Event()
        self.taken = []
        self.waiting = 0

    async def send(self, message):
        self.waiting += 1
        await self.may_read.wait()
        self.waiting -= 1
        self.taken.append(message.get("body", b""))
        if message.get("more_body") is False:
            self.is_cut.set()

    async def receive(self):
        await self.is_cut.wait()
        return {"type": "http.disconnect"}


async def test_a_reader_who_is_too_slow_is_told_and_dropped(sqlite_url):
    """What waited comes, then the notice, and the stream is over."""
    patience = []
    transport = Transport()

    async def sleep(seconds):
        patience.append(seconds)
        if len(patience) == 2:
            transport.may_read.set()
        await (asyncio.Event().wait() if len(patience) > 1 else asyncio.sleep(0))

    async with streaming(sqlite_url, patience_s=30.0, heartbeat_s=7e9, sleep=sleep) as (streams, opened):
        response = (await opened()).to_asgi_response(None, None)
        scope = {"type": "http", "headers": [], "extensions": {}, "state": {}}
        await asyncio.wait_for(response(scope, transport.receive, transport.send), WITHIN_S)
        assert streams.open_count == 0
    assert patience[:2] == [30.0, 30.0]
    assert transport.taken[1] == b"id: 0\n\n"
    assert transport.taken[2].startswith(b'event: closed\ndata: {"code": "slow_reader"')
    assert scope["state"] == {}


async def test_a_reader_who_never_reads_is_cut_off(sqlite_url):
    """Its place is free then, and nothing is kept for it but the one piece that was being sent."""
    transport = Transport()

    async def sleep(_seconds):
        await asyncio.sleep(0)
        assert transport.waiting <= 1

    async with streaming(sqlite_url, sleep=sleep) as (streams, opened):
        response = (await opened()).to_asgi_response(None, None)
        scope = {"type": "http", "headers": [], "extensions": {}, "state": {}}
        await asyncio.wait_for(response(scope, transport.receive, transport.send), WITHIN_S)
        assert streams.open_count == 0
    assert transport.taken == []
    assert scope["state"] == {STALLED: True}


def test_the_server_aborts_connections_that_were_given_up():
    """Only those: one that is idle has no request."""
    server = Server(uvicorn.Config(app=None), on_started=lambda: None, on_stop=lambda: None)

    def connection(state):
        cycle = None if state is None else SimpleNamespace(scope={"state": state})
        return SimpleNamespace(cycle=cycle, transport=Mock())

    connections = [connection(None), connection({}), connection({STALLED: True})]
    server.server_state.connections = connections
    asyncio.run(server.on_tick(10))
    assert [each.transport.abort.called for each in connections] == [False, False, True]


async def test_the_stream_of_a_run_has_heartbeats_and_takes_a_place(app, http, world):
    """It says first where its reader stands, and counts among the streams that are open."""
    latch = await latched(app, http, world)
    run = await http.post("/worlds/demo/run", json={"num_steps": 2}, headers={"Prefer": "respond-async"})
    await latch.entered.wait()
    services = app.dependencies["services"].dependency()

    async def sleep(_seconds):
        pass

    async def opening():
        return RunSource(services.run_service.feed(UUID(run.json()["run_id"]), after=0))

    streams = EventStreams(asyncio.Event(), sleep=sleep)
    chunks = (await streams.answer(opening, "/", recheck=allowed)).iterator
    said = [await anext(chunks) for _ in range(2)]
    latch.opened.set()
    await chunks.aclose()
    assert streams.open_count == 1
    assert said == [b"id: 0\n\n", b": heartbeat\nid: 0\n\n"]
