"""How much of bodies is held at once: to the byte, by kind, and no longer than a request takes."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.api import bodies
from archetype.api.bodies import Bodies, value_count
from archetype.errors import UnavailableError

JSON_MAX = 4


class Uploads:
    """Requests under way, whose bodies come in pieces when the test says so."""

    def __init__(self, **limits: int) -> None:
        self.now_s = 0.0
        self.app = Bodies(self._read, json_bytes_max=JSON_MAX, clock=lambda: self.now_s, **limits)

    async def _read(self, scope, receive, send) -> None:
        while (await receive())["more_body"]:
            pass
        await scope["answered"].wait()

    def begin(self, *, body_bytes_max: int = JSON_MAX) -> SimpleNamespace:
        pieces: asyncio.Queue = asyncio.Queue()
        route = SimpleNamespace(resolve_request_max_body_size=lambda: body_bytes_max)
        answered = asyncio.Event()
        scope = {"type": "http", "method": "POST", "route_handler": route, "answered": answered}
        task = asyncio.create_task(self.app(scope, pieces.get, None))
        return SimpleNamespace(pieces=pieces, answered=answered, task=task)


async def send(upload: SimpleNamespace, size_bytes: int, *, is_last: bool = False) -> None:
    """Send a piece, and let the server read it."""
    upload.pieces.put_nowait({"type": "http.request", "body": bytes(size_bytes), "more_body": not is_last})
    for _ in range(5):
        await asyncio.sleep(0)


async def end(*uploads: SimpleNamespace) -> None:
    for upload in uploads:
        upload.answered.set()
        await send(upload, 0, is_last=True)
        await upload.task


@pytest.mark.parametrize("kind", ["json", "bulk"])
async def test_bodies_fit_to_the_byte(kind):
    """The piece that goes beyond is refused, whoever's it is, and its request holds nothing any more."""
    uploads = Uploads(**{f"{kind}_held_bytes_max": 10})
    options = {"body_bytes_max": JSON_MAX + 1} if kind == "bulk" else {}
    first, second, third = (uploads.begin(**options) for _ in range(3))
    await send(first, 4)
    await send(second, 6)
    assert not first.task.done()
    assert not second.task.done()
    await send(third, 1)
    with pytest.raises(UnavailableError) as caught:
        await third.task
    assert caught.value.details["retry_after_s"] == 1.0
    await send(second, 1)
    with pytest.raises(UnavailableError):
        await second.task
    await send(first, 6)
    await end(first)


async def test_a_body_that_stopped_coming_makes_room_for_another(monkeypatch):
    """One whose client goes on sending stays, and nobody is hurt while there is room."""
    monkeypatch.setattr(bodies, "BYTES_PER_S_MIN", 1)
    uploads = Uploads(json_held_bytes_max=8)
    stalled, coming, whole = (uploads.begin() for _ in range(3))
    await send(stalled, 3)
    await send(coming, 1)
    await send(whole, 2, is_last=True)
    uploads.now_s = bodies.PATIENCE_S - 1
    await send(coming, 1)
    late = uploads.begin()
    await send(late, 2)
    with pytest.raises(UnavailableError, match="worked on already"):
        await late.task
    uploads.now_s = bodies.PATIENCE_S
    late = uploads.begin()
    await send(late, 3)
    with pytest.raises(UnavailableError, match="too slowly"):
        await stalled.task
    assert not late.task.done()
    await end(coming, whole, late)


async def test_a_body_that_trickles_counts_as_one_that_stopped():
    uploads = Uploads(json_held_bytes_max=8)
    trickling = uploads.begin()
    for _ in range(7):
        await send(trickling, 1)
        uploads.now_s += 1
    late = uploads.begin()
    await send(late, 4)
    with pytest.raises(UnavailableError, match="too slowly"):
        await trickling.task
    await end(late)


async def test_a_client_that_goes_away_too_early_is_no_fault_of_the_server(lite_world, lite):
    """Its request is answered, if only for the log, as one that was not right."""
    sent = []
    app = lite._transport.app
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/worlds/demo/commands",
        "raw_path": b"/worlds/demo/commands",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
    }
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    async def take(message):
        sent.append(message)

    await app(scope, receive, take)
    assert sent[0]["status"] == 400


async def test_a_body_is_held_until_its_request_is_answered():
    """And not longer, also when its client goes away."""
    uploads = Uploads(json_held_bytes_max=4)
    first = uploads.begin()
    await send(first, 4, is_last=True)
    refused = uploads.begin()
    await send(refused, 1, is_last=True)
    with pytest.raises(UnavailableError):
        await refused.task
    first.answered.set()
    await first.task
    second = uploads.begin()
    await send(second, 4)
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    third = uploads.begin()
    await send(third, 4)
    await end(third)


async def test_small_requests_do_not_wait_for_tables():
    uploads = Uploads(json_held_bytes_max=4, bulk_held_bytes_max=4)
    table, small = uploads.begin(body_bytes_max=JSON_MAX + 1), uploads.begin()
    await send(table, 4)
    await send(small, 4)
    await end(table, small)


TEXTS = st.text(st.sampled_from('[{,"\\a\u00e9\n'))
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


def marks(value: object) -> int:
    """Count the lists, objects and commas that a JSON value is written with."""
    if not isinstance(value, list | dict):
        return 0
    parts = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(parts) - 1, 0) + sum(map(marks, parts))


@given(VALUES, st.booleans(), st.integers(1, 9))
def test_values_are_counted_wherever_texts_begin_and_end(value, is_ascii, window_bytes):
    """Whatever stands in texts, and wherever the windows are cut in which they are looked through."""
    body = json.dumps(value, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bodies, "JSON_VALUES_MAX", -1)
        patched.setattr(bodies, "_WINDOW_BYTES", window_bytes)
        assert value_count(body) == marks(value)
