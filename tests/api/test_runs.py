"""Runs over HTTP: asked for without waiting, read, followed and cancelled."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from applications import latched

ASYNC = {"Prefer": "respond-async"}


async def events_of(client, path, **headers):
    """Read a whole stream of events, as (id, type, data)."""
    answer = await client.get(f"{path}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "event" not in fields:
            continue  # only the place where the stream begins
        found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


async def test_a_run_without_waiting_answers_where_to_look(http, world):
    key = {"Idempotency-Key": str(uuid4())}
    answer = await http.post("/worlds/demo/run", json={"num_steps": 3}, headers=ASYNC | key)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    path = answer.headers["location"]
    assert path == f"/runs/{answer.json()['run_id']}"
    (*_, (last_id, kind, last)) = await events_of(http, path)
    assert (last_id, kind, last["status"], last["ticks_completed"]) == (3, "ended", "completed", 3)
    assert (await http.get(path)).json() == last
    assert last["finished_at"] is not None
    assert (last["world"], last["world_id"], last["ticks_requested"]) == ("demo", world, 3)
    again = await http.post("/worlds/demo/run", json={"num_steps": 3}, headers=ASYNC | key)
    assert again.headers["location"] == path
    waited = await http.post("/worlds/demo/run", json={"num_steps": 3}, headers=key)
    assert (waited.json()["run_id"], waited.json()["final_tick"]) == (last["run_id"], 3)
    assert (await http.get("/worlds/demo")).json()["tick"] == 3


async def test_progress_is_told_from_where_the_last_event_left_off(http, world):
    answer = await http.post("/worlds/demo/run", json={"num_steps": 4}, headers=ASYNC)
    path = answer.headers["location"]
    told = await events_of(http, path)
    ids = [each[0] for each in told]
    assert ids == sorted(ids)
    assert [kind for _, kind, _ in told] == ["progress"] * (len(told) - 1) + ["ended"]
    assert await events_of(http, path, **{"Last-Event-ID": "4"}) == told[-1:]


async def test_a_run_is_cancelled_once_and_only_while_it_runs(http, app, world, problem):
    latch = await latched(app, http, world)
    path = (await http.post("/worlds/demo/run", json={"num_steps": 9}, headers=ASYNC)).headers["location"]
    await latch.entered.wait()
    first = await http.post(f"{path}/cancel", json={"reason": "wrong inputs"})
    assert (first.status_code, first.json()["status"]) == (202, "cancelling")
    assert (await http.post(f"{path}/cancel")).status_code == 202
    latch.opened.set()
    (*_, (_, kind, last)) = await events_of(http, path)
    assert (kind, last["status"], last["ticks_completed"]) == ("ended", "cancelled", 1)
    assert last["error"] == "wrong inputs"
    assert (await http.post(f"{path}/cancel")).status_code == 200
    done = (await http.post("/worlds/demo/run", headers=ASYNC)).headers["location"]
    await events_of(http, done)
    problem(await http.post(f"{done}/cancel"), 409, "run_ended")


async def test_runs_are_listed_in_pages(http, world):
    ids = []
    for _ in range(3):
        ids.insert(0, (await http.post("/worlds/demo/step")).json()["run_id"])
    first = await http.get("/worlds/demo/runs", params={"limit": 2})
    second = await http.get(first.links["next"]["url"])
    assert [each["run_id"] for each in (*first.json(), *second.json())] == ids
    assert "next" not in second.links


@pytest.mark.parametrize("run_id", [str(uuid4()), "abc"], ids=["an id", "no id"])
async def test_runs_that_are_not_there(lite, problem, run_id):
    """The answer says how to find those that are."""
    path = f"/runs/{run_id}"
    assert "runs" in problem(await lite.get(path), 404, "run_not_found")["detail"].partition("exist")[2]
    problem(await lite.get(f"{path}/events"), 404, "run_not_found")
    problem(await lite.post(f"{path}/cancel"), 404, "run_not_found")
    problem(await lite.get(f"/rollouts/{run_id}"), 404, "run_not_found")


async def test_a_last_event_id_is_a_number(lite, lite_world, problem):
    run_id = (await lite.post("/worlds/demo/step")).json()["run_id"]
    answer = await lite.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": "x"})
    assert problem(answer, 422, "invalid_input")["errors"][0]["path"] == "Last-Event-ID"


async def test_a_world_that_runs_is_left_in_peace_by_requests_that_do_not_fit(lite, lite_world, problem):
    body = {"num_steps": -1}
    problem(await lite.post("/worlds/demo/run", json=body, headers=ASYNC), 422, "invalid_input")
    stale = ASYNC | {"If-Match": '"1"'}
    problem(await lite.post("/worlds/demo/run", headers=stale), 412, "version_conflict")
    assert (await lite.get("/worlds/demo/runs")).json() == []


async def test_the_document_says_what_runs_answer(lite):
    """Also what is answered before a run has ended."""
    paths = (await lite.get("/openapi.json")).json()["paths"]
    for verb in ("run", "episode", "rollout"):
        assert {"200", "202", "429"} <= paths[f"/worlds/{{world}}/{verb}"]["post"]["responses"].keys()
    assert {"200", "202"} <= paths["/runs/{run_id}/cancel"]["post"]["responses"].keys()
    assert "201" not in paths["/runs/{run_id}/cancel"]["post"]["responses"]
    streamed = paths["/runs/{run_id}/events"]["get"]["responses"]
    assert list(streamed["200"]["content"]) == ["text/event-stream"]
