"""States over HTTP."""

from __future__ import annotations

import csv
import gc
import io

import pytest


async def test_a_state_names_who_is_there(http, world) -> None:
    """Before the first tick nobody is; after it, the mover with its components."""
    empty = (await http.get("/worlds/demo/state")).json()
    assert empty == {"world_id": world, "tick": -1, "entities": {}, "archetype_counts": {}}
    await http.post("/worlds/demo/run", json={"num_steps": 2})
    state = (await http.get("/worlds/demo/state?tick=0")).json()
    assert state["tick"] == 0
    assert state["entities"] == {"1": ["Position", "Velocity"]}
    assert list(state["archetype_counts"].values()) == [1]


async def test_an_entity_at_any_tick(http, world, problem) -> None:
    """Its values then; 404 for a tick that is not committed."""
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    at = [(await http.get(f"/worlds/demo/entities/1?tick={tick}")).json() for tick in range(3)]
    assert [each["components"]["Position"]["x"] for each in at] == [3.0, 5.0, 7.0]
    assert [each["tick"] for each in at] == [0, 1, 2]
    for route in ("state", "entities/1", "components"):
        document = problem(await http.get(f"/worlds/demo/{route}?tick=3"), 404, "tick_not_found")
        assert document["committed_tick"] == 2


async def test_components_are_rows_of_nested_values(http, world) -> None:
    """Only entities that have all of the types; ids that are not there are left out."""
    await http.post("/worlds/demo/entities", json={"components": [{"type": "Position", "x": 8.0}]})
    await http.post("/worlds/demo/step")
    both = (await http.get("/worlds/demo/components?types=Position")).json()
    assert both == {
        "world_id": world,
        "component_types": ["Position"],
        "entity_ids": None,
        "tick": 0,
        "rows": [
            {"entity_id": 1, "tick": 0, "Position": {"x": 3.0, "y": 0.0}},
            {"entity_id": 2, "tick": 0, "Position": {"x": 8.0, "y": 0.0}},
        ],
    }
    movers = (await http.get("/worlds/demo/components?types=Velocity,Position")).json()
    assert movers["component_types"] == ["Velocity", "Position"]
    assert [list(row) for row in movers["rows"]] == [["entity_id", "tick", "Velocity", "Position"]]
    some = (await http.get("/worlds/demo/components?types=Position&entity_ids=2,9")).json()
    assert some["entity_ids"] == [2, 9]
    assert [row["entity_id"] for row in some["rows"]] == [2]
    every = (await http.get("/worlds/demo/components")).json()
    assert [len(row) for row in every["rows"]] == [4, 3]
    qualified = await http.get("/worlds/demo/components?types=archetype.examples.movement.Position")
    assert qualified.json() == both


async def test_an_unknown_type_is_named(http, world, problem) -> None:
    """422 with the name, in every media type."""
    for accept in ("application/json", "text/csv"):
        response = await http.get("/worlds/demo/components?types=Position,Nope", headers={"Accept": accept})
        document = problem(response, 422, "invalid_component")
        assert [each["path"] for each in document["errors"]] == ["types"]
        assert "'Nope'" in document["errors"][0]["message"]


READS = ("state", "entities/1", "components")


async def test_a_reference_is_the_same_as_its_tick(http, world, problem) -> None:
    """Behind the name or the id, quoted or not; a tick beside it must be the same one."""
    await http.post("/worlds/demo/run", json={"num_steps": 4})
    await http.post("/worlds/demo/labels", json={"name": "base", "tick": 1})
    for route in READS:
        expected = (await http.get(f"/worlds/demo/{route}?tick=1")).json()
        for reference in ("demo@1", "demo@-2", "demo@base", "demo%40base", f"{world}@1"):
            assert (await http.get(f"/worlds/{reference}/{route}")).json() == expected, reference
        assert (await http.get(f"/worlds/demo@base/{route}?tick=1")).json() == expected
        problem(await http.get(f"/worlds/demo@base/{route}?tick=2"), 422, "invalid_input")
        problem(await http.get(f"/worlds/demo@4/{route}"), 404, "tick_not_found")
        problem(await http.get(f"/worlds/demo@-5/{route}"), 404, "tick_not_found")
        problem(await http.get(f"/worlds/demo@other/{route}"), 404, "label_not_found")
        problem(await http.get(f"/worlds/nowhere@1/{route}"), 404, "world_not_found")


async def test_a_world_before_its_first_tick_is_empty(http, world, problem) -> None:
    """Tick -1, nobody there, nothing to count."""
    state = (await http.get("/worlds/demo/state")).json()
    assert (state["tick"], state["entities"]) == (-1, {})
    assert (await http.get("/worlds/demo/components?types=Position")).json()["rows"] == []
    assert (await http.get("/worlds/demo/counts")).json() == []
    assert (await http.get("/worlds/demo/state?from_tick=0")).json()["states"] == []
    problem(await http.get("/worlds/demo/entities/1"), 404, "entity_not_found")


