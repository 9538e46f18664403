"""`archetype run --detach` and `archetype runs`."""

from uuid import uuid4

import pytest

from archetype.client import ArchetypeClient


@pytest.fixture
def world(archetype):
    name = f"world-{uuid4().hex[:8]}"
    assert archetype("world", "create", name).code == 0
    return name


def test_a_detached_run_is_shown_followed_and_listed(archetype, world):
    started = archetype("run", world, "--steps", 4, "--detach").json
    assert (started["ticks_requested"], started["world"]) == (4, world)
    done = archetype("runs", "follow", started["run_id"]).json
    assert (done["status"], done["ticks_completed"]) == ("completed", 4)
    assert archetype("runs", "show", started["run_id"]).json == done
    archetype("step", world)
    listed = archetype("runs", "list", world).json
    assert [each["ticks_requested"] for each in listed] == [1, 4]
    assert archetype("runs", "list", world, "--before", listed[0]["run_id"]).json == [done]
    assert "completed" in archetype("runs", "list", world, "--limit", 1, "-o", "table").out


@pytest.mark.parametrize("verb", ["run", "episode"])
def test_whoever_leaves_a_run_is_told_how_it_goes_on(archetype, world, monkeypatch, verb):
    """An interrupt ends the command alone; the run's id is what one needs then."""

    def interrupted(name):
        def call(client, world, steps, *, command_id, **options):
            getattr(client, name)(world, 2, command_id=command_id)
            raise KeyboardInterrupt

        return call

    monkeypatch.setattr(ArchetypeClient, "run", interrupted("start_run"))
    monkeypatch.setattr(ArchetypeClient, "run_episode", interrupted("start_episode"))
    left = archetype(verb, world, "--steps" if verb == "run" else "--max-steps", 2)
    (listed,) = archetype("runs", "list", world).json
    assert left.code == 130
    assert f"runs follow {listed['run_id']}" in left.err
    assert f"runs cancel {listed['run_id']}" in left.err


def test_a_run_is_cancelled_with_a_reason(archetype, world):
    started = archetype("run", world, "--steps", 100000, "--detach").json
    cancelled = archetype("runs", "cancel", started["run_id"], "--reason", "wrong inputs").json
    assert cancelled["status"] in {"cancelling", "cancelled"}
    done = archetype("runs", "follow", started["run_id"]).json
    assert (done["status"], done["error"]) == ("cancelled", "wrong inputs")
    assert archetype("runs", "cancel", started["run_id"]).code == 0


def test_runs_that_cannot_be_cancelled_and_runs_that_are_not_there(archetype, world):
    run_id = archetype("step", world).json["run_id"]
    ended = archetype("runs", "cancel", run_id)
    assert (ended.code, "completed already" in ended.err) == (5, True)
    missing = archetype("runs", "show", uuid4())
    assert (missing.code, "archetype runs list" in missing.err) == (4, True)
