"""Diffs, merge bases, the tree of forks and ticks over HTTP."""

from __future__ import annotations

import pytest


@pytest.fixture
async def forked(http, world) -> str:
    """`demo` with five ticks and the label `base` at 1, and `fork`, which left it there and has four."""
    await http.post("/worlds/demo/run", json={"num_steps": 5})
    await http.post("/worlds/demo@1/labels", json={"name": "base"})
    await http.post("/worlds/demo@base/fork", json={"name": "fork"})
    faster = {"components": [{"type": "Velocity", "dx": 5.0}]}
    await http.patch("/worlds/fork/entities/1", json=faster)
    await http.post("/worlds/fork/entities", json={"components": [{"type": "Position"}]})
    await http.post("/worlds/fork/run", json={"num_steps": 2})
    return world


async def pages(http, url: str) -> list[list[dict]]:
    """Follow the links, page by page."""
    found: list[list[dict]] = []
    following: str | None = url
    while following is not None:
        page = await http.get(following)
        assert page.status_code == 200, page.text
        found.append(page.json())
        following = page.links.get("next", {}).get("url")
    return found


async def test_a_diff_leads_from_one_state_to_another(http, forked) -> None:
    """Both are references; ids, values and commands as they are."""
    diff = (await http.get("/worlds/demo@3/diff", params={"with": "fork"})).json()
    assert (diff["a"]["world_id"], diff["a"]["tick"], diff["b"]["name"], diff["b"]["tick"]) == (
        forked, 3, "fork", 3,
    )  # fmt: skip
    assert (diff["is_identical"], diff["base_tick"], diff["tolerance"], diff["limit"]) == (False, 1, 0, 100)
    assert diff["summary"] == {"added": 1, "removed": 0, "moved": 0, "changed": 1, "values": 2}
    assert diff["added"] == [{"entity_id": 2, "archetype": "Position"}]
    assert diff["values"] == [
        {"entity_id": 1, "component": "Position", "field": "x", "value_a": 9.0, "value_b": 15.0},
        {"entity_id": 1, "component": "Velocity", "field": "dx", "value_a": 2.0, "value_b": 5.0},
    ]
    assert {each["field"]: each["count"] for each in diff["fields"]} == {"x": 1, "dx": 1}
    only_b = diff["commands_b"]
    assert only_b["count_by_type"] == {"fork_world": 1, "run": 1, "spawn": 1, "update": 1}
    assert {each["type"] for each in only_b["first"]} == set(only_b["count_by_type"])
    assert {each["world_id"] for each in only_b["first"]} == {diff["b"]["world_id"]}
    same = (await http.get("/worlds/demo@base/diff", params={"with": "fork@1"})).json()
    assert (same["is_identical"], same["values"]) == (True, [])


async def test_a_diff_has_a_tolerance_and_a_limit(http, forked, problem) -> None:
    """What lies within it is equal; the counts stay whole; what is no number is refused."""
    url = "/worlds/demo@3/diff"
    near = (await http.get(url, params={"with": "fork", "tolerance": 0.5})).json()
    assert [each["field"] for each in near["values"]] == ["dx"]
    short = (await http.get(url, params={"with": "fork", "limit": 1})).json()
    assert (len(short["values"]), short["summary"]["values"]) == (1, 2)
    assert (len(short["commands_b"]["first"]), short["commands_b"]["count"]) == (1, 4)
    for bad in ({"tolerance": -1}, {"tolerance": "inf"}, {"limit": 0}, {"limit": 1001}):
        problem(await http.get(url, params={"with": "fork", **bad}), 422, "invalid_input")


@pytest.mark.parametrize("route", ["diff", "merge-base"])
async def test_both_sides_must_be_there(http, forked, problem, route) -> None:
    """A world, a tick and a label that are not, and a side that is not given."""
    url = f"/worlds/demo/{route}"
    problem(await http.get(url, params={"with": "nowhere"}), 404, "world_not_found")
    problem(await http.get(url, params={"with": "fork@9"}), 404, "tick_not_found")
    problem(await http.get(f"/worlds/demo@late/{route}", params={"with": "fork"}), 404, "label_not_found")
    assert problem(await http.get(url), 422, "invalid_input")["errors"][0]["path"] == "with"


async def test_a_merge_base_is_where_pasts_part(http, forked, problem) -> None:
    """Worlds that share no tick have none."""
    base = (await http.get("/worlds/demo/merge-base", params={"with": "fork@-1"})).json()
    assert (base["world_id"], base["name"], base["tick"]) == (forked, "demo", 1)
    assert (base["ticks_since_a"], base["ticks_since_b"]) == (3, 1)
    (first,) = (await http.get("/worlds/demo@base/ticks?limit=1")).json()
    assert base["commit_hash"] == first["commit_hash"]
    await http.post("/worlds", json={"name": "other"})
    problem(await http.get("/worlds/demo/merge-base", params={"with": "other"}), 404, "not_found")
    young = (await http.get("/worlds/demo/diff", params={"with": "other"})).json()
    assert (young["base_tick"], young["b"]["tick"], young["summary"]["removed"]) == (None, -1, 1)


