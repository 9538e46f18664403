"""`archetype episode` and `archetype rollout`."""

from uuid import uuid4

import pytest

RETURN = ("--return", "Position.x:last")


@pytest.fixture
def world(archetype):
    name = f"world-{uuid4().hex[:8]}"
    assert archetype("world", "create", name, "--seed", 3).code == 0
    assert archetype("processor", "add", name, "MovementProcessor").code == 0
    components = ("-c", 'Position={"x": 0}', "-c", 'Velocity={"dx": 1}')
    assert archetype("entity", "spawn", name, *components).code == 0
    archetype("step", name)
    return name


def test_an_episode_runs_until_its_condition_holds(archetype, world):
    found = archetype("episode", world, "--max-steps", 50, "--until", "all Position.x >= 4", *RETURN).json
    assert (found["steps"], found["reason"], found["return_value"]) == (3, "condition", 4)
    terminal = archetype("episode", world, "-n", 5, "--terminal", "Velocity").json
    assert (terminal["steps"], terminal["reason"]) == (0, "terminal")


def test_a_detached_episode_is_followed_as_a_run(archetype, world):
    started = archetype("episode", world, "-n", 3, "--detach").json
    done = archetype("runs", "follow", started["run_id"]).json
    assert (done["status"], done["reason"]) == ("completed", "max_steps")


def test_a_rollout_prints_its_episodes_and_their_returns(archetype, world):
    found = archetype("rollout", f"{world}@0", "--episodes", 3, "-n", 2, "--seed", 7, "-p", 2, *RETURN).json
    assert [each["return_value"] for each in found["episodes"]] == [3, 3, 3]
    assert (found["returns"]["mean"], found["returns"]["std"]) == (3, 0)
    assert (found["status"], found["tick"]) == ("completed", 0)
    assert "completed" in archetype("rollout", world, "-e", 1, "-n", 1, "-o", "table").out


def test_a_detached_rollout_is_cancelled_as_a_run(archetype, world):
    started = archetype("rollout", world, "-e", 50, "-n", 10000, "--detach").json
    assert archetype("runs", "cancel", started["run_id"], "--reason", "enough").code == 0
    done = archetype("runs", "follow", started["run_id"]).json
    assert (done["status"], done["error"]) == ("cancelled", "enough")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param(("--until", "nothing to see"), "is no condition", id="until"),
        pytest.param(("--return", "Position"), "returns.column", id="return"),
        pytest.param(("--terminal", "Nobody"), "Nobody", id="terminal"),
    ],
)
def test_rules_that_fit_nothing_are_refused(archetype, world, options, named):
    refused = archetype("episode", world, "-n", 1, *options)
    assert (refused.code, named in refused.err) == (2, True), refused.err
