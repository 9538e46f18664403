"""Errors: every class has a status, and whatever goes wrong is answered as a problem document."""

from __future__ import annotations

import httpx
import pytest

from archetype import errors
from archetype.api.problems import STATUS_OF, status_of
from archetype.service.container import ServiceContainer


def subclasses(kind: type) -> list[type]:
    return [each for child in kind.__subclasses__() for each in [child, *subclasses(child)]]


def test_every_error_class_has_a_status() -> None:
    """Each class of errors.py has a status of its own, or one of a base below the root."""
    own = [kind for kind in subclasses(errors.ArchetypeError) if kind.__module__ == errors.__name__]
    assert {kind.__name__ for kind in own} | {"ArchetypeError", "FieldFault"} == set(errors.__all__)
    for kind in own:
        base = next(each for each in kind.__mro__ if each in STATUS_OF)
        assert base is not errors.ArchetypeError, kind
        assert status_of(kind) == STATUS_OF[base]


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"),
    [
        (errors.PayloadError, 422, None),
        (errors.WorldNotFoundError, 404, None),
        (errors.NameTakenError, 409, None),
        (errors.VersionConflictError, 412, None),
        (errors.WorldBusyError, 409, "3"),
        (errors.AuthenticationError, 401, None),
        (errors.PermissionDeniedError, 403, None),
        (errors.IdentityNotFoundError, 404, None),
        (errors.LimitExceededError, 413, None),
        (errors.OverloadedError, 429, "3"),
        (errors.ProcessorError, 500, None),
        (errors.AccessViolationError, 500, None),
        (errors.ConflictError, 409, None),
        (errors.PlanError, 409, None),
        (errors.CodeNotLoadedError, 409, None),
        (errors.CodeChangedError, 409, None),
        (errors.LabelNotFoundError, 404, None),
        (errors.LabelTakenError, 409, None),
        (errors.CorruptionError, 500, None),
        (errors.SchemaOutdatedError, 503, None),
        (errors.UnavailableError, 503, "3"),
    ],
)
async def test_an_error_becomes_its_problem(
    lite, problem, monkeypatch: pytest.MonkeyPatch, kind, status, retry_after
) -> None:
    """Status, code, the error's own facts, and Retry-After where a retry helps."""

    async def fail(*_args, **_kwargs):
        raise kind("it is so", retry_after_s=2.5, world="w")

    monkeypatch.setattr("archetype.service.worlds.WorldService.find", fail)
    response = await lite.get("/worlds/demo")
    document = problem(response, status, kind.code)
    assert document["detail"] == "it is so"
    assert document["world"] == "w"
    assert response.headers.get("retry-after") == retry_after


