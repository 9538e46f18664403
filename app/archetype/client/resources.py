"""Calls about the Pydantic models that are recorded for a world's processors."""

from __future__ import annotations

from typing import Any

from archetype.client import answers
from archetype.client.calls import Calls, json_of, path_of, present

__all__ = ["ResourceCalls"]


class ResourceCalls(Calls):
    """The calls about recorded resources."""

    def add_resource(
        self,
        world: str,
        resource: str,
        value: Any = None,
        *,
        tick: int | None = None,
        priority: int | None = None,
    ) -> answers.Receipt:
        """Record a model of a class that the server has loaded, named `Name` or `module.Name`.

        Without a value all its defaults hold; one of its class before it is replaced.
        """
        body = {"resource": resource} | present(value=value, tick=tick, priority=priority)
        return self._change("POST", path_of(world, "resources"), body)

    def resources(self, world: str) -> list[answers.Resource]:
        """Return the recorded resources, those that wait for the next tick among them."""
        return self._read(path_of(world, "resources"))

    def remove_resource(
        self, world: str, resource: str, *, tick: int | None = None, priority: int | None = None
    ) -> answers.Receipt:
        """Take the recorded resources of a name away."""
        path = path_of(world, "resources", resource)
        return json_of(self._send_change("DELETE", path, params={"tick": tick, "priority": priority}))
