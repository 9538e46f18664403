"""Entities over HTTP: each verb is a command."""

from __future__ import annotations

import pyarrow as pa
import pytest

from archetype.examples.movement import rows

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def arrow_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


async def components(client, entity_id: int) -> dict:
    return (await client.get(f"/worlds/demo/entities/{entity_id}")).json()["components"]


async def test_an_entity_s_life(http, world, problem) -> None:
    """Spawn, update, add, remove, despawn; each is applied in the tick that its receipt names."""
    spawned = await http.post("/worlds/demo/entities", json={"components": [{"type": "Position", "x": 5.0}]})
    assert spawned.status_code == 202
    assert spawned.headers["location"] == "/worlds/demo/entities/2"
    problem(await http.get("/worlds/demo/entities/2"), 404, "entity_not_found")
    await http.post("/worlds/demo/step")
    assert await components(http, 2) == {"Position": {"x": 5.0, "y": 0.0}}

    body = {"components": [{"type": "Position", "y": 9.0}]}
    updated = await http.patch("/worlds/demo/entities/2", json=body)
    assert (updated.status_code, updated.json()["type"], updated.json()["tick"]) == (202, "update", 1)
    await http.post("/worlds/demo/step")
    assert await components(http, 2) == {"Position": {"x": 5.0, "y": 9.0}}

    added = await http.post(
        "/worlds/demo/entities/2/components", json={"components": [{"type": "Velocity", "dx": 1.0}]}
    )
    assert (added.status_code, added.json()["type"]) == (202, "add_component")
    await http.post("/worlds/demo/step")
    assert (await components(http, 2))["Position"] == {"x": 6.0, "y": 9.0}

    removed = await http.delete("/worlds/demo/entities/2/components?types=Velocity")
    assert (removed.status_code, removed.json()["type"]) == (202, "remove_component")
    ended = await http.delete("/worlds/demo/entities/2?tick=4")
    assert (ended.status_code, ended.json()["tick"]) == (202, 4)
    await http.post("/worlds/demo/step")
    assert await components(http, 2) == {"Position": {"x": 6.0, "y": 9.0}}
    await http.post("/worlds/demo/step")
    problem(await http.get("/worlds/demo/entities/2"), 404, "entity_not_found")


async def test_entity_verbs_are_idempotent_and_conditional(http, world, problem) -> None:
    """Idempotency-Key and If-Match mean what they mean for any command."""
    body = {"components": [{"type": "Position"}]}
    key = {"Idempotency-Key": "spawn one"}
    first = (await http.post("/worlds/demo/entities", json=body, headers=key)).json()
    assert (await http.post("/worlds/demo/entities", json=body, headers=key)).json() == first | {
        "is_duplicate": True
    }
    stale = await http.delete("/worlds/demo/entities/1", headers={"If-Match": '"1"'})
    problem(stale, 412, "version_conflict")


async def test_an_entity_id_can_be_asked_for(http, world, problem) -> None:
    """One that is free is given, one that is not is 409 with the next free one."""
    body = {"components": [{"type": "Position"}], "entity_id": 50}
    assert (await http.post("/worlds/demo/entities", json=body)).json()["entity_id"] == 50
    document = problem(await http.post("/worlds/demo/entities", json=body), 409, "command_conflict")
    assert document["next_entity_id"] == 51


@pytest.mark.parametrize(
    ("method", "path", "body", "fault"),
    [
        ("PATCH", "entities/1", {"components": []}, "components"),
        ("PATCH", "entities/1", {"components": [{"type": "Position"}]}, "components.0"),
        (
            "POST",
            "entities/1/components",
            {"components": [{"type": "Position", "x": None}]},
            "components.0.x",
        ),
        ("DELETE", "entities/1/components?types=Nope", None, "component_types.0"),
        ("DELETE", "entities/1/components", None, "types"),
        ("DELETE", "entities/1?tick=-3", None, "tick"),
    ],
)
async def test_faults_are_paths_of_the_body(lite, lite_world, method, path, body, fault) -> None:
    """As the caller wrote it, not as the log's payload is laid out."""
    response = await lite.request(method, f"/worlds/demo/{path}", json=body)
    assert response.status_code == 422, response.text
    assert fault in [each["path"] for each in response.json()["errors"]]


async def test_bulk_spawn_and_update(http, world) -> None:
    """One command for all rows, in and out."""
    table = rows(1000)
    spawned = await http.post("/worlds/demo/entities/bulk", content=arrow_stream(table), headers=ARROW)
    assert spawned.status_code == 202, spawned.text
    receipt = spawned.json()
    assert (receipt["first_entity_id"], receipt["entity_count"]) == (2, 1000)
    assert set(receipt) == {"id", "first_entity_id", "entity_count", "tick", "version", "position"}
    changed = pa.table({"entity_id": [2, 3], "velocity__dx": [0.0, 0.0], "velocity__dy": [0.0, 0.0]})
    updated = await http.patch("/worlds/demo/entities/bulk", content=arrow_stream(changed), headers=ARROW)
    assert updated.status_code == 202, updated.text
    assert (updated.json()["first_entity_id"], updated.json()["entity_count"]) == (None, 0)
    assert (await http.post("/worlds/demo/step")).json()["commands_applied"] == 4
    assert (await components(http, 2))["Position"]["x"] == table["position__x"][0].as_py()
    assert (await http.get("/worlds/demo")).json()["entity_count"] == 1001


async def test_bulk_bodies_must_be_arrow(lite, lite_world, problem) -> None:
    """Another Content-Type is 415, bytes that are no stream are 422, as are columns that do not fit."""
    url = "/worlds/demo/entities/bulk"
    problem(await lite.post(url, json={}), 415, "unsupported_media_type")
    assert (await lite.post(url, content=b"nonsense", headers=ARROW)).status_code == 422
    wrong = pa.table({"position__colour": ["red"]})
    assert (await lite.post(url, content=arrow_stream(wrong), headers=ARROW)).status_code == 422
    whole = arrow_stream(rows(10))
    assert (await lite.post(url, content=whole[:-300], headers=ARROW)).status_code == 422


async def test_an_entity_is_followed_through_its_ticks(http, world, problem) -> None:
    """Its values and the commands about it, until it ended."""
    await http.post("/worlds/demo/step")
    await http.patch("/worlds/demo/entities/1", json={"components": [{"type": "Velocity", "dx": 10.0}]})
    await http.post("/worlds/demo/run", json={"num_steps": 2})
    await http.delete("/worlds/demo/entities/1")
    await http.post("/worlds/demo/run", json={"num_steps": 2})
    moments = (await http.get("/worlds/demo/entities/1/history")).json()
    assert [each["tick"] for each in moments] == [0, 1, 2, 3]
    assert [each["is_active"] for each in moments] == [True, True, True, False]
    assert [each["components"]["Position"]["x"] for each in moments[:3]] == [3.0, 13.0, 23.0]
    assert [[command["type"] for command in each["commands"]] for each in moments] == [
        ["spawn"], ["update"], [], ["despawn"],
    ]  # fmt: skip
    part = (await http.get("/worlds/demo/entities/1/history?from_tick=1&to_tick=3")).json()
    assert part == moments[1:3]
    route = "/worlds/demo/entities"
    problem(await http.get(f"{route}/7/history"), 404, "entity_not_found")
    problem(await http.get(f"{route}/1/history?from_tick=4"), 404, "entity_not_found")
    problem(await http.get(f"{route}/1/history?to_tick=9"), 404, "tick_not_found")
    problem(await http.get(f"{route}/1/history?from_tick=2&to_tick=1"), 422, "invalid_input")
