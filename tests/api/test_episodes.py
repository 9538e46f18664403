"""Episodes and rollouts over HTTP: waited for or not, followed by their run, refused by field."""

import json

import pytest

WATCHED = {"component": "Position", "field": "x", "comparison": ">=", "value": 4}
EPISODE = {"max_steps": 9, "condition": WATCHED, "returns": {"column": "Position.x", "reducer": "last"}}
ROLLOUT = {"episodes": 3, "max_steps": 2, "seed": 7, "returns": {"column": "Position.x"}}


async def follow(http, run_id):
    """Return the run as its stream of events ends with it."""
    text = (await http.get(f"/runs/{run_id}/events")).text
    return json.loads([line for line in text.splitlines() if line.startswith("data:")][-1][5:])


async def test_an_episode_is_answered_with_its_reason_and_return(http, world):
    answer = await http.post("/worlds/demo/episode", json=EPISODE)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["world_id"] == world
    assert (found["reason"], found["steps"]) == ("condition", found["to_tick"] - found["from_tick"])
    assert found["return_value"] >= 4
    run = (await http.get(f"/runs/{found['run_id']}")).json()
    assert (run["status"], run["reason"], run["return_value"]) == (
        "completed",
        "condition",
        found["return_value"],
    )
    (newest, *_) = (await http.get("/worlds/demo/ticks")).json()
    assert newest["commit_hash"] == found["commit_hash"]


async def test_an_episode_may_be_left_to_itself_and_followed(http, world):
    answer = await http.post("/worlds/demo/episode", json=EPISODE, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/runs/{answer.json()['run_id']}"
    assert (await follow(http, answer.json()["run_id"]))["reason"] == "condition"


async def test_a_rollout_is_answered_with_its_episodes_and_can_be_read_again(http, world):
    await http.post("/worlds/demo/step")
    answer = await http.post("/worlds/demo/rollout", json=ROLLOUT)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["status"], found["tick"], found["reasons"]) == ("completed", 0, {"max_steps": 3})
    assert [each["steps"] for each in found["episodes"]] == [2, 2, 2]
    assert found["returns"]["count"] == 3
    assert (await http.get(f"/rollouts/{found['run_id']}")).json() == found
    assert [each["name"] for each in (await http.get("/worlds")).json()] == ["demo"]


async def test_a_rollout_of_a_reference_is_retried_by_its_key(http, world):
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    first = await http.post("/worlds/demo@1/rollout", json=ROLLOUT, headers=headers)
    assert first.status_code == 202
    run_id = first.json()["run_id"]
    assert first.headers["location"] == f"/rollouts/{run_id}"
    assert (await follow(http, run_id))["ticks_completed"] == 6
    again = await http.post("/worlds/demo@1/rollout", json=ROLLOUT, headers=headers)
    assert again.json()["run_id"] == run_id
    assert (await http.get(f"/rollouts/{run_id}")).json()["tick"] == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        pytest.param("episode", {"max_steps": 0}, "max_steps", id="no-step"),
        pytest.param("episode", {"max_steps": 1, "terminal": "Nobody"}, "terminal", id="terminal"),
        pytest.param(
            "episode",
            {"max_steps": 1, "condition": {"component": "Position", "value": 1}},
            "condition",
            id="rule",
        ),
        pytest.param("rollout", {**ROLLOUT, "episodes": 1001}, "episodes", id="episodes"),
        pytest.param("rollout", {**ROLLOUT, "seeds": [1, 2, 3]}, "payload", id="both-seeds"),
        pytest.param("rollout", {"episodes": 2, "max_steps": 1, "seeds": [1]}, "payload", id="few-seeds"),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_field(http, world, path, body, field):
    before = (await http.get("/worlds/demo")).json()["version"]
    answer = await http.post(f"/worlds/demo/{path}", json=body)
    assert answer.status_code == 422
    assert any(fault["path"].startswith(field) for fault in answer.json()["errors"]), answer.text
    assert (await http.get("/worlds/demo")).json()["version"] == before


async def test_a_run_that_is_no_rollout_is_not_read_as_one(http, world, problem):
    run_id = (await http.post("/worlds/demo/run", json={"num_steps": 1})).json()["run_id"]
    problem(await http.get(f"/rollouts/{run_id}"), 404, "run_not_found")