async def test_the_tree_shows_families(http, forked, problem) -> None:
    """All of them or one; removed worlds where they are asked for."""
    await http.post("/worlds", json={"name": "tree"})
    nodes = (await http.get("/tree")).json()
    assert [(each["name"], each["depth"], each["labels"]) for each in nodes] == [
        ("demo", 0, {"base": 1}),
        ("fork", 1, {}),
        ("tree", 0, {}),
    ]
    assert (nodes[1]["parent_id"], nodes[1]["fork_tick"], nodes[1]["committed_tick"]) == (forked, 1, 3)
    assert (await http.get("/worlds/tree")).json()["name"] == "tree"
    for member in ("demo", "fork", forked):
        family = (await http.get("/tree", params={"world": member})).json()
        assert [each["name"] for each in family] == ["demo", "fork"]
    await http.delete("/worlds/fork")
    assert [each["name"] for each in (await http.get("/tree?world=demo")).json()] == ["demo"]
    whole = (await http.get("/tree?world=demo&with_archived=true")).json()
    assert [(each["name"], each["is_archived"]) for each in whole] == [("demo", False), ("fork", True)]
    problem(await http.get("/tree?world=fork"), 404, "world_not_found")
    problem(await http.get("/tree?world=demo@1"), 422, "invalid_input")


async def test_the_tree_comes_in_pages(http, forked, problem) -> None:
    """In the same order as a whole, also behind a world that was left out meanwhile."""
    for number in range(3):
        await http.post("/worlds/demo@1/fork", json={"name": f"leaf-{number}"})
        await http.post("/worlds", json={"name": f"root-{number}"})
    whole = (await http.get("/tree", params={"limit": 1000})).json()
    assert len(whole) == 8
    for limit in (1, 3, 8):
        found, following = [], f"/tree?limit={limit}"
        while following is not None:
            answer = await http.get(following)
            assert 0 < len(answer.json()) <= limit
            found += answer.json()
            following = answer.links.get("next", {}).get("url")
        assert found == whole
    first = await http.get("/tree?limit=2&world=demo&with_archived=true")
    await http.delete("/worlds/leaf-2")
    rest = await http.get(first.links["next"]["url"])
    names = [each["name"] for each in first.json() + rest.json()]
    assert names == ["demo", "fork", "leaf-0", "leaf-1"]
    after = await http.get(f"/tree?limit=9&world=demo&with_archived=true&after={rest.json()[-1]['world_id']}")
    assert [each["is_archived"] for each in after.json()] == [True]
    gone = after.json()[-1]["world_id"]
    behind = (await http.get("/tree", params={"after": gone})).json()
    assert [each["name"] for each in behind] == ["root-0", "root-1", "root-2"]
    problem(await http.get(f"/tree?world=demo&after={behind[0]['world_id']}"), 404, "world_not_found")


async def test_ticks_come_newest_first_and_page_into_the_past(http, forked) -> None:
    """Each once, those of the ancestors too, with the labels that name them."""
    listed = (await http.get("/worlds/fork/ticks")).json()
    assert [each["tick"] for each in listed] == [3, 2, 1, 0]
    assert [each["world_name"] for each in listed] == ["fork", "fork", "demo", "demo"]
    assert [each["labels"] for each in listed] == [[], [], ["base"], []]
    assert [newer["parent_hash"] for newer in listed[:-1]] == [older["commit_hash"] for older in listed[1:]]
    found = await pages(http, "/worlds/fork/ticks?limit=2")
    assert found == [listed[:2], listed[2:]]
    found = await pages(http, "/worlds/demo/ticks?limit=2&from_tick=1")
    assert [[each["tick"] for each in page] for page in found] == [[4, 3], [2, 1]]


@pytest.mark.parametrize(
    ("reference", "query", "ticks"),
    [
        ("demo@2", "", [2, 1, 0]),
        ("demo@-3", "", [1, 0]),
        ("demo@base", "to_tick=1", [0]),
        ("demo@2", "to_tick=9", [2, 1, 0]),
        ("demo@3", "before=3&from_tick=1", [2, 1]),
        ("demo", "from_tick=3", [4, 3]),
        ("demo", "before=0", []),
        ("demo", "from_tick=2&to_tick=2", []),
        ("demo", "from_tick=99999999999999999999", []),
    ],
    ids=["tick", "back", "label", "behind", "before", "from", "none", "empty", "far"],
)
async def test_a_reference_and_bounds_cut_the_ticks(http, forked, reference, query, ticks) -> None:
    """Up to the tick that the reference names, and within the range."""
    listed = (await http.get(f"/worlds/{reference}/ticks?{query}")).json()
    assert [each["tick"] for each in listed] == ticks


async def test_ticks_that_end_before_they_begin_are_refused(lite, lite_world, problem) -> None:
    """In every listing alike, and whether the ticks are committed or not."""
    for route in ("ticks", "history", "commands", "messages", "replay", "executions"):
        (await lite.post("/worlds/demo/step")).raise_for_status()
        answer = await lite.get(f"/worlds/demo/{route}?from_tick=1&to_tick=0")
        assert "to_tick 0 lies before from_tick 1" in problem(answer, 422, "invalid_input")["detail"]


async def test_a_world_before_its_first_tick_has_none(lite, lite_world) -> None:
    """An empty list, not an error."""
    assert (await lite.get("/worlds/demo/ticks")).json() == []
