"""The entity verbs of a world's handle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from archetype.core.bulk import batch_from_components, batch_from_frame, encode_batch
from archetype.core.component import Component
from archetype.log.command import CommandType
from archetype.runtime.handle import WorldHandle
from archetype.service.admission import CommandRequest

__all__ = ["EntityVerbs", "component_names"]


class EntityVerbs(WorldHandle):
    """Changes entities: each verb is a command, durable when it returns.

    With an `expected_version` it is accepted only at that version of the world; `info()` says it.
    """

    async def spawn(
        self,
        *components: Component,
        tick: int = 0,
        priority: int = 0,
        entity_id: int | None = None,
        expected_version: int | None = None,
    ) -> int:
        """Make an entity and return its id, which is known at once; it appears in the command's tick."""
        payload: dict[str, Any] = {"components": _payloads(components)}
        if entity_id is not None:
            payload["entity_id"] = entity_id
        receipt = await self._submit(
            CommandType.SPAWN, payload, tick=tick, priority=priority, expected_version=expected_version
        )
        return receipt.entity_ids[0]

    async def spawn_many(
        self, rows: Any, *, tick: int = 0, priority: int = 0, expected_version: int | None = None
    ) -> list[int]:
        """Make many entities with one command and return their ids in the order of the rows.

        `rows` is a list of component lists, or an Arrow table, or a Daft, pandas or polars frame with columns
        `component__field`; omitted fields get their defaults.
        """
        table = batch_from_components(rows) if _is_component_rows(rows) else batch_from_frame(rows)
        if table.num_rows == 0:
            return []
        request = CommandRequest(CommandType.SPAWN, {}, tick, priority, batch=encode_batch(table))
        return list((await self._send(request, expected_version)).entity_ids)

    async def update_many(
        self, rows: Any, *, tick: int = 0, priority: int = 0, expected_version: int | None = None
    ) -> UUID:
        """Set values of many entities with one command; `rows` is a frame with `entity_id` and columns."""
        batch = encode_batch(batch_from_frame(rows))
        request = CommandRequest(CommandType.UPDATE, {}, tick, priority, batch=batch)
        return (await self._send(request, expected_version)).command_id

    async def despawn(
        self, entity_id: int, *, tick: int = 0, priority: int = 0, expected_version: int | None = None
    ) -> UUID:
        """End an entity; return the command's id."""
        payload = {"entity_id": entity_id}
        return (
            await self._submit(
                CommandType.DESPAWN, payload, tick=tick, priority=priority, expected_version=expected_version
            )
        ).command_id

    async def update(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        tick: int = 0,
        priority: int = 0,
        expected_version: int | None = None,
    ) -> UUID:
        """Set components that the entity has, all their fields; return the command's id."""
        payload = {"entity_id": entity_id, "components": _payloads(_flat(components))}
        return (
            await self._submit(
                CommandType.UPDATE, payload, tick=tick, priority=priority, expected_version=expected_version
            )
        ).command_id

    async def add_components(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        tick: int = 0,
        priority: int = 0,
        expected_version: int | None = None,
    ) -> UUID:
        """Give the entity these components, which moves it to another archetype; return the command's id."""
        payload = {"entity_id": entity_id, "components": _payloads(_flat(components))}
        return (
            await self._submit(
                CommandType.ADD_COMPONENT,
                payload,
                tick=tick,
                priority=priority,
                expected_version=expected_version,
            )
        ).command_id

    async def remove_components(
        self,
        entity_id: int,
        *types: type[Component] | str | Iterable[type[Component] | str],
        tick: int = 0,
        priority: int = 0,
        expected_version: int | None = None,
    ) -> UUID:
        """Take components from the entity by their types; return the command's id."""
        payload = {"entity_id": entity_id, "component_types": component_names(_flat(types))}
        receipt = await self._submit(
            CommandType.REMOVE_COMPONENT,
            payload,
            tick=tick,
            priority=priority,
            expected_version=expected_version,
        )
        return receipt.command_id


def _payloads(components: Iterable[Component]) -> list[dict[str, Any]]:
    return [component.to_payload() for component in components]


def component_names(types: Iterable[type[Component] | str]) -> list[str]:
    """Return the names of component types, which may be given as such."""
    return [kind if isinstance(kind, str) else kind.__name__ for kind in types]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Take values one by one or in lists, as callers of either habit pass them."""
    for value in values:
        if isinstance(value, list | tuple | set | frozenset):
            yield from value
        else:
            yield value


def _is_component_rows(rows: Any) -> bool:
    return isinstance(rows, list | tuple)