async def test_a_range_is_each_of_its_ticks(http, world) -> None:
    """States in a list, rows one after the other; half-open, and open ends reach the world's own."""
    await http.post("/worlds/demo/run", json={"num_steps": 4})
    one = [(await http.get(f"/worlds/demo/state?tick={tick}")).json() for tick in range(4)]
    assert (await http.get("/worlds/demo/state?from_tick=1&to_tick=3")).json() == {
        "world_id": world,
        "from_tick": 1,
        "to_tick": 3,
        "states": one[1:3],
    }
    assert (await http.get("/worlds/demo/state?from_tick=2")).json()["states"] == one[2:]
    assert (await http.get("/worlds/demo/state?to_tick=2")).json()["states"] == one[:2]
    found = (await http.get("/worlds/demo/components?types=Position&from_tick=1&to_tick=3")).json()
    assert found == {
        "world_id": world,
        "component_types": ["Position"],
        "entity_ids": None,
        "from_tick": 1,
        "to_tick": 3,
        "rows": [
            {"entity_id": 1, "tick": 1, "Position": {"x": 5.0, "y": 0.0}},
            {"entity_id": 1, "tick": 2, "Position": {"x": 7.0, "y": 0.0}},
        ],
    }
    for route in ("state", "components"):
        text = await http.get(f"/worlds/demo/{route}?from_tick=1&to_tick=3", headers={"Accept": "text/csv"})
        rows = list(csv.DictReader(io.StringIO(text.text)))
        assert [(row["tick"], row["position__x"]) for row in rows] == [("1", "5"), ("2", "7")]


async def test_a_range_of_a_fork_goes_through_its_ancestors(http, world) -> None:
    """Its ticks are those of its lineage; each counts what is there."""
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    await http.post("/worlds/demo@1/fork", json={"name": "fork"})
    await http.post("/worlds/fork/entities", json={"components": [{"type": "Position"}]})
    await http.post("/worlds/fork/run", json={"num_steps": 2})
    counts = (await http.get("/worlds/fork/counts")).json()
    movers = {"Position+Velocity": 1}
    assert counts == [
        {"tick": 0, "entity_count": 1, "archetype_counts": movers},
        {"tick": 1, "entity_count": 1, "archetype_counts": movers},
        {"tick": 2, "entity_count": 2, "archetype_counts": {"Position": 1, **movers}},
        {"tick": 3, "entity_count": 2, "archetype_counts": {"Position": 1, **movers}},
    ]
    assert (await http.get("/worlds/fork/counts?from_tick=1&to_tick=3")).json() == counts[1:3]
    rows = (await http.get("/worlds/fork/components?types=Velocity&from_tick=0")).json()["rows"]
    assert [row["tick"] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize("route", ["counts", "state", "components"])
async def test_a_range_is_never_silently_less(lite, lite_world, problem, route) -> None:
    """What is not committed is 404, an end before the beginning 422, too much 413."""
    await lite.post("/worlds/demo/run", json={"num_steps": 3})
    for bounds in ("from_tick=0&to_tick=4", "from_tick=4", "to_tick=4"):
        document = problem(await lite.get(f"/worlds/demo/{route}?{bounds}"), 404, "tick_not_found")
        assert document["committed_tick"] == 2
    reverse = await lite.get(f"/worlds/demo/{route}?from_tick=2&to_tick=1")
    assert problem(reverse, 422, "invalid_input")["errors"][0]["path"] == "to_tick"
    assert (await lite.get(f"/worlds/demo/{route}?from_tick=3")).status_code == 200, "an empty range is one"


async def test_a_range_has_a_limit(lite, lite_world, problem, monkeypatch) -> None:
    """413 with the limit and what to do; a part of it is given."""
    monkeypatch.setattr("archetype.service.ranges.RANGE_TICKS_MAX", 2)
    await lite.post("/worlds/demo/run", json={"num_steps": 3})
    document = problem(await lite.get("/worlds/demo/counts"), 413, "limit_exceeded")
    assert (document["limit"], document["actual"]) == (2, 3)
    assert "from_tick" in document["detail"]
    assert len((await lite.get("/worlds/demo/counts?from_tick=1")).json()) == 2


async def test_a_type_of_the_past_is_known_though_its_class_is_not(lite, lite_world) -> None:
    """What a world holds in any of the ticks, or has in its last, can be asked for by name."""
    from archetype import Component

    kind = type("Passing", (Component,), {"__annotations__": {"value": int}, "value": 1})
    await lite.post("/worlds/demo/entities", json={"components": [{"type": "Passing"}]})
    await lite.post("/worlds/demo/step")
    await lite.delete("/worlds/demo/entities/2")
    await lite.post("/worlds/demo/step")
    del kind
    gc.collect()
    found = await lite.get("/worlds/demo/components?types=Passing&tick=0")
    assert [row["Passing"] for row in found.json()["rows"]] == [{"value": 1}]
    ranged = (await lite.get("/worlds/demo/components?types=Passing&from_tick=0")).json()
    assert [(row["tick"], row["Passing"]) for row in ranged["rows"]] == [(0, {"value": 1})]
