"""Labels over HTTP."""

from __future__ import annotations

import pytest


@pytest.fixture
async def aged(http, world) -> str:
    """The world after five ticks."""
    await http.post("/worlds/demo/run", json={"num_steps": 5})
    return world


async def test_a_label_names_a_tick(http, aged) -> None:
    """The last one, the reference's, or the one that is asked for; listed by tick and name."""
    newest = await http.post("/worlds/demo/labels", json={"name": "newest"})
    assert newest.status_code == 201
    assert newest.json() == {"name": "newest", "tick": 4, "world_id": aged}
    assert (await http.post("/worlds/demo@-3/labels", json={"name": "b"})).json()["tick"] == 1
    assert (await http.post("/worlds/demo@b/labels", json={"name": "a"})).json()["tick"] == 1
    assert (await http.post("/worlds/demo/labels", json={"name": "été.1", "tick": 0})).json()["tick"] == 0
    listed = (await http.get("/worlds/demo/labels")).json()
    assert [(each["name"], each["tick"]) for each in listed] == [
        ("été.1", 0),
        ("a", 1),
        ("b", 1),
        ("newest", 4),
    ]
    then = (await http.get("/worlds/demo@été.1/entities/1")).json()
    assert then == (await http.get("/worlds/demo/entities/1?tick=0")).json()


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_labels_come_in_pages(http, aged, limit, problem) -> None:
    """Each once, by tick and then by code points, also where one goes while they are read."""
    places = [("b", 1), ("Z", 1), ("a.1", 2), ("ä", 1), ("_", 0)]
    for name, tick in places:
        assert (await http.post("/worlds/demo/labels", json={"name": name, "tick": tick})).status_code == 201
    ordered = sorted(places, key=lambda each: (each[1], each[0]))
    found, following = [], f"/worlds/demo/labels?limit={limit}"
    while following is not None:
        answer = await http.get(following)
        page = answer.json()
        assert 0 < len(page) <= limit
        found += [(each["name"], each["tick"]) for each in page]
        following = answer.links.get("next", {}).get("url")
    assert found == ordered
    await http.delete("/worlds/demo/labels/Z")
    rest = await http.get("/worlds/demo/labels", params={"after": "1:Z"})
    assert [each["name"] for each in rest.json()] == ["b", "ä", "a.1"]
    for nonsense in ("Z", "x:Z", "-1:Z", "9" * 40 + ":Z"):
        problem(await http.get("/worlds/demo/labels", params={"after": nonsense}), 422, "invalid_input")


async def test_a_label_is_taken_until_it_is_removed(http, aged, problem) -> None:
    """409 with the tick that it names; then free again."""
    await http.post("/worlds/demo/labels", json={"name": "base", "tick": 2})
    taken = await http.post("/worlds/demo/labels", json={"name": "base", "tick": 3})
    assert problem(taken, 409, "label_taken")["tick"] == 2
    gone = await http.delete("/worlds/demo/labels/base")
    assert (gone.status_code, gone.content) == (204, b"")
    problem(await http.delete("/worlds/demo/labels/base"), 404, "label_not_found")
    problem(await http.get("/worlds/demo@base/state"), 404, "label_not_found")
    assert (await http.post("/worlds/demo/labels", json={"name": "base", "tick": 3})).status_code == 201


async def test_labels_are_inherited_by_forks_that_share_the_tick(http, aged, problem) -> None:
    """And are the ancestor's to remove."""
    await http.post("/worlds/demo/labels", json={"name": "early", "tick": 1})
    await http.post("/worlds/demo/labels", json={"name": "late", "tick": 4})
    await http.post("/worlds/demo@2/fork", json={"name": "fork"})
    assert (await http.get("/worlds/fork/labels")).json() == [{"name": "early", "tick": 1, "world_id": aged}]
    assert (await http.get("/worlds/fork@early/state")).json()["tick"] == 1
    problem(await http.delete("/worlds/fork/labels/early"), 404, "label_not_found")


async def test_a_retry_with_the_same_key_is_one_command(http, aged, problem) -> None:
    """Labelled once, removed once; the key with other content is refused."""
    key, other = {"Idempotency-Key": "first"}, {"Idempotency-Key": "second"}
    body = {"name": "base", "tick": 2}
    first = await http.post("/worlds/demo/labels", json=body, headers=key)
    again = await http.post("/worlds/demo/labels", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    for _ in range(2):
        assert (await http.delete("/worlds/demo/labels/base", headers=other)).status_code == 204
    changed = await http.post("/worlds/demo/labels", json={**body, "tick": 3}, headers=key)
    problem(changed, 409, "command_conflict")
    kinds = [each["type"] for each in (await http.get("/worlds/demo/commands")).json()]
    assert (kinds.count("add_label"), kinds.count("remove_label")) == (1, 1)


async def test_only_a_committed_tick_can_be_labelled(http, world, problem) -> None:
    """404 that says which there are."""
    problem(await http.post("/worlds/demo/labels", json={"name": "base"}), 404, "tick_not_found")
    await http.post("/worlds/demo/step")
    late = await http.post("/worlds/demo/labels", json={"name": "base", "tick": 1})
    assert problem(late, 404, "tick_not_found")["committed_tick"] == 0
    both = await http.post("/worlds/demo@0/labels", json={"name": "base", "tick": 1})
    assert problem(both, 422, "invalid_input")["errors"][0]["path"] == "tick"


@pytest.mark.parametrize("reference", ["demo", "demo@-1", "demo@early"])
async def test_a_retry_of_a_tick_that_moves_answers_as_the_first_time(http, aged, problem, reference) -> None:
    """The world went on, or the label names another tick; a tick that is asked for is another command."""
    early = "/worlds/demo/labels"
    await http.post(early, json={"name": "early", "tick": 1})
    key = {"Idempotency-Key": "once"}
    first = await http.post(f"/worlds/{reference}/labels", json={"name": "base"}, headers=key)
    assert first.status_code == 201
    await http.post("/worlds/demo/step")
    await http.delete(f"{early}/early")
    await http.post(early, json={"name": "early", "tick": 2})
    again = await http.post(f"/worlds/{reference}/labels", json={"name": "base"}, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    changed = await http.post(early, json={"name": "base", "tick": 0}, headers=key)
    problem(changed, 409, "command_conflict")
    problem(
        await http.post("/worlds/demo@0/labels", json={"name": "base"}, headers=key), 409, "command_conflict"
    )
    other = await http.post(f"/worlds/{reference}/labels", json={"name": "other"}, headers=key)
    problem(other, 409, "command_conflict")
    taken = await http.post(f"/worlds/{reference}/labels", json={"name": "base"})
    assert problem(taken, 409, "label_taken")["tick"] == first.json()["tick"]
