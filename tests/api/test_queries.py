"""States over HTTP."""

from __future__ import annotations


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
