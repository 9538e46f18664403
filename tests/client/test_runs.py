"""Runs through the client, against real servers that are killed and stopped under them."""

from __future__ import annotations

import asyncio
import os
import signal
from uuid import uuid4

import pytest
from running_server import RunningServer

from archetype.client import ArchetypeClient
from archetype.errors import RunEndedError, RunNotFoundError, VersionConflictError
from archetype.service.verification.verify import verify
from archetype.store.database import Database

STEPS = 60


@pytest.fixture
def world(client) -> str:
    """A new world's name; its point moves."""
    return make_world(client)


def make_world(client) -> str:
    name = f"world {uuid4().hex[:8]}"
    client.create_world(name, seed=7)
    client.submit(name, "add_processor", {"processor": "MovementProcessor"})
    client.spawn(name, [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}])
    return name


def test_a_run_is_started_followed_and_listed(client, world):
    """The same command again is the same run; the last thing told is how it ended."""
    key = uuid4()
    started = client.start_run(world, 5, command_id=key)
    told = list(client.follow_run(started["run_id"]))
    assert (told[-1]["status"], told[-1]["ticks_completed"]) == ("completed", 5)
    assert client.start_run(world, 5, command_id=key) == told[-1]
    assert client.run_info(started["run_id"]) == told[-1]
    other = client.run(world, 2, wait=False)
    list(client.follow_run(other["run_id"]))
    assert [each["run_id"] for each in client.runs(world)] == [other["run_id"], started["run_id"]]
    assert client.runs(world, before=other["run_id"]) == [told[-1]]
    with pytest.raises(RunEndedError):
        client.cancel_run(started["run_id"], reason="too late")
    with pytest.raises(RunNotFoundError):
        list(client.follow_run(uuid4()))


def test_a_run_is_cancelled(client, world):
    started = client.start_run(world, 100_000)
    following = client.follow_run(started["run_id"])
    next(following)
    assert client.cancel_run(started["run_id"], reason="enough")["status"] in {"cancelling", "cancelled"}
    (*_, last) = following
    assert (last["status"], last["error"]) == ("cancelled", "enough")
    assert client.world(world)["tick"] == last["ticks_completed"]


def test_changes_insist_on_a_version(client, world):
    stale = client.world(world)["version"] - 1
    changes = [
        lambda: client.submit(world, "custom", {}, expected_version=stale),
        lambda: client.submit(world, "custom", {}, command_id=uuid4(), expected_version=stale),
        lambda: client.submit_batch(world, [{"type": "custom"}], expected_version=stale),
        lambda: client.spawn(world, [], expected_version=stale),
        lambda: client.despawn(world, 1, expected_version=stale),
        lambda: client.update(world, 1, [{"type": "Position", "x": 1.0}], expected_version=stale),
        lambda: client.add_components(world, 1, [{"type": "Position"}], expected_version=stale),
        lambda: client.remove_components(world, 1, ["Position"], expected_version=stale),
        lambda: client.step(world, expected_version=stale),
        lambda: client.run(world, expected_version=stale),
        lambda: client.start_run(world, expected_version=stale),
        lambda: client.fork_world(world, expected_version=stale),
        lambda: client.fork_many(world, "many", 2, expected_version=stale),
        lambda: client.configure_world(world, snapshots=5, expected_version=stale),
        lambda: client.remove_world(world, expected_version=stale),
    ]
    for change in changes:
        with pytest.raises(VersionConflictError) as caught:
            change()
        assert caught.value.details["expected_version"] == stale
        assert caught.value.details["actual_version"] == stale + 1


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_server_that_ends_in_the_middle_of_a_run_completes_it_when_it_comes_back(
    database_url, tmp_path, how
):
    """Exactly the ticks that were asked for, and whoever followed the run hears of its end."""
    with RunningServer(tmp_path, database_url) as server, ArchetypeClient(server.url) as client:
        world = make_world(client)
        started = client.start_run(world, STEPS)
        following = client.follow_run(started["run_id"])
        while next(following)["ticks_completed"] < 3:
            pass
        if how == "killed":
            os.kill(server._process.pid, signal.SIGKILL)
            server._process.wait()
        following.close()
    with RunningServer(tmp_path, database_url) as server, ArchetypeClient(server.url) as client:
        *_, last = client.follow_run(started["run_id"])
        assert (last["status"], last["ticks_completed"], last["error"]) == ("completed", STEPS, None)
        assert client.world(world)["tick"] == STEPS
        state = client.entity(world, 1)
        assert state["components"]["Position"]["x"] == float(STEPS)
    assert asyncio.run(faults_of(database_url)) == ()


async def faults_of(database_url):
    database = Database(database_url)
    try:
        return (await verify(database)).faults
    finally:
        await database.close()
