"""`archetype world thin`, `archetype gc` and `archetype world replay`, beside a running server."""

import random
import uuid

import pytest

from archetype.client import ArchetypeClient

MODULE = "archetype.examples.movement"


@pytest.fixture
def moving(server):
    """The name of a world that has run for a while; no other has its values, and so its pages."""
    name = f"moving-{uuid.uuid4().hex[:8]}"
    with ArchetypeClient(server.url) as client:
        client.create_world(name, seed=5)
        client.submit(name, "add_processor", {"processor": "MovementProcessor"})
        client.spawn(name, [{"type": "Position"}, {"type": "Velocity", "dx": random.random()}])
        client.run(name, 9)
    return name


def test_a_dry_run_says_what_would_go_and_changes_nothing(archetype, moving):
    planned = archetype("world", "thin", moving, "--dry-run").json
    assert (planned["stored_count"], planned["droppable_count"]) == (9, 8)
    assert planned["kept"] == {"the newest": 1}
    assert planned["size_bytes"] > 0
    assert archetype("world", "thin", moving, "--dry-run").json == planned


def test_thinning_says_what_it_does_and_the_past_stays_readable(archetype, moving):
    before = archetype("query", moving, "--tick", 4, "--types", "Position").json["rows"]
    done = archetype("world", "thin", moving, "--keep-every", 4, "--reason", "tidy", "--yes", "-m", MODULE)
    assert (done.json["ticks_dropped"], done.json["unproved"]) == (6, {})
    assert f"6 of 9 snapshots of '{moving}' can go" in done.err
    planned = archetype("gc", "--dry-run").json
    assert planned["page_count"] == 5, "the x after tick 0 is the velocity's own page"
    assert archetype("gc", "--yes").json == planned
    assert archetype("gc", "--yes").json == {"page_count": 0, "size_bytes": 0}
    assert archetype("query", moving, "--tick", 4, "--types", "Position").json["rows"] == before
    (thinned,) = [each for each in archetype("history", moving).json if each["type"] == "thin_world"]
    assert thinned["payload"] == {"ticks_dropped": 6, "keep_every": 4, "reason": "tidy"}


def test_thinning_by_age_keeps_all_of_a_young_world(archetype, moving):
    planned = archetype("world", "thin", moving, "--keep", "log-spaced", "--dry-run").json
    assert (planned["droppable_count"], planned["kept"]) == (0, {"log-spaced": 8, "the newest": 1})
    done = archetype("world", "thin", moving, "--keep", "log-spaced", "--keep-every", 2, "--dry-run")
    assert done.code == 2
    assert "choose one" in done.err


def test_thinning_a_world_that_is_not_there_is_an_error(archetype):
    assert archetype("world", "thin", "nobody", "--dry-run").code == 4


def test_a_database_that_is_not_there_is_not_made(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("gc", "--database-url", "sqlite:///missing.db")
    assert done.code == 7
    assert not list(tmp_path.iterdir())


def test_a_replay_by_the_server_compares_every_tick(archetype, moving):
    report = archetype("world", "replay", moving).json
    assert (report["from_tick"], report["divergence"], report["ticks_skipped"]) == (0, None, 0)
    assert report["ticks_compared"] == report["to_tick"] == 9
    part = archetype("world", "replay", moving, "--from", 2, "--to", 5).json
    assert (part["from_tick"], part["to_tick"], part["ticks_compared"]) == (2, 5, 3)
    assert archetype("world", "replay", f"{moving}@3").json["to_tick"] == 4


def test_a_replay_goes_on_from_part_to_part(archetype, moving, monkeypatch):
    monkeypatch.setattr("archetype.cli.replay._TICKS_AT_ONCE", 2)
    part = archetype("world", "replay", moving, "--from", 1, "--to", 8).json
    assert (part["from_tick"], part["to_tick"], part["ticks_compared"]) == (1, 8, 7)


def test_a_replay_without_a_server_loads_the_code_itself(archetype, moving, server):
    report = archetype(
        "world", "replay", moving, "--to", 3, "--database-url", server.database_url, "-m", MODULE
    )
    assert report.json["ticks_compared"] == 3


def test_a_divergence_ends_with_6_and_says_where(archetype, moving, server, monkeypatch):
    from archetype.examples.movement import MovementProcessor

    process = MovementProcessor.process

    async def other(self, df, **kwargs):
        from daft import col

        moved = await process(self, df, **kwargs)
        return moved.with_column("position__y", col("position__y") + 1.0)

    monkeypatch.setattr(MovementProcessor, "process", other)
    monkeypatch.setattr(MovementProcessor, "_fingerprint", "0" * 64, raising=False)
    done = archetype("world", "replay", moving, "--from", 7, "--database-url", server.database_url)
    assert done.code == 6
    assert "tick 7 does not come out as recorded: position__y of Position+Velocity differs" in done.err
    assert "the code of MovementProcessor is not the recorded one" in done.err
