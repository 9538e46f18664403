"""Worlds as this process knows them: making, finding, forking and removing them, and keeping them warm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from sqlalchemy.engine import Connection

from archetype.clock import new_id, new_seed
from archetype.core.archetype import Archetype
from archetype.core.config import WorldConfig
from archetype.core.hooks import Hooks, OnDestroy
from archetype.core.resources import Resources
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import (
    CommandConflictError,
    FieldFault,
    InvalidInputError,
    LabelNotFoundError,
    StateConflictError,
    TickNotFoundError,
    WorldNotFoundError,
)
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType, check_payload
from archetype.log.lineage import Lineage
from archetype.log.payloads import Snapshots, is_world_name, spelled_settings
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.direct import direct_command, write_direct
from archetype.service.forks import ForkPoint, ForkRequest, check_depth, fork_ids, fork_names, new_forks
from archetype.service.policy import SnapshotPolicy
from archetype.service.projection import Projection
from archetype.service.references import Reference
from archetype.service.resource_records import ResourceRecord
from archetype.service.schedulers import scheduler_settings
from archetype.store import labels
from archetype.store import worlds as store
from archetype.store.database import Database
from archetype.store.ticks import TickCounts, counts_at, tick_counts, tick_row

__all__ = ["LiveWorld", "WorldInfo", "WorldService"]

WORLD_BYTES = 3 * 1024
LINEAGE_BYTES = 512
SEGMENT_BYTES = 200
"""What a live world, a lineage and each segment of one take in memory; measured, and rounded up."""


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
    snapshots: Snapshots
    scheduler: SchedulerSettings | None = None
    archetype_signatures: tuple[tuple[str, ...], ...] = ()


class LiveWorld:
    """What this process keeps of one world: its projection, and the handles that no log can hold.

    `known_resources` are those that were recorded, by full name, when `resources` were last brought in line.
    """

    def __init__(self, world_id: UUID, projections: Cache[UUID, Projection]) -> None:
        self._projections = projections
        self.world_id = world_id
        self.lock = asyncio.Lock()
        self.resources = Resources()
        self.known_resources: Mapping[str, ResourceRecord] = {}
        self.hooks = Hooks()
        self.is_adopted = False

    @property
    def projection(self) -> Projection | None:
        """Its state after the last tick that was committed or read here, as long as there is room for it."""
        return self._projections.get(self.world_id)

    @projection.setter
    def projection(self, projection: Projection) -> None:
        self._projections.put(self.world_id, projection)

    @property
    def is_in_use(self) -> bool:
        """Whether a run holds it, or a script that may give it what nothing could bring back."""
        return self.is_adopted or self.lock.locked()


class WorldService:
    """Worlds as wholes: their names, settings and lineages, and what this process keeps of them."""

    def __init__(self, database: Database, budget: MemoryBudget) -> None:
        self._database = database
        # Whoever holds a live world meets the same one again, whether or not there is room for it.
        self._live: WeakValueDictionary[UUID, LiveWorld] = WeakValueDictionary()
        self._kept: Cache[UUID, LiveWorld] = budget.cache(
            "worlds", lambda _: WORLD_BYTES, is_in_use=lambda live: live.is_in_use
        )
        self._projections: Cache[UUID, Projection] = budget.cache(
            "projections",
            lambda projection: projection.size_bytes,
            is_in_use=lambda projection: self.is_running(projection.world_id),
        )
        self._lineages: Cache[UUID, Lineage] = budget.cache(
            "lineages", lambda lineage: LINEAGE_BYTES + SEGMENT_BYTES * len(lineage.segments)
        )
        self._archetypes: dict[bytes, Archetype] = {}

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
        settings = {"snapshots": config.snapshots, "scheduler": config.scheduler}
        named = {key: value for key, value in settings.items() if value is not None}
        payload: dict[str, Any] = {"name": name, "seed": seed, "config": named}
        checked = check_payload(CommandType.CREATE_WORLD, payload)
        payload["config"] = spelled_settings(checked.config)
        command = direct_command(
            CommandType.CREATE_WORLD, chosen, payload, command_id=chosen, actor_id=actor_id
        )
        world = store.NewWorld(chosen, name, seed, canonical_json(payload["config"]), command)
        created = await self._database.write(lambda connection: store.create(connection, world))
        return _info(created, [])

    async def configure_world(
        self,
        world: store.WorldRow,
        change: Mapping[str, Any],
        *,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> WorldInfo:
        """Change the settings that are named, `snapshots` and `scheduler`, from the world's next run on.

        A scheduler of None is the default one again. Raises `PayloadError` on what is no setting.
        """
        asked = check_payload(CommandType.CONFIGURE_WORLD, {"config": dict(change)})
        config = asked.config.model_dump(mode="json", exclude_unset=True)
        if asked.config.scheduler is not None:
            config["scheduler"] = asked.config.scheduler.model_dump(mode="json", exclude_defaults=True)
        command = direct_command(
            CommandType.CONFIGURE_WORLD,
            world.world_id,
            {"config": config},
            command_id=command_id,
            actor_id=actor_id,
        )
        await write_direct(
            self._database,
            command,
            lambda connection: store.configure(connection, command, expected_version),
            expected_version,
        )
        return await self.info(await self.find(world.world_id))

    async def fork_world(
        self,
        world: store.WorldRow,
        name: str,
        *,
        tick: int | None = None,
        seed: int | None = None,
        include_pending: bool = False,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
    ) -> WorldInfo:
        """Make one fork; see `fork`."""
        request = ForkRequest(name, tick, seed, include_pending, None, command_id, actor_id)
        return (await self.fork(world, request))[0]

    async def fork(self, parent: store.WorldRow, request: ForkRequest) -> list[WorldInfo]:
        """Make worlds that share another's past up to a tick, all or none, in the order of their numbers.

        It writes one world and one log row each, whatever the parent's size, age or depth, and with
        `include_pending` one for each command that waits. A retry with the same command id answers as the
        first time. Raises `TickNotFoundError` for a tick that is not committed, `NameTakenError`,
        `LimitExceededError` where the lineage is too long, and `VersionConflictError` when the parent is not
        at the expected version.
        """
        earlier = await self.earlier_forks(request)
        if earlier is not None:
            return earlier
        try:
            return await self._make_forks(parent, request)
        except StateConflictError:
            # An earlier try may have come through meanwhile, with the tick and settings of its own moment.
            earlier = await self.earlier_forks(request)
            if earlier is None:
                raise
            return earlier

    async def _make_forks(self, parent: store.WorldRow, request: ForkRequest) -> list[WorldInfo]:
        ids = fork_ids(request)
        tick = request.tick if request.tick == -1 else self.committed(parent, request.tick)
        owner_id = parent.world_id
        if tick >= 0:
            lineage = await self.lineage(parent.world_id)
            check_depth(parent, lineage.depth_at(tick) + 1)
            owner_id = lineage.owner_of(tick)

        expected = None
        if request.expected_version is not None:
            expected = store.ExpectedHead(parent.world_id, request.expected_version)

        def write(connection: Connection) -> tuple[list[store.WorldRow], list[TickCounts]]:
            row = tick_row(connection, owner_id, tick)
            point = ForkPoint(parent, tick, owner_id, row)
            created = store.create_all(connection, new_forks(point, request, ids), expected)
            places = [] if row is None else [(tick, row.position)]
            return created, counts_at(connection, places, self._archetypes)

        created, counts = await self._database.write(write)
        return [_info(row, counts) for row in created]

    async def earlier_forks(self, request: ForkRequest) -> list[WorldInfo] | None:
        """Return the forks that an earlier try made, whatever became of their parent since, or None.

        Raises `CommandConflictError` where the command's id is that of another world.
        """
        if request.command_id is None or (first := await self.peek(request.command_id)) is None:
            return None
        rows = [row for each in fork_ids(request) if (row := await self.peek(each)) is not None]
        if [row.name for row in rows] != fork_names(request):
            msg = f"command {request.command_id} made {first.name!r} before; give each command its own id"
            raise CommandConflictError(msg, name=first.name, world_id=str(first.world_id))
        return [await self.info(row) for row in rows]

    async def remove_world(
        self,
        world: store.WorldRow,
        *,
        reason: str | None = None,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Archive a world: it takes no more commands, its rows stay, its name is free.

        A retry with the same command id does nothing more; `WorldArchivedError` for one that another removed.
        """
        payload = {} if reason is None else {"reason": reason}
        command = direct_command(
            CommandType.DESTROY_WORLD, world.world_id, payload, command_id=command_id, actor_id=actor_id
        )
        await write_direct(
            self._database,
            command,
            lambda connection: store.archive(connection, command, expected_version),
            expected_version,
        )
        live = self._live.pop(world.world_id, None)
        self._kept.drop(world.world_id)
        self._projections.drop(world.world_id)
        self._lineages.drop(world.world_id)
        if live is not None:
            await live.hooks.fire(OnDestroy(world.world_id))

    async def resolve(self, reference: str | UUID, tick: int | None = None) -> tuple[store.WorldRow, int]:
        """Return the live world that a reference names, and the committed tick: the last if it names none.

        `tick` says it in the reference's place; -1 stands for a world before its first tick. Raises
        `TickNotFoundError` for a tick that is not committed, and `LabelNotFoundError`.
        """
        named = Reference.parse(str(reference))
        world = await self.find(named.world)
        if named.label is not None:
            chosen = await self._labelled(world, named.label)
        elif named.back is not None:
            chosen = world.committed_tick - named.back
        else:
            chosen = named.tick
        if chosen is not None and tick is not None and chosen != tick:
            msg = f"{reference} names tick {chosen}, and tick {tick} was asked for too; give one of the two"
            raise InvalidInputError(msg, faults=[FieldFault("tick", msg)])
        return world, self.committed(world, tick if chosen is None else chosen)

    async def _labelled(self, world: store.WorldRow, label: str) -> int:
        segments = (await self.lineage(world.world_id)).segments
        found = await self._database.read(
            lambda connection: labels.find_inherited(connection, segments, label)
        )
        if found is None:
            msg = f"world {world.name!r} has no label {label!r}; `archetype world labels` lists them"
            raise LabelNotFoundError(msg, label=label)
        return found.tick

    def committed(self, world: store.WorldRow, tick: int | None = None) -> int:
        """Return a tick that is committed, by default the last; before the first, that is -1.

        Raises `TickNotFoundError` for one that is not, or that lies before the world's birth.
        """
        last = world.committed_tick
        if tick is None or tick == last:
            return last
        if 0 <= tick < last:
            return tick
        known = f"its ticks go from 0 to {last}" if last >= 0 else "it has no committed tick yet"
        msg = f"tick {tick} of world {world.name!r} is not committed; {known}"
        raise TickNotFoundError(msg, tick=tick, committed_tick=last)

    async def find(self, reference: str | UUID) -> store.WorldRow:
        """Return the live world of that name or id; `WorldNotFoundError` says which ones to look at.

        A reference to one of its ticks raises `InvalidInputError`: the past takes no commands.
        """
        if isinstance(reference, str) and Reference.parse(reference).names_tick:
            msg = f"{reference!r} names a tick; this is about the world itself, named without the @"
            raise InvalidInputError(msg, faults=[FieldFault("world", msg)])
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

    async def removed(self, reference: str) -> store.WorldRow | None:
        """Return a world that was removed: the one of that id, or the last one that had the name."""
        if as_uuid(reference) is None:
            return await self._database.read(lambda connection: store.find_removed(connection, reference))
        row = await self.peek(reference)
        return row if row is not None and row.archived_at is not None else None

    async def info(self, world: store.WorldRow) -> WorldInfo:
        """Describe a world, its entities counted after its last tick."""
        return _info(world, await self.counts(world, world.committed_tick, world.tick))

    async def counts(self, world: store.WorldRow, from_tick: int, to_tick: int) -> list[TickCounts]:
        """Count a world's entities after each committed tick `from_tick` <= t < `to_tick`, in order."""
        stretches = (await self.lineage(world.world_id)).stretches(from_tick, to_tick)
        return await self._database.read(
            lambda connection: tick_counts(connection, stretches, self._archetypes)
        )

    async def list_worlds(self, *, after: UUID | None = None, limit: int = 1000) -> list[WorldInfo]:
        """List live worlds by id, which is the order of their birth, behind `after`; without signatures."""
        rows = await self._database.read(
            lambda connection: store.list_worlds(connection, after=after, limit=limit)
        )
        return [_described(row, entity_count) for row, entity_count in rows]

    async def lineage(self, world_id: UUID) -> Lineage:
        """Return a world's lineage; it never changes, so it is walked once for as long as it is kept."""
        found = self._lineages.get(world_id)
        if found is None:
            found = await self._database.read(lambda connection: store.lineage(connection, world_id))
            self._lineages.put(world_id, found)
        return found

    def live(self, world_id: UUID) -> LiveWorld:
        """Return what this process keeps of a world, made at first use."""
        live = self._kept.get(world_id)
        if live is None:
            live = self._live.get(world_id) or LiveWorld(world_id, self._projections)
            self._live[world_id] = live
            self._kept.put(world_id, live)
        return live

    def forget(self, world_id: UUID) -> None:
        """Let go of a world's state and handles, if anything is kept of it; the next use finds it again."""
        self._live.pop(world_id, None)
        self._kept.drop(world_id)
        self._projections.drop(world_id)
        self._lineages.drop(world_id)

    def adopt(self, world_id: UUID) -> LiveWorld:
        """Return a live world that stays as long as the process, for whoever gives it handles or hooks."""
        live = self.live(world_id)
        live.is_adopted = True
        self._kept.put(world_id, live)
        return live

    def is_running(self, world_id: UUID) -> bool:
        """Tell whether a run holds a world in this process."""
        live = self._live.get(world_id)
        return live is not None and live.lock.locked()

    def has_hooks(self, world_id: UUID) -> bool:
        """Tell whether anyone in this process listens to a world."""
        live = self._live.get(world_id)
        return live is not None and bool(live.hooks.registrations())


def as_uuid(text: str) -> UUID | None:
    """Read an id, or None where the text is none, and so a name."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _info(world: store.WorldRow, counts: Sequence[TickCounts]) -> WorldInfo:
    """Describe a world by its row and by what it holds after its last tick, if it has one."""
    by_archetype = counts[0].by_archetype if counts else {}
    signatures = tuple(sorted(archetype.components for archetype in by_archetype))
    return _described(world, sum(by_archetype.values()), signatures)


def _described(
    world: store.WorldRow, entity_count: int, signatures: tuple[tuple[str, ...], ...] = ()
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
        snapshots=SnapshotPolicy.of_config(world.config).setting,
        scheduler=scheduler_settings(world.config),
        archetype_signatures=signatures,
    )
