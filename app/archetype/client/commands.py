"""Calls that submit commands, run ticks, and read the log back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from archetype.client import answers
from archetype.client.calls import Calls, if_match, json_of, path_of
from archetype.clock import new_id

__all__ = ["CommandCalls"]


class CommandCalls(Calls):
    """The calls about commands and ticks."""

    def submit(
        self,
        world: str,
        type_name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        tick: int = 0,
        priority: int = 0,
        command_id: UUID | str | None = None,
        expected_version: int | None = None,
    ) -> answers.Receipt:
        """Submit a command; it is durable when this returns, and applied in the receipt's tick.

        With a `command_id` of your own, the same command again is accepted only once.
        """
        body = {"type": type_name, "payload": dict(payload or {}), "tick": tick, "priority": priority}
        path = path_of(world, "commands")
        if command_id is None:
            return self._change("POST", path, body, expected_version=expected_version)
        named = body | {"id": str(command_id)}
        return json_of(self._transport.send("POST", path, json=named, headers=if_match(expected_version)))

    def submit_batch(
        self, world: str, commands: Sequence[Mapping[str, Any]], *, expected_version: int | None = None
    ) -> list[answers.Receipt]:
        """Submit commands in their order, all or none; each has a type, payload, tick, priority, id."""
        body = {"commands": [{"id": str(new_id())} | dict(command) for command in commands]}
        headers = {"Prefer": "return=representation"} | if_match(expected_version)
        path = path_of(world, "commands", "batch")
        return json_of(self._transport.send("POST", path, json=body, headers=headers))

    def commands(
        self, world: str, *, limit: int | None = None, before: int | None = None
    ) -> list[answers.CommandEntry]:
        """Return the newest commands in short, the newest last; `before` continues further into the past."""
        return self._read(path_of(world, "commands"), limit=limit, before=before)

    def pending_count(self, world: str) -> int:
        """Count the commands that wait for a tick."""
        pending: answers.Pending = self._read(path_of(world, "commands", "pending"))
        return pending["pending_count"]

    def history(
        self,
        world: str,
        *,
        limit: int | None = None,
        before: int | None = None,
        types: Sequence[str] | None = None,
        actor_id: UUID | str | None = None,
        from_tick: int | None = None,
        to_tick: int | None = None,
        status: str | None = None,
    ) -> list[answers.HistoryEntry]:
        """Return the newest commands of the world's whole lineage and what became of each, newest last.

        Only those of these types, of this actor, that belong to the ticks `from_tick` <= t < `to_tick`, and
        that are this: pending, applied or rejected. `before` continues further into the past.
        """
        return self._read(
            path_of(world, "history"),
            limit=limit,
            before=before,
            types=None if types is None else ",".join(types),
            actor_id=actor_id,
            from_tick=from_tick,
            to_tick=to_tick,
            status=status,
        )

    def processors(self, world: str) -> list[answers.WorldProcessor]:
        """Return the processors of the next tick, in the order in which they run."""
        return self._read(path_of(world, "processors"))
