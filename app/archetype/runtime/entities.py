"""The entity verbs of a world's handle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Unpack
from uuid import UUID

from archetype.core.bulk import batch_from_components, batch_from_frame, encode_batch
from archetype.core.component import Component
from archetype.log.command import CommandType
from archetype.runtime.given import checked_components, component_names, component_rows
from archetype.runtime.handle import CommandOptions, WorldHandle

__all__ = ["EntityVerbs"]


class EntityVerbs(WorldHandle):
    """Changes entities: each verb is a command, durable when it returns.

    All take `tick`, `priority`, `expected_version` and `command_id` by name; see `CommandOptions`.
    """

    async def spawn(
        self, *components: Component, entity_id: int | None = None, **options: Unpack[CommandOptions]
    ) -> int:
        """Make an entity and return its id, which is known at once; it appears in the command's tick."""
        payload: dict[str, Any] = {"components": _payloads(components, "spawn(Position(x=1))")}
        if entity_id is not None:
            payload["entity_id"] = entity_id
        return (await self._submit(CommandType.SPAWN, payload, **options)).entity_ids[0]

    async def spawn_many(self, rows: Any, **options: Unpack[CommandOptions]) -> list[int]:
        """Make many entities with one command and return their ids in the order of the rows.

        `rows` is a list of component lists, or an Arrow table, or a Daft, pandas or polars frame with columns
        `component__field`; omitted fields get their defaults.
        """
        is_rows = isinstance(rows, list | tuple)
        table = batch_from_components(component_rows(rows)) if is_rows else batch_from_frame(rows)
        if table.num_rows == 0:
            return []
        receipt = await self._submit(CommandType.SPAWN, {}, encode_batch(table), **options)
        return list(receipt.entity_ids)

    async def update_many(self, rows: Any, **options: Unpack[CommandOptions]) -> UUID:
        """Set values of many entities with one command; `rows` is a frame with `entity_id` and columns."""
        batch = encode_batch(batch_from_frame(rows))
        return (await self._submit(CommandType.UPDATE, {}, batch, **options)).command_id

    async def despawn(self, entity_id: int, **options: Unpack[CommandOptions]) -> UUID:
        """End an entity; return the command's id."""
        payload = {"entity_id": entity_id}
        return (await self._submit(CommandType.DESPAWN, payload, **options)).command_id

    async def update(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Set components that the entity has, all their fields; return the command's id."""
        given = _payloads(_flat(components), "update(entity_id, Position(x=1))")
        payload = {"entity_id": entity_id, "components": given}
        return (await self._submit(CommandType.UPDATE, payload, **options)).command_id

    async def add_components(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Give the entity these components, which moves it to another archetype; return the command's id."""
        given = _payloads(_flat(components), "add_components(entity_id, Position(x=1))")
        payload = {"entity_id": entity_id, "components": given}
        return (await self._submit(CommandType.ADD_COMPONENT, payload, **options)).command_id

    async def remove_components(
        self,
        entity_id: int,
        *types: type[Component] | str | Iterable[type[Component] | str],
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Take components from the entity by their types; return the command's id."""
        payload = {"entity_id": entity_id, "component_types": component_names(_flat(types))}
        return (await self._submit(CommandType.REMOVE_COMPONENT, payload, **options)).command_id


def _payloads(components: Iterable[Any], example: str) -> list[dict[str, Any]]:
    return [component.to_payload() for component in checked_components(components, example)]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Take values one by one or in lists, as callers of either habit pass them."""
    for value in values:
        if isinstance(value, list | tuple | set | frozenset):
            yield from value
        else:
            yield value
