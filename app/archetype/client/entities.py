"""Calls that change entities; each is a command, durable when it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archetype.client import answers
from archetype.client.calls import ARROW_STREAM, Calls, json_of, path_of, present

__all__ = ["EntityCalls"]

Components = Sequence[Mapping[str, Any]]
"""Component values, each with its type name: `[{"type": "Position", "x": 1.0}]`."""


class EntityCalls(Calls):
    """The calls that change entities."""

    def spawn(
        self,
        world: str,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
        entity_id: int | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """Spawn an entity; the receipt says its id at once."""
        body = _command(components, tick, priority) | present(entity_id=entity_id)
        return self._change("POST", path_of(world, "entities"), body, expected_version=expected_version)

    def despawn(
        self,
        world: str,
        entity_id: int,
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """End an entity."""
        params = _params(tick, priority)
        path = path_of(world, "entities", entity_id)
        return self._change("DELETE", path, params=params, expected_version=expected_version)

    def update(
        self,
        world: str,
        entity_id: int,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """Set the named fields of components that the entity has."""
        body = _command(components, tick, priority)
        path = path_of(world, "entities", entity_id)
        return self._change("PATCH", path, body, expected_version=expected_version)

    def add_components(
        self,
        world: str,
        entity_id: int,
        components: Components,
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """Give components to an entity."""
        body = _command(components, tick, priority)
        path = path_of(world, "entities", entity_id, "components")
        return self._change("POST", path, body, expected_version=expected_version)

    def remove_components(
        self,
        world: str,
        entity_id: int,
        types: Sequence[str],
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """Take components from an entity."""
        params = {"types": ",".join(types), "tick": tick, "priority": priority}
        path = path_of(world, "entities", entity_id, "components")
        return self._change("DELETE", path, params=params, expected_version=expected_version)

    def spawn_many(
        self,
        world: str,
        rows: Any,
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.BulkReceipt:
        """Spawn an entity for each row, as one command.

        `rows` is an Arrow table or a pandas frame with columns `component__field`, or a list of rows such as
        `{"Position": {"x": 1.0}}`; omitted fields get their defaults.
        """
        return self._bulk("POST", world, rows, _params(tick, priority), expected_version)

    def update_many(
        self,
        world: str,
        rows: Any,
        *,
        tick: int | None = None,
        priority: int | None = None,
        expected_version: int | None = None,
    ) -> answers.BulkReceipt:
        """Set values of the entities that the rows' `entity_id` names, as one command; see `spawn_many`."""
        return self._bulk("PATCH", world, rows, _params(tick, priority), expected_version)

    def _bulk(
        self,
        method: str,
        world: str,
        rows: Any,
        params: Mapping[str, Any],
        expected_version: int | None,
    ) -> Any:
        from archetype.client.tables import encode_stream, table_from  # noqa: PLC0415

        return json_of(
            self._send_change(
                method,
                path_of(world, "entities", "bulk"),
                params=params,
                content=encode_stream(table_from(rows)),
                headers={"Content-Type": ARROW_STREAM},
                expected_version=expected_version,
            )
        )


def _command(components: Components, tick: int | None, priority: int | None) -> dict[str, Any]:
    return {"components": [dict(value) for value in components]} | present(tick=tick, priority=priority)


def _params(tick: int | None, priority: int | None) -> dict[str, Any]:
    return {"tick": tick, "priority": priority}
