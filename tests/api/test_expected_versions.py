"""If-Match on every route that changes something: 412 with both versions, and a retry passes all the same."""

from __future__ import annotations

from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from pyarrow import ipc
from pydantic import BaseModel


class Breeze(BaseModel):
    """What a test records."""

    speed: float = 0.0


POSITION = [{"type": "Position", "x": 5.0}]
SPAWN = {"type": "spawn", "payload": {"components": POSITION}}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
MOVED = {"content": stream(pa.table({"entity_id": [1], "position__x": [3.0]})), "headers": ARROW}
BORN = {"content": stream(pa.table({"position__x": [3.0]})), "headers": ARROW}

CHANGES = {
    "command": ("POST", "/worlds/demo/commands", {"json": SPAWN}),
    "batch": ("POST", "/worlds/demo/commands/batch", {"json": {"commands": [SPAWN, SPAWN]}}),
    "spawn": ("POST", "/worlds/demo/entities", {"json": {"components": POSITION}}),
    "despawn": ("DELETE", "/worlds/demo/entities/1", {}),
    "update": ("PATCH", "/worlds/demo/entities/1", {"json": {"components": POSITION}}),
    "add": ("POST", "/worlds/demo/entities/1/components", {"json": {"components": POSITION}}),
    "take": ("DELETE", "/worlds/demo/entities/1/components?types=Velocity", {}),
    "bulk-spawn": ("POST", "/worlds/demo/entities/bulk", BORN),
    "bulk-update": ("PATCH", "/worlds/demo/entities/bulk", MOVED),
    "step": ("POST", "/worlds/demo/step", {}),
    "run": ("POST", "/worlds/demo/run", {"json": {"num_steps": 2}}),
    "episode": ("POST", "/worlds/demo/episode", {"json": {"max_steps": 2, "terminal": "Velocity"}}),
    "rollout": ("POST", "/worlds/demo/rollout", {"json": {"max_steps": 2, "episodes": 2}}),
    "start": ("POST", "/worlds/demo/run", {"headers": {"Prefer": "respond-async"}}),
    "fork": ("POST", "/worlds/demo/fork", {"json": {"name": "what-if"}}),
    "forks": ("POST", "/worlds/demo/fork", {"json": {"name": "what-if", "count": 2}}),
    "label": ("POST", "/worlds/demo/labels", {"json": {"name": "new"}}),
    "unlabel": ("DELETE", "/worlds/demo/labels/old", {}),
    "configure": ("PATCH", "/worlds/demo", {"json": {"snapshots": 5}}),
    "remove": ("DELETE", "/worlds/demo", {}),
    "message": ("POST", "/worlds/demo/messages", {"json": {"content": "hello"}}),
    "resource": ("POST", "/worlds/demo/resources", {"json": {"resource": "Breeze", "value": {"speed": 2.0}}}),
    "unresource": ("DELETE", "/worlds/demo/resources/Breeze", {}),
    "cancel": ("POST", "/runs/{run_id}/cancel", {"json": {"reason": "no more"}}),
}


async def crashed_run(app, world) -> str:
    """Leave a run behind as a process does that dies."""
    from archetype.errors import UnavailableError
    from archetype.service.runs import RunRequest

    services = app.dependencies["services"].dependency()
    run_id = uuid4()

    async def die(_tick):
        raise UnavailableError("as if the process had died")

    request = RunRequest(steps=2, run_id=run_id)
    with pytest.raises(UnavailableError):
        await services.simulation_service.run(UUID(world), request, on_tick=die)
    return str(run_id)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_passes_at_its_version_only_and_its_retry_always(http, app, world, problem, name):
    method, path, options = CHANGES[name]
    services = app.dependencies["services"].dependency()
    await services.run_service.close()  # nothing is to be taken up under this test
    await http.post("/worlds/demo/step")
    await http.post("/worlds/demo/labels", json={"name": "old"})
    run_id = await crashed_run(app, world) if name == "cancel" else ""
    path = path.replace("{run_id}", run_id)
    version = (await http.get("/worlds/demo")).json()["version"]
    headers = options.get("headers", {}) | {"Idempotency-Key": str(uuid4())}

    async def send(expected: int):
        sent = headers | {"If-Match": f'"{expected}"'}
        return await http.request(method, path, **(options | {"headers": sent}))

    refused = problem(await send(version - 1), 412, "version_conflict")
    assert (refused["expected_version"], refused["actual_version"]) == (version - 1, version)
    assert (await http.get("/worlds/demo")).json()["version"] == version
    assert [each["name"] for each in (await http.get("/worlds")).json()] == ["demo"]
    accepted = await send(version)
    assert accepted.status_code < 300, accepted.text
    await services.run_service.close()
    again = await send(version - 1)
    assert again.status_code in {accepted.status_code, 200}, again.text


async def test_every_changing_route_of_a_world_is_in_the_table(app):
    """A route that is added later is added there, or says here why it takes no version."""
    takes_none = {("POST", "/worlds")}
    identities = ("/actors", "/keys")
    there = {
        (method, route.path_format)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method in {"POST", "PATCH", "PUT", "DELETE"} and not route.path_format.startswith(identities)
    }
    patterns = {(method, template(path)) for method, path, _ in CHANGES.values()}
    assert there - takes_none == patterns


def template(path: str) -> str:
    """Put the parameters' names where a request has their values."""
    path = (
        path.split("?", maxsplit=1)[0].replace("/demo", "/{world}").replace("/labels/old", "/labels/{name}")
    )
    path = path.replace("/resources/Breeze", "/resources/{name}")
    return path.replace("/entities/1", "/entities/{entity_id}")
