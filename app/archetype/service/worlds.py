"""Worlds as wholes: making, finding, forking, configuring and removing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.clock import new_id, new_seed
from archetype.core.archetype import Archetype
from archetype.core.config import WorldConfig
from archetype.core.hooks import OnDestroy
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
from archetype.log.payload_fields import as_uuid, is_world_name
from archetype.log.payloads import spelled_settings
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.direct import direct_command, write_direct
from archetype.service.forks import ForkPoint, ForkRequest, check_depth, fork_ids, is_retry, new_forks
from archetype.service.live_worlds import LiveWorld, LiveWorlds
from archetype.service.references import Reference
from archetype.service.world_info import WorldInfo, described, info_of
from archetype.store import labels
from archetype.store import worlds as store
from archetype.store.database import Database
from archetype.store.log import checked, first_commands
from archetype.store.pending import are_accepted
from archetype.store.ticks import TickCounts, counts_at, tick_counts, tick_row

__all__ = ["WorldService"]

LINEAGE_BYTES = 512
SEGMENT_BYTES = 200
"""What a lineage and each segment of one take in memory; measured, and rounded up."""


class WorldService:
    """Worlds as wholes: their names, settings and lineages, and what this process keeps of them."""

    def __init__(self, database: Database, budget: MemoryBudget) -> None:
        self._database = database
        self.live_worlds = LiveWorlds(budget)
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
        return info_of(created, [])

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
        earlier = await self.earlier_forks(request, parent)
        if earlier is not None:
            return earlier
        try:
            return await self._make_forks(parent, request)
        except StateConflictError:
            # An earlier try may have come through meanwhile, with the tick and settings of its own moment.
            earlier = await self.earlier_forks(request, parent)
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
        return [info_of(row, counts) for row in created]

    async def earlier_forks(
        self, request: ForkRequest, parent: store.WorldRow | None
    ) -> list[WorldInfo] | None:
        """Return the forks that an earlier try made, whatever became of their parent since, or None.

        Raises `CommandConflictError` where the command's id is that of another world, or of other forks; it
        names none, since the caller may not be one who may know it.
        """
        if request.command_id is None:
            return None
        ids = fork_ids(request)
        made = await self._database.read(lambda connection: first_commands(connection, ids))
        if not made:
            return None
        lineage = None if parent is None else await self.lineage(parent.world_id)
        if not is_retry(request, checked(made), lineage):
            msg = (
                f"command id {request.command_id} was accepted before with other content; "
                "give each command an id of its own"
            )
            raise CommandConflictError(msg, command_id=str(request.command_id))
        return [await self.info(row) for each in ids if (row := await self.peek(each)) is not None]

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
        live = self.forget(world.world_id)
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

    async def knows(self, world: store.WorldRow, command_id: UUID | None) -> bool:
        """Tell whether the command of that id stands in a world's own log."""
        if command_id is None:
            return False
        return await self._database.read(
            lambda connection: are_accepted(connection, world.world_id, [command_id])
        )

    async def info(self, world: store.WorldRow) -> WorldInfo:
        """Describe a world, its entities counted after its last tick."""
        return info_of(world, await self.counts(world, world.committed_tick, world.tick))

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
        return [described(row, entity_count) for row, entity_count in rows]

    async def lineage(self, world_id: UUID) -> Lineage:
        """Return a world's lineage; it never changes, so it is walked once for as long as it is kept."""
        found = self._lineages.get(world_id)
        if found is None:
            found = await self._database.read(lambda connection: store.lineage(connection, world_id))
            self._lineages.put(world_id, found)
        return found

    def forget(self, world_id: UUID) -> LiveWorld | None:
        """Let go of all that is kept of a world, and return its handles; the next use finds it again."""
        self._lineages.drop(world_id)
        return self.live_worlds.drop(world_id)
