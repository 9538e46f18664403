"""The transport sends again what is safe to send again, for a while, and then says why it gives up."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from archetype.client import ArchetypeClient
from archetype.client.transport import Transport
from archetype.errors import (
    ArchetypeError,
    InvalidInputError,
    OverloadedError,
    SchemaOutdatedError,
    UnavailableError,
    VersionConflictError,
)

URL = "http://server.test:8000"


class Script:
    """A server that answers each request with the next entry: a response, or an error of the connection."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def problem(
    status: int, code: str, detail: str, *, retry_after: str | None = None, **more: object
) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json={"code": code, "detail": detail, **more}, headers=headers)


def client_of(script: Script, *, retry_s: float = 5.0) -> ArchetypeClient:
    return ArchetypeClient(URL, retry_s=retry_s, transport=httpx.MockTransport(script))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made; time passes by them alone."""
    made: list[float] = []
    monkeypatch.setattr("archetype.client.transport.time.sleep", made.append)
    monkeypatch.setattr("archetype.client.transport.monotonic_s", lambda: sum(made))
    return made


def test_a_broken_answer_is_asked_for_again_under_the_same_key(pauses):
    """The second copy of a changing request carries the key of the first."""
    script = Script(httpx.ReadError("reset"), httpx.Response(202, json={"id": "1"}))
    with client_of(script) as client:
        client.submit("demo", "custom")
    keys = [request.headers["Idempotency-Key"] for request in script.requests]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert len(pauses) == 1


def test_each_call_has_a_key_of_its_own():
    """Two calls are two commands, however alike they are."""
    script = Script(httpx.Response(202, json={}))
    with client_of(script) as client:
        client.step("demo")
        client.step("demo")
    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 2


def test_reads_carry_no_key():
    """A read changes nothing and needs none."""
    script = Script(httpx.Response(200, json=[]))
    with client_of(script) as client:
        client.list_worlds()
    assert "Idempotency-Key" not in script.requests[0].headers


@pytest.mark.parametrize(("status", "code"), [(429, "overloaded"), (503, "unavailable")])
def test_a_busy_server_is_asked_again_when_it_says(pauses, status, code):
    """Retry-After is the pause, to the second."""
    script = Script(problem(status, code, "wait", retry_after="2"), httpx.Response(200, json={"tick": 1}))
    with client_of(script) as client:
        assert client.step("demo") == {"tick": 1}
    assert pauses == [2.0]


def test_a_server_that_asks_for_more_time_than_there_is_gets_none(pauses):
    """A pause beyond the limit is not begun: the error comes at once, and says how long to wait."""
    script = Script(problem(429, "overloaded", "too many commands wait", retry_after="60"))
    with client_of(script) as client, pytest.raises(OverloadedError, match="too many") as caught:
        client.step("demo")
    assert pauses == []
    assert caught.value.details["retry_after_s"] == 60


def test_retries_end(pauses):
    """Without a hint the pauses grow, and all of them together stay within the limit."""
    script = Script(problem(503, "unavailable", "the database does not answer"))
    with client_of(script, retry_s=3) as client, pytest.raises(UnavailableError, match="database"):
        client.world("demo")
    assert 3 <= len(pauses) <= 20
    assert sum(pauses) <= 3


def test_an_outdated_schema_is_not_waited_for(pauses):
    """Waiting does not migrate a database."""
    script = Script(problem(503, "schema_outdated", "run `archetype db upgrade`", retry_after="1"))
    with client_of(script) as client, pytest.raises(SchemaOutdatedError):
        client.world("demo")
    assert pauses == []


def test_a_server_that_never_answered_is_not_waited_for(pauses):
    """A refused first connection is an answer: the line names the URL and how to start a server."""
    script = Script(httpx.ConnectError("[Errno 111] Connection refused"))
    with client_of(script) as client, pytest.raises(UnavailableError) as caught:
        client.step("demo")
    message = caught.value.message
    assert message == (
        f"no server answers at {URL} (Connection refused); "
        "start one with `archetype serve`, or set ARCHETYPE_URL"
    )
    assert pauses == []


def test_a_server_that_restarts_is_waited_for(pauses):
    """One that answered before, and refuses now, is coming back."""
    refused = httpx.ConnectError("refused")
    script = Script(httpx.ReadError("reset"), refused, refused, httpx.Response(200, json={"tick": 4}))
    with client_of(script) as client:
        assert client.step("demo") == {"tick": 4}
    assert len(pauses) == 3


def test_a_server_that_says_nothing_is_given_up(pauses):
    """A time-out has used the time that there was."""
    script = Script(httpx.ReadTimeout("slow"))
    with client_of(script) as client, pytest.raises(UnavailableError, match="did not answer within 30 s"):
        client.world("demo")
    assert pauses == []


def test_steps_and_runs_may_take_any_time():
    """A run is as long as it is; only its connection has a limit."""
    script = Script(httpx.Response(200, json={}))
    with client_of(script) as client:
        client.run("demo", 1000)
        client.world("demo")
    limits = [request.extensions["timeout"]["read"] for request in script.requests]
    assert limits == [None, 30.0]


def test_conflicts_are_not_tried_again(pauses):
    """A refusal is final, and keeps its facts."""
    answer = problem(412, "version_conflict", "read it again", expected_version=1, actual_version=3)
    with client_of(Script(answer)) as client, pytest.raises(VersionConflictError) as caught:
        client.submit("demo", "custom")
    assert caught.value.details == {"expected_version": 1, "actual_version": 3}
    assert pauses == []


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "nonsense", "http://[::1"])
def test_a_bad_url_is_refused_at_once(url):
    """What cannot be a server's URL is named before anything is sent."""
    with pytest.raises(InvalidInputError, match="no server URL"):
        Transport(url, timeout_s=1, retry_s=0)