async def test_an_unexpected_error_leaks_nothing(lite, problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the request's id is told, by which the server's log can be searched."""

    async def fail(*_args, **_kwargs):
        raise RuntimeError("secret")

    monkeypatch.setattr("archetype.service.worlds.WorldService.find", fail)
    response = await lite.get("/worlds/demo", headers={"X-Request-ID": "abc"})
    document = problem(response, 500, "internal")
    assert document["request_id"] == "abc" == response.headers["x-request-id"]
    assert "secret" not in response.text


async def test_routes_and_methods_that_are_not_there(lite, problem) -> None:
    """404 and 405 are problems as well."""
    problem(await lite.get("/nothing/here"), 404, "route_not_found")
    problem(await lite.get("/openapi.json/nothing"), 404, "route_not_found")
    refused = await lite.put("/worlds")
    problem(refused, 405, "method_not_allowed")
    assert "POST" in refused.headers["allow"]


async def test_malformed_json_is_400(lite, lite_world, problem) -> None:
    """A body that is not JSON is told from one that does not fit."""
    problem(await lite.post("/worlds", content=b'{"name": '), 400, "malformed")
    problem(await lite.post("/worlds/demo/run", content=b"steps=3"), 400, "malformed")


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("/worlds", {"name": "a/b"}, "name"),
        ("/worlds", {"seed": -1}, "seed"),
        ("/worlds", {"colour": "red"}, "colour"),
        ("/worlds", [1], ""),
        ("/worlds", None, ""),
        ("/worlds", {"snapshots": 0}, "snapshots"),
        ("/worlds", {"snapshots": "often"}, "snapshots"),
        ("/worlds/demo/fork", {"tick": "x"}, "tick"),
        ("/worlds/demo/fork", {"count": 0}, "count"),
        ("/worlds/demo/fork", {"count": 1001}, "count"),
        ("/worlds/demo/labels", {}, "name"),
        ("/worlds/demo/labels", {"name": "12"}, "name"),
        ("/worlds/demo/labels", {"name": "base", "tick": -1}, "tick"),
        ("/worlds/demo@x y/labels", {"name": "base"}, "world"),
        ("/worlds/demo/commands", {"type": "spawn", "payload": {"components": [{"type": "No"}]}},
         "payload.components.0.type"),
        ("/worlds/demo/commands",
         {"type": "spawn", "payload": {"components": [{"type": "Position", "x": "a"}]}},
         "payload.components.0.x"),
        ("/worlds/demo/commands", {"type": "explode"}, "type"),
        ("/worlds/demo/commands", {"type": "step"}, "type"),
        ("/worlds/demo/commands", {"tick": -1}, "tick"),
        ("/worlds/demo/commands", {"priority": 2**40}, "priority"),
        ("/worlds/demo/commands", {"id": "no"}, "id"),
        ("/worlds/demo/commands/batch", {"commands": [{}, {"payload": 3}]}, "commands.1.payload"),
        ("/worlds/demo/run", {"num_steps": -1}, "num_steps"),
        ("/worlds/demo/entities", {"components": [{"type": "Position", "z": 1}]}, "components.0.z"),
        ("/worlds/demo/entities", {"entity_id": 0}, "entity_id"),
    ],
)  # fmt: skip
async def test_a_bad_field_is_named(lite, lite_world, problem, path, body, fault) -> None:
    """422 with the path of the field from the root of the body."""
    response = await (lite.post(path) if body is None else lite.post(path, json=body))
    assert response.status_code == 422, response.text
    document = problem(response, 422, response.json()["code"])
    assert fault in [each["path"] for each in document["errors"]]


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/worlds?limit=0", "limit"),
        ("/worlds?limit=1001", "limit"),
        ("/worlds?after=x", "after"),
        ("/worlds/demo/state?tick=x", "tick"),
        ("/worlds/demo/state?tick=-1", "tick"),
        ("/worlds/demo/state?tick=0&from_tick=0", "tick"),
        ("/worlds/demo/components?from_tick=x", "from_tick"),
        ("/worlds/demo/components?to_tick=-1", "to_tick"),
        ("/worlds/demo@0/state?from_tick=0", "world"),
        ("/worlds/demo@/counts", "world"),
        ("/worlds/demo@0", "world"),
        ("/worlds/demo@/state", "world"),
        ("/worlds/demo/components?types=A,,B", "types"),
        ("/worlds/demo/components?types=Nowhere", "types"),
        ("/worlds/demo/components?entity_ids=1,x", "entity_ids"),
        ("/worlds/demo/history?before=0", "before"),
        ("/worlds/demo/entities/99999999999999999999", "entity_id"),
    ],
)
async def test_a_bad_parameter_is_named(lite, lite_world, path, fault) -> None:
    """Query and path parameters are refused like fields."""
    response = await lite.get(path)
    assert response.status_code == 422, response.text
    assert [each["path"] for each in response.json()["errors"]] == [fault]


async def test_bodies_over_the_limit_are_413(lite, lite_world, problem) -> None:
    """A JSON body over 16 MiB, and a batch over its number of commands, are refused whole."""
    big = b'{"name": "' + b"x" * (16 * 1024 * 1024) + b'"}'
    problem(await lite.post("/worlds", content=big), 413, "limit_exceeded")
    batch = {"commands": [{}] * 10_001}
    document = problem(await lite.post("/worlds/demo/commands/batch", json=batch), 413, "limit_exceeded")
    assert document["limit"] == 10_000
    assert document["actual"] == 10_001


async def test_a_server_over_another_schema_is_not_ready(tmp_path, problem) -> None:
    """/readyz says 503 until the database has the schema, while /healthz answers."""
    from archetype.api.application import create_app

    app = create_app(ServiceContainer(f"sqlite:///{tmp_path / 'empty.db'}"), is_loopback=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        problem(await client.get("/readyz"), 503, "schema_outdated")
        assert (await client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/worlds", "/worlds/demo/commands", "/worlds/demo/run"])
async def test_a_body_nested_too_deep_to_be_read_is_malformed(lite, lite_world, problem, path):
    body = b'{"payload":' + b"[" * 100_000
    refused = await lite.post(path, content=body, headers={"content-type": "application/json"})
    assert "nested deeper" in problem(refused, 400, "malformed")["detail"]


async def test_a_text_that_no_database_can_hold_is_the_callers_mistake(http, world, problem):
    """PostgreSQL says so itself; SQLite finds nothing of that name."""
    for path in ("/worlds/demo/messages?channel=a%00b", "/actors/a%00b/quota", "/keys?actor=a%00b"):
        answer = await http.get(path)
        assert answer.status_code in {200, 404, 422}, path
        if answer.status_code == 422:
            assert "NUL" in problem(answer, 422, "invalid_input")["detail"]
