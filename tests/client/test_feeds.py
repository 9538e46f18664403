"""Following the log over HTTP: cut off anywhere, each event comes once and in order."""

from __future__ import annotations

import json
import threading
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_server import RunningServer

from archetype.client import ArchetypeClient
from archetype.errors import InvalidInputError, UnavailableError, WorldNotFoundError

URL = "http://server.test:8000"
WORLD = "/worlds/0190"


class Log:
    """A server with a log of some events, whose answers break after as many bytes as it is told."""

    def __init__(self, count: int, cuts: list[int], text: str = "") -> None:
        self.count = count
        self.cuts = list(cuts)
        self.text = text
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if request.url.path == "/worlds/gone/events":
            return httpx.Response(404, json={"code": "world_not_found", "detail": "gone"})
        place = int(request.headers.get("Last-Event-ID", request.url.params.get("after", self.count)))
        headers = {"Content-Location": f"{WORLD}/events"}
        if place == self.count:
            return httpx.Response(204, headers=headers)
        body = f"id: {place}\n\n: heartbeat\nid: {place}\n\n".encode() + b"".join(
            f"id: {each}\nevent: custom\ndata: {self.data(each)}\n\n".encode()
            for each in range(place + 1, self.count + 1)
        )
        cut = self.cuts.pop() if self.cuts else len(body)
        return httpx.Response(200, headers=headers, content=broken(body, cut))

    def data(self, position: int) -> str:
        return json.dumps({"position": position, "payload": {"text": self.text}}, ensure_ascii=False)


def broken(body: bytes, cut: int):
    for start in range(0, min(cut, len(body)), 7):
        yield body[start : min(start + 7, cut)]
    if cut < len(body):
        raise httpx.ReadError("reset")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr("archetype.client.transport.time.sleep", made.append)
    return made


@given(
    count=st.integers(0, 9),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    after=st.integers(0, 9),
    text=st.sampled_from(["", "é\u2028\x85", "a\nb\r", "😀: "]),
)
def test_whatever_the_cuts_each_event_comes_once_and_in_order(count, cuts, after, text):
    log = Log(count, cuts, text)
    with ArchetypeClient(URL, transport=httpx.MockTransport(log)) as client:
        found = list(client.events("demo", min(after, count)))
    assert [event["position"] for event in found] == list(range(min(after, count) + 1, count + 1))
    assert {event["payload"]["text"] for event in found} <= {text}


def test_a_reader_who_comes_back_asks_for_the_same_world_by_its_id(pauses):
    """A name may be another world's by then."""
    log = Log(3, [60])
    with ArchetypeClient(URL, transport=httpx.MockTransport(log)) as client:
        assert len(list(client.events("demo", 0))) == 3
    assert log.paths == ["/worlds/demo/events", *[f"{WORLD}/events"] * 2]


def test_a_server_that_only_hangs_up_is_asked_ever_more_slowly(pauses):
    log = Log(1, [0] * 8)
    with ArchetypeClient(URL, transport=httpx.MockTransport(log)) as client:
        assert len(list(client.events("demo", 0))) == 1
    assert len(pauses) == 8
    assert max(pauses) <= 2.0
    assert sum(pauses[4:]) > sum(pauses[:4])


def test_what_the_server_refuses_is_raised_at_once():
    log = httpx.MockTransport(Log(1, []))
    with ArchetypeClient(URL, transport=log) as client, pytest.raises(WorldNotFoundError):
        next(client.events("gone"))


@pytest.fixture
def named(client) -> str:
    name = f"fed-{uuid4().hex[:8]}"
    client.create_world(name)
    return name


def test_events_of_a_world_and_of_the_log(client, named):
    """Of these kinds and types, and up to the end where nobody wants to wait."""
    client.submit(named, "custom", {"number": 1})
    client.step(named)
    found = list(client.events(named, 0, follow=False))
    assert [event["type"] for event in found] == [
        "create_world", "custom", "step", "tick_committed", "run_finished",
    ]  # fmt: skip
    facts = list(client.events(named, 0, kinds=["fact"], types=["tick_committed"], follow=False))
    assert facts == [found[3]]
    whole = list(client.log_events(0, follow=False))
    assert [event["position"] for event in whole] == list(range(1, len(whole) + 1))
    assert [event for event in whole if event["world_id"] == found[0]["world_id"]] == found
    assert list(client.events(named, follow=False)) == []
    with pytest.raises(InvalidInputError, match="not reached"):
        next(client.log_events(10**9))


def test_a_feed_ends_when_its_world_is_removed(client, named):
    found: list[str] = []
    reader = threading.Thread(
        target=lambda: found.extend(event["type"] for event in client.events(named, 0)), daemon=True
    )
    reader.start()
    client.submit(named, "custom")
    client.remove_world(named)
    reader.join(30)
    assert found == ["create_world", "custom", "destroy_world"]


def test_a_reader_outlives_its_server_and_misses_nothing(database_url, tmp_path, monkeypatch):
    """The server ends while the reader waits, another comes in its place, and more is written."""
    monkeypatch.undo()
    server = RunningServer(tmp_path, database_url)
    with server, ArchetypeClient(server.url) as writing:
        writing.create_world("demo")
    numbers: list[int] = []
    reached = {count: threading.Event() for count in (5, 10)}

    def read() -> None:
        for event in reading.events("demo", 1, types=["custom"]):
            numbers.append(event["payload"]["number"])
            if len(numbers) in reached:
                reached[len(numbers)].set()

    with ArchetypeClient(server.url, retry_s=60.0) as reading:
        reader = threading.Thread(target=read, daemon=True)
        for start in (0, 5):
            with server, ArchetypeClient(server.url) as writing:
                if not start:
                    reader.start()
                for number in range(start, start + 5):
                    writing.submit("demo", "custom", {"number": number})
                assert reached[start + 5].wait(60)
                if start:
                    writing.remove_world("demo")
                    reader.join(60)
    assert numbers == list(range(10))
    assert not reader.is_alive()


def test_a_server_that_stays_away_is_an_error(client, named, monkeypatch):
    with ArchetypeClient("http://127.0.0.1:9") as nowhere, pytest.raises(UnavailableError):
        next(nowhere.log_events())