def test_a_url_may_have_a_path():
    """A server behind a proxy may stand below a path."""
    script = Script(httpx.Response(200, json={}))
    transport = httpx.MockTransport(script)
    with ArchetypeClient("http://proxy.test/archetype/", transport=transport) as client:
        client.world("demo")
    assert str(script.requests[0].url) == "http://proxy.test/archetype/worlds/demo"


def test_names_are_quoted():
    """A world may be named with any character that a name may hold."""
    script = Script(httpx.Response(200, json={}))
    with client_of(script) as client:
        client.world("a b?c#d%")
    assert script.requests[0].url.raw_path == b"/worlds/a%20b%3Fc%23d%25"


def test_an_answer_of_another_kind_of_server_is_no_answer():
    """A web page in the place of JSON is said to be none."""
    script = Script(httpx.Response(200, text="<html>"))
    with client_of(script) as client, pytest.raises(UnavailableError, match="is it an archetype server"):
        client.world("demo")


def test_a_stream_that_leads_elsewhere_is_refused_and_its_connection_given_back():
    """The body of a redirect comes in parts too, and holds nothing."""
    ended = []

    def body() -> Iterator[bytes]:
        yield b"moved"
        ended.append(True)

    def moved(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "http://elsewhere.test/"}, content=body())

    with ArchetypeClient(URL, transport=httpx.MockTransport(moved)) as client:
        for stream in (client.log_events(after=0), client.events("demo", after=0)):
            with pytest.raises(ArchetypeError, match="answered 302"):
                next(stream)
    assert ended == [True, True]


def test_a_removal_whose_answer_was_lost_is_done(pauses):
    """The second try finds no world, because the first one removed it."""
    script = Script(
        httpx.Response(200, json={"world_id": "1f"}),
        httpx.ReadError("reset"),
        problem(404, "world_not_found", "world '1f' was removed"),
    )
    with client_of(script) as client:
        client.remove_world("demo")
    assert [request.url.path for request in script.requests] == ["/worlds/demo", "/worlds/1f", "/worlds/1f"]


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(value):
    """The fault is the caller's, and nothing has gone out."""
    script = Script(httpx.Response(202, json={}))
    with client_of(script) as client, pytest.raises(InvalidInputError, match="JSON"):
        client.spawn("demo", [{"type": "Position", "x": value}])
    assert script.requests == []
