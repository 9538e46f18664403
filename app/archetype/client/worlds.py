"""Calls about worlds as wholes: making, finding, configuring, forking, labelling and removing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Final, Literal

from archetype.client import answers
from archetype.client.calls import Calls, path_of, present
from archetype.errors import WorldNotFoundError
from archetype.limits import PAGE_ENTRIES_MAX

__all__ = ["UNSET", "WorldCalls"]


class _Unset(Enum):
    UNSET = "unset"


UNSET: Final = _Unset.UNSET
"""Stands for a setting that is left as it is, where None is one to set."""

Snapshots = int | str
"""When states are stored: after every N-th tick, or `"needed"`."""

Scheduler = Mapping[str, Any]
"""How processors run: `{"group_builder": "dependency", "max_concurrent": 8, "conflicts": "error"}`."""


class WorldCalls(Calls):
    """The calls about worlds as wholes."""

    def create_world(
        self,
        name: str | None = None,
        *,
        seed: int | None = None,
        snapshots: Snapshots | None = None,
        scheduler: Scheduler | None = None,
    ) -> answers.World:
        """Make a world; without a name it is named by its id, without a seed it draws one.

        Without a `scheduler` its processors run one after the other, by priority.
        """
        body = present(name=name, seed=seed, snapshots=snapshots, scheduler=scheduler)
        return self._change("POST", "/worlds", body)

    def world(self, world: str) -> answers.World:
        """Return a world."""
        return self._read(path_of(world))

    def list_worlds(self, *, after: str | None = None, limit: int | None = None) -> list[answers.World]:
        """Return one page of the live worlds; `after` continues behind a world's id."""
        return self._read("/worlds", after=after, limit=limit)

    def all_worlds(self) -> Iterator[answers.World]:
        """Go through all live worlds, page by page."""
        return self._read_all("/worlds")

    def configure_world(
        self,
        world: str,
        *,
        snapshots: Snapshots | None = None,
        scheduler: Scheduler | Literal[_Unset.UNSET] | None = UNSET,
        expected_version: int | None = None,
    ) -> answers.World:
        """Change when a world's states are stored, or how its processors run, from its next run on.

        What is left out stays; a scheduler of None is the default one again.
        """
        body = present(snapshots=snapshots)
        if scheduler is not UNSET:
            body["scheduler"] = scheduler
        return self._change("PATCH", path_of(world), body, expected_version=expected_version)

    def fork_world(
        self,
        world: str,
        *,
        name: str | None = None,
        tick: int | None = None,
        seed: int | None = None,
        include_pending: bool = False,
        expected_version: int | None = None,
    ) -> answers.World:
        """Make a world that shares the past up to and including a tick, by default the last committed one.

        A new `seed` gives other random numbers from there on; `include_pending` takes the commands along that
        wait in the parent. The `expected_version` is the parent's.
        """
        body = present(name=name, tick=tick, seed=seed) | {"include_pending": include_pending}
        return self._change("POST", path_of(world, "fork"), body, expected_version=expected_version)

    def fork_many(
        self,
        world: str,
        name: str | None,
        count: int,
        *,
        tick: int | None = None,
        seed: int | None = None,
        include_pending: bool = False,
        expected_version: int | None = None,
    ) -> list[answers.World]:
        """Make so many forks, all or none: `name-1`, `name-2`, …; given a seed, each has the next."""
        body = present(name=name, tick=tick, seed=seed) | {"include_pending": include_pending, "count": count}
        return self._change("POST", path_of(world, "fork"), body, expected_version=expected_version)

    def remove_world(
        self, world: str, *, reason: str | None = None, expected_version: int | None = None
    ) -> None:
        """Archive a world: its past stays in the database, its name becomes free."""
        world_id = self.world(world)["world_id"]
        # It was there just now: where it is gone, a first try whose answer was lost has done it.
        with suppress(WorldNotFoundError):
            self._send_change(
                "DELETE", path_of(world_id), params={"reason": reason}, expected_version=expected_version
            )

    def label(
        self, world: str, name: str, *, tick: int | None = None, expected_version: int | None = None
    ) -> answers.Label:
        """Name a committed tick: `tick`, that of a reference such as `demo@120`, or the last one."""
        body = {"name": name} | present(tick=tick)
        return self._change("POST", path_of(world, "labels"), body, expected_version=expected_version)

    def labels(self, world: str) -> list[answers.Label]:
        """Return a world's labels by tick and name, those inherited from its ancestors too."""
        return list(self._read_all(path_of(world, "labels"), limit=PAGE_ENTRIES_MAX))

    def unlabel(self, world: str, name: str, *, expected_version: int | None = None) -> None:
        """Take a tick's name away."""
        self._send_change("DELETE", path_of(world, "labels", name), expected_version=expected_version)
