"""Worlds over HTTP."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest


async def test_a_world_is_made_and_read_by_name_and_id(http) -> None:
    """201 with every field; the ETag is the version."""
    made = await http.post(
        "/worlds", json={"name": "demo", "seed": 7, "storage_uri": "./x", "namespace": "archetypes"}
    )
    assert made.status_code == 201
    body = made.json()
    assert made.headers["location"] == f"/worlds/{body['world_id']}"
    assert body["seed"] == 7
    assert body["tick"] == 0
    assert body["entity_count"] == 0
    assert body["parent_id"] is None
    assert set(body) == {
        "world_id", "name", "tick", "entity_count", "parent_id", "fork_tick", "version", "seed", "created_at",
        "snapshots", "scheduler",
    }  # fmt: skip
    assert (body["snapshots"], body["scheduler"]) == (1, None)
    by_name, by_id = await http.get("/worlds/demo"), await http.get(f"/worlds/{body['world_id']}")
    assert by_name.json() == by_id.json() == body
    assert by_name.headers["etag"] == f'"{body["version"]}"'


async def test_a_name_is_taken_once(http, problem) -> None:
    """409 while a live world has it, free again when that one is gone."""
    first = (await http.post("/worlds", json={"name": "demo"})).json()
    document = problem(await http.post("/worlds", json={"name": "demo"}), 409, "name_taken")
    assert document["world_id"] == first["world_id"]
    gone = await http.delete("/worlds/demo", params={"reason": "done"})
    assert gone.status_code == 204
    assert gone.content == b""
    problem(await http.get("/worlds/demo"), 404, "world_not_found")
    problem(await http.get(f"/worlds/{first['world_id']}"), 404, "world_not_found")
    problem(await http.delete("/worlds/demo"), 404, "world_not_found")
    problem(await http.post(f"/worlds/{first['world_id']}/commands", json={}), 409, "world_archived")
    again = await http.post("/worlds", json={"name": "demo"})
    assert again.status_code == 201
    assert again.json()["world_id"] != first["world_id"]


async def test_making_a_world_again_with_the_same_key_or_id_is_answered_alike(http) -> None:
    """A retry makes no second world."""
    key = {"Idempotency-Key": "first try"}
    first = await http.post("/worlds", json={"name": "demo"}, headers=key)
    again = await http.post("/worlds", json={"name": "demo"}, headers=key)
    assert first.json()["world_id"] == again.json()["world_id"]
    own = {"name": "own", "world_id": str(uuid4())}
    assert (await http.post("/worlds", json=own)).json()["world_id"] == own["world_id"]
    assert (await http.post("/worlds", json=own)).status_code == 201
    assert len((await http.get("/worlds")).json()) == 2


async def test_listing_follows_links(http) -> None:
    """Pages in order of birth; the last has no link."""
    made = [(await http.post("/worlds", json={"name": f"w{n}"})).json()["world_id"] for n in range(5)]
    seen: list[str] = []
    url: str | None = "/worlds?limit=2"
    while url is not None:
        page = await http.get(url)
        seen.extend(world["world_id"] for world in page.json())
        url = page.links.get("next", {}).get("url")
    assert seen == made


async def test_a_retried_removal_leaves_the_next_world_of_that_name(http, world, problem) -> None:
    """By its name or its id, once or again; another key removes the new one."""
    key = {"Idempotency-Key": "remove it"}
    assert (await http.delete("/worlds/demo", headers=key)).status_code == 204
    assert (await http.delete("/worlds/demo", headers=key)).status_code == 204
    again = (await http.post("/worlds", json={"name": "demo"})).json()["world_id"]
    for reference in ("demo", world):
        assert (await http.delete(f"/worlds/{reference}", headers=key)).status_code == 204
    assert (await http.get("/worlds/demo")).json()["world_id"] == again
    other = {"Idempotency-Key": "remove that"}
    assert (await http.delete("/worlds/demo", headers=other)).status_code == 204
    problem(await http.get("/worlds/demo"), 404, "world_not_found")


async def test_a_fork_shares_the_past(http, world, problem) -> None:
    """A fork at a tick has its state; without a name it is named after its parent."""
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    fork = await http.post("/worlds/demo/fork", json={"name": "what-if", "tick": 1})
    assert fork.status_code == 201
    assert fork.json()["parent_id"] == world
    assert fork.json()["fork_tick"] == 1
    assert fork.json()["tick"] == 2
    assert fork.json()["entity_count"] == 1
    there = (await http.get("/worlds/what-if/entities/1")).json()
    then = (await http.get("/worlds/demo/entities/1?tick=1")).json()
    assert there["components"] == then["components"]
    unnamed = (await http.post("/worlds/demo/fork")).json()
    assert unnamed["name"].startswith("demo-")
    assert int(unnamed["name"].removeprefix("demo-"), 16) >= 0
    problem(await http.post("/worlds/demo/fork", json={"tick": 9}), 404, "tick_not_found")
    problem(await http.post("/worlds/demo/fork", json={"name": "demo"}), 409, "name_taken")
    problem(await http.post("/worlds/nowhere/fork"), 404, "world_not_found")


async def test_a_fork_with_a_key_is_made_once(http, world) -> None:
    """A retry without a name answers the same fork."""
    key = {"Idempotency-Key": str(uuid4())}
    first = (await http.post("/worlds/demo/fork", headers=key)).json()
    again = (await http.post("/worlds/demo/fork", headers=key)).json()
    assert UUID(first["world_id"]) == UUID(again["world_id"]) == UUID(key["Idempotency-Key"])


async def test_a_world_is_configured(http, world, problem) -> None:
    """When its states are stored; the log has the change, a retry makes no second one."""
    assert (await http.post("/worlds", json={"name": "rare", "snapshots": "needed"})).json()[
        "snapshots"
    ] == "needed"
    key = {"Idempotency-Key": "every tenth"}
    for _ in range(2):
        changed = await http.patch("/worlds/demo", json={"snapshots": 10}, headers=key)
        assert (changed.status_code, changed.json()["snapshots"]) == (200, 10)
        assert changed.headers["etag"] == f'"{changed.json()["version"]}"'
    assert (await http.get("/worlds/demo")).json() == changed.json()
    assert (await http.post("/worlds/demo/fork", json={"name": "alike"})).json()["snapshots"] == 10
    kinds = [each["type"] for each in (await http.get("/worlds/demo/commands")).json()]
    assert kinds.count("configure_world") == 1
    refused = await http.patch("/worlds/demo", json={"snapshots": "often"})
    assert problem(refused, 422, "invalid_input")["errors"] == [
        {"path": "snapshots", "message": "must be a number of ticks from 1 to 1000000, or 'needed'"}
    ]
    problem(await http.patch("/worlds/demo", json={}), 422, "invalid_input")
    problem(await http.patch("/worlds/nowhere", json={"snapshots": 1}), 404, "world_not_found")


async def test_a_fork_begins_where_a_reference_says(http, world, problem) -> None:
    """A tick, a way back or a label behind the @; a tick beside it must be the same."""
    await http.post("/worlds/demo/run", json={"num_steps": 5})
    await http.post("/worlds/demo@1/labels", json={"name": "early"})
    forked = {
        reference: (await http.post(f"/worlds/{reference}/fork")).json()["fork_tick"]
        for reference in ("demo", "demo@2", "demo@-1", "demo@early", f"{world}@early")
    }
    assert forked == {"demo": 4, "demo@2": 2, "demo@-1": 3, "demo@early": 1, f"{world}@early": 1}
    assert (await http.post("/worlds/demo@2/fork", json={"tick": 2})).json()["fork_tick"] == 2
    problem(await http.post("/worlds/demo@2/fork", json={"tick": 3}), 422, "invalid_input")
    problem(await http.post("/worlds/demo@2/fork", json={"tick": -1}), 422, "invalid_input")
    problem(await http.post("/worlds/demo@5/fork"), 404, "tick_not_found")
    problem(await http.post("/worlds/demo@late/fork"), 404, "label_not_found")
    bare = (await http.post("/worlds/demo/fork", json={"tick": -1})).json()
    assert (bare["fork_tick"], bare["tick"], bare["entity_count"]) == (-1, 0, 0)


async def test_many_forks_are_made_at_once_or_none(http, world, problem) -> None:
    """A list in the order of their numbers, each with the next seed; a retry makes no more."""
    await http.post("/worlds/demo/step")
    key = {"Idempotency-Key": str(uuid4())}
    asked = {"name": "try", "count": 3, "seed": 50}
    made = await http.post("/worlds/demo/fork", json=asked, headers=key)
    assert made.status_code == 201
    assert [(each["name"], each["seed"]) for each in made.json()] == [
        ("try-1", 50),
        ("try-2", 51),
        ("try-3", 52),
    ]
    again = await http.post("/worlds/demo/fork", json=asked, headers=key)
    assert (again.status_code, again.json()) == (201, made.json())
    problem(await http.post("/worlds/demo/fork", json={"name": "try", "count": 4}), 409, "name_taken")
    assert len((await http.get("/worlds")).json()) == 4
    other = await http.post("/worlds/demo/fork", json={"name": "other"}, headers=key)
    problem(other, 409, "command_conflict")
    assert len((await http.post("/worlds/demo/fork", json={"count": 1})).json()) == 1


@pytest.mark.parametrize("body", [{}, {"name": "kept"}, {"count": 2}], ids=["unnamed", "named", "many"])
async def test_a_retried_fork_outlives_its_parent(http, world, problem, body) -> None:
    """By its id or its name; another key makes none, and neither does the id of a world."""
    await http.post("/worlds/demo/step")
    keys = {world: {"Idempotency-Key": "words"}, "demo": {"Idempotency-Key": str(uuid4())}}
    bodies = {world: body, "demo": body | ({"name": "other"} if "name" in body else {})}
    first = {
        reference: await http.post(f"/worlds/{reference}/fork", json=bodies[reference], headers=key)
        for reference, key in keys.items()
    }
    await http.delete("/worlds/demo")
    for reference, key in keys.items():
        again = await http.post(f"/worlds/{reference}/fork", json=bodies[reference], headers=key)
        assert (again.status_code, again.json()) == (201, first[reference].json())
    new, taken = {"Idempotency-Key": str(uuid4())}, {"Idempotency-Key": world}
    problem(await http.post("/worlds/demo/fork", headers=new), 404, "world_not_found")
    problem(await http.post(f"/worlds/{world}/fork"), 404, "world_not_found")
    problem(await http.post("/worlds/demo/fork", headers=taken), 409, "command_conflict")


async def test_a_fork_takes_what_waits_where_it_is_asked_to(http, world) -> None:
    """Its first step applies what the parent's next one does."""
    await http.post("/worlds/demo/step")
    await http.post("/worlds/demo/entities", json={"components": [{"type": "Position"}]})
    bodies = {"with": {"include_pending": True}, "without": {}}
    for name, body in bodies.items():
        await http.post("/worlds/demo/fork", json={"name": name, **body})
        await http.post(f"/worlds/{name}/step")
    counted = [(await http.get(f"/worlds/{name}")).json()["entity_count"] for name in bodies]
    assert counted == [2, 1]


async def test_a_path_with_an_empty_part_is_no_other_path(http, world) -> None:
    """Clients make one of `labels/..`; without its last part it would be the world's own."""
    for path in (f"{world}/", "demo/", "demo//", "/demo", "demo/entities/1/", "demo//entities"):
        for method in ("GET", "DELETE", "POST"):
            answer = await http.request(method, f"/worlds/{path}")
            assert answer.status_code in {404, 405}, (method, path)
    assert (await http.get("/worlds/demo")).status_code == 200


async def test_the_past_takes_no_commands(http, world, problem) -> None:
    """A reference to a tick is refused wherever the world itself is meant."""
    await http.post("/worlds/demo/run", json={"num_steps": 2})
    step = await http.post("/worlds/demo@0/step")
    assert "names a tick" in problem(step, 422, "invalid_input")["detail"]
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/run"),
        ("GET", "/processors"),
        ("GET", "/labels"),
        ("DELETE", "/labels/base"),
        ("DELETE", "/entities/1"),
    ):
        refused = await http.request(method, f"/worlds/{world}@0{path}")
        assert problem(refused, 422, "invalid_input")["errors"][0]["path"] == "world", path
