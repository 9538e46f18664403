"""Worlds as this process knows them: making, finding, forking and removing them, and keeping them warm."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.clock import new_id, new_seed
from archetype.core.config import WorldConfig
from archetype.core.hooks import Hooks, OnDestroy
from archetype.core.resources import Resources
from archetype.errors import TickNotFoundError, WorldNotFoundError
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType, check_payload
from archetype.log.lineage import Lineage
from archetype.log.payloads import is_world_name
from archetype.service.answers import refusal
from archetype.service.projection import Projection, newborn, project, read_tick
from archetype.store import worlds as store
from archetype.store.append import NewCommand
from archetype.store.database import Database
from archetype.store.ticks import tick_row

__all__ = ["LiveWorld", "WorldInfo", "WorldService"]

LIVE_WORLDS_MAX = 256
"""Worlds whose state is kept in memory; the one not used for longest goes first and comes back on use."""


@dataclass(frozen=True, slots=True)
class WorldInfo:
    """A world as it is listed: `tick` is the number of the next tick to run."""

    world_id: UUID
    name: str
    tick: int
    entity_count: int
    parent_id: UUID | None
    fork_tick: int | None
    version: int
    seed: int
    created_at: datetime
    archetype_signatures: tuple[tuple[str, ...], ...] = ()


class LiveWorld:
    """What this process keeps of one world: its projection, and the handles that no log can hold."""

    def __init__(self, world_id: UUID) -> None:
        self.world_id = world_id
        self.lock = asyncio.Lock()
        self.resources = Resources()
        self.hooks = Hooks()
        self.projection: Projection | None = None


class WorldService:
    """Everything about worlds but running them and reading their state."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._live: OrderedDict[UUID, LiveWorld] = OrderedDict()
        self._lineages: dict[UUID, Lineage] = {}

    async def create_world(
        self, config: WorldConfig, *, command_id: UUID | None = None, actor_id: UUID | None = None
    ) -> WorldInfo:
        """Make a world; with the same `world_id` or `command_id` again it is answered as the first time.

        Without a name it is named by its id. Raises `NameTakenError` when a live world has the name, and
        `PayloadError` on a bad name or seed.
        """
        chosen = config.world_id or command_id or new_id()
        name = f"world-{chosen.hex[-12:]}" if config.name is None else config.name
        # A retry must draw the seed that it drew the first time, or it would be another command.
        drawn = chosen.int % 2**63 if config.world_id or command_id else new_seed()
        seed = drawn if config.seed is None else config.seed
        payload: dict[str, Any] = {"name": name, "seed": seed, "config": {}}
        check_payload(CommandType.CREATE_WORLD, payload)
        command = NewCommand(
            event_id=command_id or chosen,
            world_id=chosen,
            type=CommandType.CREATE_WORLD.value,
            payload=canonical_json(payload),
            actor_id=actor_id,
        )
        world = store.NewWorld(chosen, name, seed, canonical_json(payload["config"]), command)
        return _info(await self._database.write(lambda connection: store.create(connection, world)))

    async def fork_world(
        self,
        world: store.WorldRow,
        name: str,
        *,
        tick: int | None = None,
        seed: int | None = None,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
    ) -> WorldInfo:
        """Make a world that shares this one's past up to `tick`, by default the last committed one.

        It writes one world and one log row, whatever the size or age of the world. Commands that wait for
        later ticks stay with the parent. Raises `TickNotFoundError` for a tick that is not committed.
        """
        fork_tick = world.committed_tick if tick is None else tick
        if not -1 <= fork_tick <= world.committed_tick:
            msg = f"tick {fork_tick} of {world.name!r} is not committed; its last is {world.committed_tick}"
            raise TickNotFoundError(msg, tick=fork_tick, committed_tick=world.committed_tick)
        chosen = command_id or new_id()
        lineage = await self.lineage(world.world_id)
        owner_id = lineage.owner_of(fork_tick) if fork_tick >= 0 else world.world_id
        chosen_seed = world.seed if seed is None else seed
        payload = {"name": name, "parent_id": str(owner_id), "tick": fork_tick, "seed": chosen_seed}
        check_payload(CommandType.FORK_WORLD, payload)
        command = NewCommand(
            event_id=chosen,
            world_id=chosen,
            type=CommandType.FORK_WORLD.value,
            payload=canonical_json(payload),
            actor_id=actor_id,
        )
        row = await self._database.read(lambda connection: tick_row(connection, owner_id, fork_tick))
        fork = store.NewWorld(
            chosen,
            name,
            chosen_seed,
            world.config,
            command,
            parent_id=owner_id,
            fork_tick=fork_tick,
            next_entity_id=row.next_entity_id if row else 1,
        )
        created = await self._database.write(lambda connection: store.create(connection, fork))
        return await self.info(created)

    async def remove_world(
        self, world: store.WorldRow, *, reason: str | None = None, actor_id: UUID | None = None
    ) -> None:
        """Archive a world: it takes no more commands, its rows stay, its name is free."""
        payload = {} if reason is None else {"reason": reason}
        check_payload(CommandType.DESTROY_WORLD, payload)
        command = NewCommand(
            event_id=new_id(),
            world_id=world.world_id,
            type=CommandType.DESTROY_WORLD.value,
            payload=canonical_json(payload),
            actor_id=actor_id,
        )
        answer = await self._database.write(lambda connection: store.archive(connection, command))
        if not answer.status.is_in_log:
            raise refusal(command, answer)
        live = self._live.pop(world.world_id, None)
        if live is not None:
            await live.hooks.fire(OnDestroy(world.world_id))

    async def find(self, reference: str | UUID) -> store.WorldRow:
        """Return the live world of that name or id; `WorldNotFoundError` says which ones to look at."""
        row = await self.peek(reference)
        if row is None or row.archived_at is not None:
            gone = "was removed; its history is still in the database" if row else "does not exist"
            msg = f"world {str(reference)!r} {gone}; `archetype world list` shows those that live"
            raise WorldNotFoundError(msg, world=str(reference))
        return row

    async def peek(self, reference: str | UUID) -> store.WorldRow | None:
        """Return the world of that id, archived or not, or the live one of that name, or None."""
        world_id = reference if isinstance(reference, UUID) else as_uuid(reference)
        if world_id is None:
            name = str(reference)
            if not is_world_name(name):
                return None
            return await self._database.read(lambda connection: store.find_by_name(connection, name))
        return await self._database.read(lambda connection: store.find(connection, world_id))

    async def info(self, world: store.WorldRow) -> WorldInfo:
        """Describe a world, its entities counted after its last tick."""
        owner_id = (await self.lineage(world.world_id)).owner_of(world.committed_tick)
        tick = world.committed_tick
        counts = await self._database.read(
            lambda connection: store.counts_of_world(connection, owner_id, tick)
        )
        signatures = tuple(sorted(tuple(json.loads(each)) for each in counts.signatures))
        return _info(world, counts.entity_count, signatures)

    async def list_worlds(self, *, after: UUID | None = None, limit: int = 1000) -> list[WorldInfo]:
        """List live worlds by id, which is the order of their birth, behind `after`; without signatures."""
        rows = await self._database.read(
            lambda connection: store.list_worlds(connection, after=after, limit=limit)
        )
        return [_info(row, entity_count) for row, entity_count in rows]

    async def lineage(self, world_id: UUID) -> Lineage:
        """Return a world's lineage; it is walked once and kept, since it never changes."""
        found = self._lineages.get(world_id)
        if found is None:
            found = await self._database.read(lambda connection: store.lineage(connection, world_id))
            self._lineages[world_id] = found
        return found

    def live(self, world_id: UUID) -> LiveWorld:
        """Return what this process keeps of a world, made at first use."""
        live = self._live.get(world_id)
        if live is None:
            live = self._live[world_id] = LiveWorld(world_id)
            self._forget_idle()
        self._live.move_to_end(world_id)
        return live

    def has_hooks(self, world_id: UUID) -> bool:
        """Tell whether anyone in this process listens to a world."""
        live = self._live.get(world_id)
        return live is not None and bool(live.hooks.registrations())

    async def project(self, live: LiveWorld, committed_tick: int) -> Projection:
        """Return the state after a tick, from memory if it is there, else from its snapshot."""
        projection = live.projection
        if projection is not None and projection.committed_tick == committed_tick:
            return projection
        if committed_tick < 0:
            live.projection = newborn(live.world_id)
        else:
            owner_id = (await self.lineage(live.world_id)).owner_of(committed_tick)
            stored = await self._database.read(
                lambda connection: read_tick(connection, owner_id, committed_tick)
            )
            live.projection = await asyncio.to_thread(project, live.world_id, stored)
        return live.projection

    def _forget_idle(self) -> None:
        """Drop the state of the worlds not used for longest; their hooks and resources stay."""
        for live in list(self._live.values())[: max(len(self._live) - LIVE_WORLDS_MAX, 0)]:
            if not live.lock.locked():
                live.projection = None


def as_uuid(text: str) -> UUID | None:
    """Read an id, or None where the text is none, and so a name."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _info(
    world: store.WorldRow, entity_count: int = 0, signatures: tuple[tuple[str, ...], ...] = ()
) -> WorldInfo:
    return WorldInfo(
        world_id=world.world_id,
        name=world.name,
        tick=world.tick,
        entity_count=entity_count,
        parent_id=world.parent_id,
        fork_tick=world.fork_tick,
        version=world.head_version,
        seed=world.seed,
        created_at=world.created_at,
        archetype_signatures=signatures,
    )
