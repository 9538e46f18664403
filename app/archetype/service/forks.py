"""Forks: worlds that share another's past up to a tick. A pointer each; nothing is copied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from archetype.clock import new_id
from archetype.errors import FieldFault, InvalidInputError, LimitExceededError
from archetype.limits import FORKS_MAX, LINEAGE_WORLDS_MAX
from archetype.log.canonical import canonical_json
from archetype.log.command import QUEUED_TYPES, CommandType
from archetype.log.lineage import Lineage
from archetype.log.payload_fields import Snapshots
from archetype.log.payloads import changed_settings
from archetype.service.direct import direct_command
from archetype.store.log import LogRow, Waiting
from archetype.store.ticks import TickRow
from archetype.store.worlds import NewWorld, WorldRow

__all__ = ["ForkPoint", "ForkRequest", "check_depth", "fork_ids", "is_retry", "new_forks"]


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """A fork as a caller asks for it; without a `tick` of the last committed one, -1 shares none.

    A new `seed` gives other random numbers from the fork on. `include_pending` takes the commands along that
    wait in the parent. With a `count` there are so many, named `name-1`, `name-2`, …; given a seed, each has
    the next, given `seeds` its own. `snapshots` replaces the parent's policy. The `expected_version` is the
    parent's. A tick that `is_relative` was found by a label or from the world's head of the moment: a retry
    may find another.
    """

    name: str
    tick: int | None = None
    seed: int | None = None
    include_pending: bool = False
    count: int | None = None
    command_id: UUID | None = None
    actor_id: UUID | None = None
    expected_version: int | None = None
    seeds: Sequence[int] | None = None
    snapshots: Snapshots | None = None
    is_relative: bool = False

    def seed_of(self, number: int, inherited: int) -> int:
        """Return the seed of a fork by its number, from 0 on."""
        if self.seeds is not None:
            return self.seeds[number]
        return inherited if self.seed is None else self.seed + number

    def config_of(self, inherited: str) -> str:
        """Return the settings of a fork, from its parent's."""
        if self.snapshots is None:
            return inherited
        return canonical_json(changed_settings(json.loads(inherited), {"snapshots": self.snapshots}))


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """What forks are made from: the parent, the tick, who owns it, and its row (None before the first)."""

    parent: WorldRow
    tick: int
    owner_id: UUID
    row: TickRow | None


def check_depth(parent: WorldRow, world_count: int) -> None:
    """Refuse a fork whose lineage would have too many worlds; `LimitExceededError` says what to do."""
    if world_count > LINEAGE_WORLDS_MAX:
        msg = (
            f"a fork of {parent.name!r} at that tick would be number {world_count} of its lineage, "
            f"{LINEAGE_WORLDS_MAX} are allowed: name a tick of an earlier ancestor, or go on in the parent"
        )
        raise LimitExceededError(msg, limit=LINEAGE_WORLDS_MAX, actual=world_count)


def fork_ids(request: ForkRequest) -> list[UUID]:
    """Return the ids of the new worlds, which are those of their commands too."""
    if request.count is not None and not 1 <= request.count <= FORKS_MAX:
        msg = f"count must be from 1 to {FORKS_MAX}, not {request.count}"
        raise InvalidInputError(msg, faults=[FieldFault("count", msg)])
    first = request.command_id or new_id()
    return [first, *(uuid5(first, str(number)) for number in range(1, request.count or 1))]


def fork_names(request: ForkRequest) -> list[str]:
    """Return the names of the new worlds."""
    if request.count is None:
        return [request.name]
    return [f"{request.name}-{number}" for number in range(1, request.count + 1)]


def is_retry(request: ForkRequest, made: Sequence[LogRow], parent: Lineage | None) -> bool:
    """Tell whether a request is the one that forks were made for, by their first commands.

    What the request leaves open, it had open then too. A `parent` that is gone is not compared.
    """
    names = fork_names(request)
    if len(made) != len(names):
        return False
    for number, (name, row) in enumerate(zip(names, made, strict=True)):
        if row.event.type != CommandType.FORK_WORLD or row.event.actor_id != request.actor_id:
            return False
        recorded = {"include_pending": False, **row.payload}
        if any(recorded[field] != asked for field, asked in _asked(request, name, number).items()):
            return False
        if parent is not None and recorded["parent_id"] != str(_owner(parent, recorded["tick"])):
            return False
    return True


def _owner(parent: Lineage, tick: int) -> UUID:
    """Return the world that a fork at a tick points at: before the first one the parent itself."""
    return parent.segments[-1].world_id if tick < 0 else parent.owner_of(tick)


def _asked(request: ForkRequest, name: str, number: int) -> dict[str, Any]:
    """Return the fields of a fork's command that a request fixes."""
    asked: dict[str, Any] = {"name": name, "include_pending": request.include_pending}
    if request.tick is not None and not request.is_relative:
        asked["tick"] = request.tick
    if request.seed is not None or request.seeds is not None:
        asked["seed"] = request.seed_of(number, 0)
    return asked


def new_forks(point: ForkPoint, request: ForkRequest, ids: Sequence[UUID]) -> list[NewWorld]:
    """Return the worlds to make; `PayloadError` on a bad name or seed."""
    waiting = _waiting(point) if request.include_pending else None
    return [
        _new_fork(point, request, world_id, name, number, waiting)
        for number, (world_id, name) in enumerate(zip(ids, fork_names(request), strict=True))
    ]


def _waiting(point: ForkPoint) -> Waiting:
    """Say which commands waited at a tick: at the last one those of now, at an older one those of then."""
    if point.tick == point.parent.committed_tick:
        return Waiting(point.parent.world_id, point.tick, QUEUED_TYPES, None)
    if point.row is None:
        msg = "needs a committed tick: what waited before the first one is not recorded"
        raise InvalidInputError(f"include_pending {msg}", faults=[FieldFault("include_pending", msg)])
    return Waiting(point.owner_id, point.tick, QUEUED_TYPES, point.row.position)


def _new_fork(
    point: ForkPoint,
    request: ForkRequest,
    world_id: UUID,
    name: str,
    number: int,
    waiting: Waiting | None,
) -> NewWorld:
    seed = request.seed_of(number, point.parent.seed)
    config = request.config_of(point.parent.config)
    payload: dict[str, Any] = {
        "name": name,
        "parent_id": str(point.owner_id),
        "tick": point.tick,
        "seed": seed,
        "config": json.loads(config),
    }
    if request.include_pending:
        payload["include_pending"] = True
    command = direct_command(
        CommandType.FORK_WORLD, world_id, payload, command_id=world_id, actor_id=request.actor_id
    )
    return NewWorld(
        world_id,
        name,
        seed,
        config,
        command,
        parent_id=point.owner_id,
        fork_tick=point.tick,
        next_entity_id=point.row.next_entity_id if point.row is not None else 1,
        waiting=waiting,
    )
