"""`ArchetypeClient`: one method for each route of the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import UUID

from archetype.client import answers
from archetype.client.transport import Transport
from archetype.clock import new_id
from archetype.errors import UnavailableError, WorldNotFoundError
from archetype.settings import Settings

if TYPE_CHECKING:
    import httpx
    import pyarrow as pa

__all__ = ["ArchetypeClient"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"
TIMEOUT_S = 30.0
RETRY_S = 10.0

Components = Sequence[Mapping[str, Any]]
"""Component values, each with its type name: `[{"type": "Position", "x": 1.0}]`."""


class ArchetypeClient:
    """Talks to one server, over connections that are used again; use it as a context manager, or `close` it.

    `world` is a name or an id everywhere. What the server refuses is raised as the same class of
    `archetype.errors` that a program inside the server would see; a server that cannot be reached is an
    `UnavailableError`. Each changing call carries an Idempotency-Key of its own, so a retry after a broken
    connection, or after the server asked to wait, happens once; retries end after `retry_s` seconds.
    Steps and runs are waited for as long as they take, any other answer `timeout_s` seconds.
    """

    def __init__(
        self,
        base_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        retry_s: float = RETRY_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = base_url or Settings.from_environment().server_url
        self._transport = Transport(url, timeout_s=timeout_s, retry_s=retry_s, transport=transport)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._transport.url

    def close(self) -> None:
        """End every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The server

    def about(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return self._read("/")

    def is_alive(self) -> bool:
        """Say whether the server answers at all; asks once."""
        return self._transport.probe("/healthz") == 200

    def is_ready(self) -> bool:
        """Say whether the server can work: its database answers and has the right schema; asks once."""
        return self._transport.probe("/readyz") == 200

    def metrics(self) -> str:
        """Return the server's figures in Prometheus' text form."""
        return self._transport.send("GET", "/metrics").text

    def component_types(self) -> list[answers.ComponentType]:
        """Return the components that the server has loaded, with their fields."""
        return self._read("/components")

    def processor_types(self) -> list[answers.ProcessorType]:
        """Return the processors that the server has loaded."""
        return self._read("/processors")

    # Worlds

    def create_world(self, name: str | None = None, *, seed: int | None = None) -> answers.World:
        """Make a world; without a name it is named by its id, without a seed it draws one."""
        return self._change("POST", "/worlds", _present(name=name, seed=seed))

    def world(self, world: str) -> answers.World:
        """Return a world."""
        return self._read(_path(world))

    def list_worlds(self, *, after: str | None = None, limit: int | None = None) -> list[answers.World]:
        """Return one page of the live worlds; `after` continues behind a world's id."""
        return self._read("/worlds", after=after, limit=limit)

    def all_worlds(self) -> Iterator[answers.World]:
        """Go through all live worlds, page by page."""
        response = self._transport.send("GET", "/worlds")
        yield from _json(response)
        while (following := response.links.get("next", {}).get("url")) is not None:
            response = self._transport.send("GET", following)
            yield from _json(response)

    def fork_world(self, world: str, *, name: str | None = None, tick: int | None = None) -> answers.World:
        """Make a world that shares the past up to and including `tick`, by default the last committed one."""
        return self._change("POST", _path(world, "fork"), _present(name=name, tick=tick))

    def remove_world(self, world: str, *, reason: str | None = None) -> None:
        """Archive a world: its past stays in the database, its name becomes free."""
        world_id = self.world(world)["world_id"]
        # It was there just now: where it is gone, a first try whose answer was lost has done it.
        with suppress(WorldNotFoundError):
            self._send_change("DELETE", _path(world_id), params={"reason": reason})

    # Commands

    def submit(
        self,
        world: str,
        type_name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        tick: int = 0,
        priority: int = 0,
        command_id: UUID | str | None = None,
    ) -> answers.Receipt:
        """Submit a command; it is durable when this returns, and applied in the receipt's tick.

        With a `command_id` of your own, the same command again is accepted only once.
        """
        body = {"type": type_name, "payload": dict(payload or {}), "tick": tick, "priority": priority}
        path = _path(world, "commands")
        if command_id is None:
            return self._change("POST", path, body)
        return _json(self._transport.send("POST", path, json=body | {"id": str(command_id)}))

    def submit_batch(self, world: str, commands: Sequence[Mapping[str, Any]]) -> list[answers.Receipt]:
        """Submit commands in their order, all or none; each has a type, payload, tick, priority, id."""
        body = {"commands": [{"id": str(new_id())} | dict(command) for command in commands]}
        headers = {"Prefer": "return=representation"}
        path = _path(world, "commands", "batch")
        return _json(self._transport.send("POST", path, json=body, headers=headers))

    def commands(
        self, world: str, *, limit: int | None = None, before: int | None = None
    ) -> list[answers.CommandEntry]:
        """Return the newest commands in short, the newest last; `before` continues further into the past."""
        return self._read(_path(world, "commands"), limit=limit, before=before)

    def pending_count(self, world: str) -> int:
        """Count the commands that wait for a tick."""
        pending: answers.Pending = self._read(_path(world, "commands", "pending"))
        return pending["pending_count"]

    def history(
        self, world: str, *, limit: int | None = None, before: int | None = None
    ) -> list[answers.HistoryEntry]:
        """Return the newest commands of the world's whole lineage and what became of each, newest last."""
        return self._read(_path(world, "history"), limit=limit, before=before)

    # Simulation

    def step(
        self, world: str, *, inputs: Mapping[str, Any] | None = None, debug: bool = False
    ) -> answers.StepReport:
        """Run one tick; `inputs` reach every processor that names them."""
        body = {"inputs": dict(inputs or {}), "debug": debug}
        return self._change("POST", _path(world, "step"), body, waits_long=True)

    def run(
        self, world: str, num_steps: int = 1, *, inputs: Mapping[str, Any] | None = None, debug: bool = False
    ) -> answers.RunReport:
        """Run ticks one after the other, and return once the last is durable."""
        body = {"num_steps": num_steps, "inputs": dict(inputs or {}), "debug": debug}
        return self._change("POST", _path(world, "run"), body, waits_long=True)

    def processors(self, world: str) -> list[answers.WorldProcessor]:
        """Return the processors of the next tick, in the order in which they run."""
        return self._read(_path(world, "processors"))

    # State

    def state(self, world: str, *, tick: int | None = None) -> answers.State:
        """Return who is there after a tick, by default the last committed one, and with which components."""
        return self._read(_path(world, "state"), tick=tick)

    def entity(self, world: str, entity_id: int, *, tick: int | None = None) -> answers.EntityState:
        """Return one entity after a tick."""
        return self._read(_path(world, "entities", entity_id), tick=tick)

    def components(
        self,
        world: str,
        types: Sequence[str],
        *,
        entity_ids: Sequence[int] | None = None,
        tick: int | None = None,
    ) -> answers.ComponentRows:
        """Return the entities that have all of these components, as rows of nested values."""
        return self._read(_path(world, "components"), **_selection(types, entity_ids, tick))

    def frame(
        self,
        world: str,
        types: Sequence[str] | None = None,
        *,
        entity_ids: Sequence[int] | None = None,
        tick: int | None = None,
    ) -> pa.Table:
        """Return rows after a tick as one flat Arrow table; without `types`, every entity with all it has."""
        from archetype.client.tables import decode_stream  # noqa: PLC0415

        route = "state" if types is None and entity_ids is None else "components"
        response = self._transport.send(
            "GET",
            _path(world, route),
            params=_selection(types, entity_ids, tick),
            headers={"Accept": ARROW_STREAM},
        )
        return decode_stream(response.content)

    # Entities

    def spawn(
        self,
        world: str,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
        entity_id: int | None = None,
    ) -> answers.Receipt:
        """Spawn an entity; the receipt says its id at once."""
        body = _command(components, tick, priority) | _present(entity_id=entity_id)
        return self._change("POST", _path(world, "entities"), body)

    def despawn(
        self, world: str, entity_id: int, *, tick: int | None = None, priority: int | None = None
    ) -> answers.Receipt:
        """End an entity."""
        params = {"tick": tick, "priority": priority}
        return self._change("DELETE", _path(world, "entities", entity_id), params=params)

    def update(
        self,
        world: str,
        entity_id: int,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
    ) -> answers.Receipt:
        """Set the named fields of components that the entity has."""
        body = _command(components, tick, priority)
        return self._change("PATCH", _path(world, "entities", entity_id), body)

    def add_components(
        self,
        world: str,
        entity_id: int,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
    ) -> answers.Receipt:
        """Give components to an entity."""
        body = _command(components, tick, priority)
        return self._change("POST", _path(world, "entities", entity_id, "components"), body)

    def remove_components(
        self,
        world: str,
        entity_id: int,
        types: Sequence[str],
        *,
        tick: int | None = None,
        priority: int | None = None,
    ) -> answers.Receipt:
        """Take components from an entity."""
        params = {"types": ",".join(types), "tick": tick, "priority": priority}
        return self._change("DELETE", _path(world, "entities", entity_id, "components"), params=params)

    def spawn_many(
        self, world: str, table: pa.Table, *, tick: int | None = None, priority: int | None = None
    ) -> answers.BulkReceipt:
        """Spawn a row each of an Arrow table with `component__field` columns, as one command."""
        return self._bulk("POST", world, table, tick, priority)

    def update_many(
        self, world: str, table: pa.Table, *, tick: int | None = None, priority: int | None = None
    ) -> answers.BulkReceipt:
        """Set an Arrow table's columns on the entities that its `entity_id` names, as one command."""
        return self._bulk("PATCH", world, table, tick, priority)

    def _bulk(self, method: str, world: str, table: pa.Table, tick: int | None, priority: int | None) -> Any:
        from archetype.client.tables import encode_stream  # noqa: PLC0415

        return _json(
            self._send_change(
                method,
                _path(world, "entities", "bulk"),
                params={"tick": tick, "priority": priority},
                content=encode_stream(table),
                headers={"Content-Type": ARROW_STREAM},
            )
        )

    def _read(self, path: str, **params: object) -> Any:
        return _json(self._transport.send("GET", path, params=params))

    def _change(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        return _json(self._send_change(method, path, json=body, **options))

    def _send_change(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        key = {"Idempotency-Key": str(new_id())}
        return self._transport.send(method, path, headers=key | dict(headers or {}), **options)


def _path(world: str, *rest: object) -> str:
    return "/".join(("/worlds", quote(world, safe=""), *map(str, rest)))


def _present(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _command(components: Components, tick: int | None, priority: int | None) -> dict[str, Any]:
    return {"components": [dict(value) for value in components]} | _present(tick=tick, priority=priority)


def _selection(
    types: Sequence[str] | None, entity_ids: Sequence[int] | None, tick: int | None
) -> dict[str, Any]:
    return _present(
        types=None if types is None else ",".join(types),
        entity_ids=None if entity_ids is None else ",".join(map(str, entity_ids)),
        tick=tick,
    )


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        msg = f"{response.url} did not answer with JSON; is it an archetype server?"
        raise UnavailableError(msg, url=str(response.url)) from None
