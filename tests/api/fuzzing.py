"""Requests made from the API document, steered to what is there, and a system to send them to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import schemathesis
from applications import make_world, opened
from hypothesis import strategies as st
from keyed_client import keyed
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import func, select

from archetype.api.application import create_app
from archetype.api.encodings import MediaType
from archetype.service.container import ServiceContainer
from archetype.service.verification.verify import verify
from archetype.store.schema import metadata

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BASE_URL = "http://localhost"
STEPS_MAX = 3
MOVER = {"components": [{"type": "Position", "x": 1.0, "y": 2.0}, {"type": "Velocity"}]}
COMMANDS = [
    ("spawn", MOVER),
    ("despawn", {"entity_id": 2}),
    ("update", {"entity_id": 1, "components": [{"type": "Position", "y": 2.5}]}),
    ("add_component", {"entity_id": 1, "components": [{"type": "Velocity", "dx": 1}]}),
    ("remove_component", {"entity_id": 1, "component_types": ["Velocity"]}),
    ("add_processor", {"processor": "MovementProcessor"}),
    ("remove_processor", {"processor": "MovementProcessor"}),
    ("replace_processor", {"processor": "MovementProcessor"}),
    ("message", {"content": {"a": [1, None]}, "receiver_id": 1}),
    ("custom", {"any": "thing"}),
    ("step", {}),
]


def checks_of(answer: Any) -> list[Any]:
    """Return the checks of an answer: of a stream the document shows the data of its blocks, not these."""
    is_stream = "text/event-stream" in str(answer.headers.get("content-type"))
    return [each for each in CHECKS if not is_stream or each is not response_schema_conformance]


@schemathesis.serializer(MediaType.ARROW.value)
def _as_bytes(_context: Any, value: Any) -> dict[str, Any]:
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


schemathesis.openapi.media_type(MediaType.ARROW.value, st.binary(max_size=512))


async def _document() -> dict[str, Any]:
    app = create_app(ServiceContainer("sqlite:///none.db"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client:
        return (await client.get("/openapi.json")).json()


_schema = schemathesis.openapi.from_dict(asyncio.run(_document()))
OPERATIONS = {found.ok().label: found.ok() for found in _schema.get_all_operations()}


def cases(label: str) -> st.SearchStrategy[Case]:
    """Requests of one operation that fit the document, and, where anything can be wrong, that do not."""
    operation = OPERATIONS[label]
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not (operation.query or operation.headers or operation.body):
        return fitting
    return fitting | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


@st.composite
def steered(draw: Callable[..., Any], label: str, known: dict[str, list[str]]) -> Case:
    """Requests of one operation of which many get past the first check: they name what is there."""
    case: Case = draw(cases(label))
    for name, values in known.items():
        if name in case.path_parameters and draw(st.integers(0, 3)):
            case.path_parameters[name] = draw(st.sampled_from(values))
    if "entity_id" in case.path_parameters and draw(st.booleans()):
        case.path_parameters["entity_id"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 3)):
        for name in ("If-Match", "Idempotency-Key", "Last-Event-ID"):
            case.headers.pop(name, None)
    if "Prefer" in case.headers and draw(st.booleans()):
        case.headers["Prefer"] = draw(st.sampled_from(["respond-async", "return=representation"]))
    if label.endswith("/events"):
        case.query["follow"] = "false"
    if "with" in case.query and draw(st.booleans()):
        case.query["with"] = draw(st.sampled_from(known["world"]))
    if isinstance(case.body, dict):
        case.body = _steered_body(draw, case.body)
    return case


def _steered_body(draw: Callable[..., Any], body: dict[str, Any]) -> dict[str, Any]:
    """Bound what would take long, and give commands payloads that fit their types, half of the time."""
    body = dict(body)
    for name in ("num_steps", "max_steps", "episodes", "count"):
        if isinstance(body.get(name), int | float) and body[name] > STEPS_MAX:
            body[name] = STEPS_MAX
    if "payload" in body and draw(st.booleans()):
        body["type"], body["payload"] = draw(st.sampled_from(COMMANDS))
    if isinstance(body.get("commands"), list):
        body["commands"] = [
            _steered_body(draw, each) if isinstance(each, dict) else each for each in body["commands"]
        ]
    if "components" in body and draw(st.booleans()):
        body["components"] = MOVER["components"]
    return body


class FuzzedSystem:
    """A service with two worlds and some of everything, on an event loop of its own."""

    def __init__(self, database_url: str) -> None:
        self._runner = asyncio.Runner()
        self._opening = opened(database_url)
        self.run = self._runner.run
        self.known: dict[str, list[str]] = {}

    def __enter__(self) -> FuzzedSystem:
        self.run(self._set_up())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._tear_down())
        self._runner.close()

    async def _set_up(self) -> None:
        self._app = await self._opening.__aenter__()
        self.services: ServiceContainer = self._app.dependencies["services"].dependency()
        self.nobody = httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=BASE_URL)
        world = await make_world(self.nobody)
        ran = await self._post("/worlds/demo/run", {"num_steps": STEPS_MAX})
        await self._post("/worlds/demo/labels", {"name": "good", "tick": 1})
        await self._post("/worlds/demo/fork", {"name": "fork"})
        await self._post("/worlds/demo/commands", {"type": "spawn", "payload": MOVER})
        actor = await self._post("/actors", {"name": "ann", "roles": ["player"]})
        key = await self._post("/actors/ann/keys", {})
        self.clients = {"nobody": self.nobody}
        for role in ("admin", "viewer"):
            self.clients[role] = await keyed(self._app, role, f"the-{role}")
        self.known = {
            "world": ["demo", "demo@1", "demo@good", "demo@-1", "fork", "fork@0", world],
            "run_id": [ran["run_id"]],
            "name": ["ann", "good", actor["actor_id"]],
            "key_id": [key["key_id"]],
        }

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return (await self.nobody.post(path, json=body)).raise_for_status().json()

    async def _tear_down(self) -> None:
        for client in self.clients.values():
            await client.aclose()
        await self._opening.__aexit__(None, None, None)

    def send(self, case: Case, role: str) -> httpx.Response:
        """Send a request as an actor of this role, or as nobody."""
        plain = case.as_transport_kwargs(base_url=BASE_URL)
        headers = {name: value for name, value in plain["headers"].items() if value is not None}
        request = self.clients[role].build_request(
            plain["method"],
            plain["url"],
            params=plain.get("params"),
            headers=headers,
            json=plain.get("json"),
            content=plain.get("data"),
        )
        return self.run(self.clients[role].send(request))

    def log_end(self) -> int:
        """The position of the last event, once no run that was left to itself writes any more."""
        end = select(func.max(metadata.tables["events"].c.position))

        async def read() -> int:
            while tasks := set(self.services.run_service._tasks.values()):
                await asyncio.wait(tasks)
            return await self.services.database.read(lambda connection: connection.execute(end).scalar_one())

        return self.run(read())

    def stored(self) -> dict[str, list[Any]]:
        """Every row of every table, but for when keys were used last, and the record of denials."""

        def read(connection: Any) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {}
            for table in metadata.sorted_tables:
                if table.name == "denials":
                    continue
                columns = [column for column in table.c if column.name != "last_used_at"]
                found[table.name] = sorted(map(repr, connection.execute(select(*columns)).all()))
            return found

        return self.run(self.services.database.read(read))

    def faults(self) -> list[Any]:
        """What a verification of the whole database finds."""
        return list(self.run(verify(self.services.database)).faults)
