"""The server's lines: in both forms, each with its request's id, none with a secret."""

from __future__ import annotations

import json
import logging

import httpx
import pytest
import structlog

from archetype.api.logging import configure_logging
from archetype.settings import LogFormat


@pytest.fixture
def lines(capsys):
    """Configure the log in one form, and read what it wrote; the process is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def written() -> list[str]:
        return capsys.readouterr().err.splitlines()

    def configured(form: LogFormat | None):
        configure_logging(form)
        capsys.readouterr()
        return written

    yield configured
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", [LogFormat.JSON, None], ids=["asked", "no-terminal"])
async def test_a_request_is_one_line_that_names_what_it_was_about(lite, lite_world, lines, form) -> None:
    """World, command and the id that the caller gave; of a key's owner the actor."""
    read = lines(form)
    sent = await lite.post("/worlds/demo/commands", json={}, headers={"X-Request-ID": "mine-1"})
    (line,) = (json.loads(each) for each in read())
    assert line["event"] == "request"
    assert line["request_id"] == "mine-1" == sent.headers["x-request-id"]
    assert (line["world"], line["status"], line["path"]) == ("demo", 202, "/worlds/{world}/commands")
    assert line["command_id"] == sent.json()["id"]
    assert line["level"] == "info"
    assert "actor_id" not in line


async def test_an_actor_is_named_and_a_key_never_written(lite, lines) -> None:
    """Not even one that does not hold."""
    actor = (await lite.post("/actors", json={"name": "ann", "roles": ["admin"]})).json()
    key = (await lite.post("/actors/ann/keys", json={})).json()["key"]
    read = lines(LogFormat.JSON)
    await lite.get("/worlds", headers={"Authorization": f"Bearer {key}"})
    await lite.get("/worlds", headers={"Authorization": f"Bearer {key}x"})
    written = read()
    first, second = (json.loads(each) for each in written)
    assert (first["actor_id"], first["status"]) == (actor["actor_id"], 200)
    assert (second["status"], "actor_id" in second) == (401, False)
    assert key.rpartition("_")[2] not in "".join(written)


async def test_lines_of_libraries_carry_the_id_of_the_request_too(lite, lines, monkeypatch) -> None:
    """Whatever is logged meanwhile; nothing of it stays for later lines."""
    read = lines(LogFormat.JSON)

    async def warns(*_: object) -> None:
        logging.getLogger("some.library").warning("odd")

    monkeypatch.setattr("archetype.store.database.Database.require_schema", warns)
    await lite.get("/readyz", headers={"X-Request-ID": "mine-2"})
    logging.getLogger("some.library").warning("later")
    odd, request, later = (json.loads(each) for each in read())
    assert (odd["event"], odd["request_id"], odd["level"]) == ("odd", "mine-2", "warning")
    assert request["request_id"] == "mine-2"
    assert (later["event"], "request_id" in later) == ("later", False)


async def test_an_unexpected_error_is_found_by_the_id_that_was_answered(lite, lines, monkeypatch) -> None:
    """The traceback is in the log, the id in both."""
    read = lines(LogFormat.JSON)

    async def fails(*_: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr("archetype.store.database.Database.require_schema", fails)
    answer: httpx.Response = await lite.get("/readyz")
    error = json.loads(read()[0])
    assert error["event"] == "unexpected"
    assert error["request_id"] == answer.json()["request_id"]
    assert "KeyError: 'broken'" in error["exception"]


async def test_text_is_for_people(lite, lines) -> None:
    """No JSON, and no colours where there is no terminal."""
    read = lines(LogFormat.TEXT)
    await lite.get("/healthz", headers={"X-Request-ID": "mine-3"})
    (line,) = read()
    assert "request_id=mine-3" in line
    assert not line.startswith("{")
    assert "\x1b" not in line
