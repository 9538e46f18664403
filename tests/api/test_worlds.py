"""Worlds over HTTP."""

from __future__ import annotations

from uuid import UUID, uuid4


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
    }  # fmt: skip
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
