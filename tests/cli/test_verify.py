"""`archetype verify` on both databases."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest

from archetype.core.config import WorldConfig
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest


async def _build(url: str) -> None:
    async with ServiceContainer(url) as services:
        info = await services.world_service.create_world(WorldConfig(name="demo", seed=1))
        spawn = CommandRequest("spawn", {"components": [{"type": "Position", "x": 1}]})
        await services.command_service.submit_batch(info.world_id, [spawn, spawn])
        await services.simulation_service.run(info.world_id, RunRequest(steps=3))


@pytest.fixture
def verify(command, database_url):
    """Run `archetype verify …` on a database with a world of three ticks."""
    import archetype.examples.movement  # noqa: F401  its components must be loaded

    asyncio.run(_build(database_url))
    return lambda *arguments: command("verify", *arguments, "--database-url", database_url)


@pytest.fixture
def damaged(command, sqlite_url):
    """Run `archetype verify …` on a file with two log rows edited."""
    asyncio.run(_build(sqlite_url))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("UPDATE events SET priority = 1 WHERE position IN (2, 3)")
    connection.close()
    return lambda *arguments: command("verify", *arguments, "--database-url", sqlite_url)


def test_a_sound_past_is_counted(verify):
    """Nothing on stderr, 0."""
    done = verify()
    assert (done.code, done.err) == (0, "")
    assert {name: done.json[name] for name in ("is_sound", "worlds", "events", "ticks")} == {
        "is_sound": True,
        "worlds": 1,
        "events": 8,
        "ticks": 3,
    }
    assert "commit_hash" not in done.json


def test_a_world_shows_the_hash_to_keep(verify):
    """What one command prints, the other expects."""
    kept = verify("demo").json
    assert (kept["tick"], len(kept["commit_hash"])) == (2, 64)
    assert verify("demo@2", "--expect", kept["commit_hash"]).code == 0
    failed = verify("demo@1", "--expect", kept["commit_hash"], "-o", "json")
    assert failed.code == 6
    (fault,) = json.loads(failed.out)
    assert fault["kind"] == "commit"
    assert kept["commit_hash"] in fault["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody",), 4, "nobody"),
        (("demo@9",), 4, "tick 9"),
        (("demo@1x",), 2, "demo@120"),
        (("demo", "--expect", "abc"), 2, "64 hex digits"),
        (("--expect", "0" * 64), 2, "name it"),
    ],
    ids=["no such world", "no such tick", "no tick", "no hash", "a hash of nothing"],
)
def test_what_cannot_be_checked_is_said(verify, arguments, code, said):
    """In one line, with the code that fits."""
    failed = verify(*arguments)
    assert failed.code == code
    assert said in failed.err
    assert failed.err.count("\n") == 1


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "table"])
def test_faults_are_rows_and_end_with_6(damaged, form):
    """The rows go to stdout in every form, the sum of it to stderr."""
    failed = damaged("-o", form)
    assert failed.code == 6
    assert "position 2" in failed.out
    assert "position 3" in failed.out
    assert "3 faults, the first at position 2: does not match its hash" in failed.err
    assert failed.err.count("\n") == 1


def test_nothing_there_is_nothing_to_verify(command, tmp_path):
    """Looking leaves no file behind; a file that is no database is damaged."""
    path = tmp_path / "none.db"
    assert command("verify", "--database-url", f"sqlite:///{path}").code == 7
    assert not path.exists()
    path.write_bytes(b"x" * 50_000)
    failed = command("verify", "--database-url", f"sqlite:///{path}")
    assert failed.code == 6
    assert "not a database" in failed.err
