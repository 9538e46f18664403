"""Labels: names for ticks, which references use."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from archetype.errors import CommandConflictError, TickNotFoundError
from archetype.log.command import CommandType
from archetype.service.direct import direct_command, write_direct
from archetype.service.worlds import WorldService
from archetype.store import labels as store
from archetype.store.database import Database
from archetype.store.worlds import WorldRow

__all__ = ["Label", "LabelService"]


@dataclass(frozen=True, slots=True)
class Label:
    """A label as it is listed; `world_id` is the world it is of, which may be an ancestor."""

    name: str
    tick: int
    world_id: UUID


class LabelService:
    """Names ticks, and lists the names."""

    def __init__(self, database: Database, worlds: WorldService) -> None:
        self._database = database
        self._worlds = worlds

    async def add(
        self,
        world: WorldRow,
        name: str,
        tick: int,
        *,
        is_relative: bool = False,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> Label:
        """Name a committed tick of a world; its forks from there on inherit the name.

        `is_relative` says that the caller asked for a tick that moves as the world does: a retry with the
        same command id answers as the first time, though it would be another tick by now. Raises
        `PayloadError` on a bad name, `TickNotFoundError` for a tick that is not committed, and
        `LabelTakenError` when the world has a label of that name.
        """
        if world.committed_tick < 0:
            msg = f"world {world.name!r} has no committed tick yet that could be labelled"
            raise TickNotFoundError(msg, tick=tick, committed_tick=-1)
        tick = self._worlds.committed(world, tick)
        command = direct_command(
            CommandType.ADD_LABEL,
            world.world_id,
            {"name": name, "tick": tick},
            command_id=command_id,
            actor_id=actor_id,
        )
        try:
            await write_direct(
                self._database,
                command,
                lambda connection: store.add(connection, command, name, tick, expected_version),
                expected_version,
            )
        except CommandConflictError:
            made = await self._database.read(lambda connection: store.find_made(connection, command, name))
            if made is None or not is_relative:
                raise
            tick = made.tick
        return Label(name, tick, world.world_id)

    async def remove(
        self,
        world: WorldRow,
        name: str,
        *,
        command_id: UUID | None = None,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Take a world's own label away; `LabelNotFoundError` when it has none of that name."""
        command = direct_command(
            CommandType.REMOVE_LABEL, world.world_id, {"name": name}, command_id=command_id, actor_id=actor_id
        )
        await write_direct(
            self._database,
            command,
            lambda connection: store.remove(connection, command, name, expected_version),
            expected_version,
        )

    async def list_labels(
        self, world: WorldRow, *, after: tuple[int, str] | None = None, limit: int | None = None
    ) -> list[Label]:
        """List a world's labels, inherited ones too, by tick and name, behind those of `after`."""
        segments = (await self._worlds.lineage(world.world_id)).segments
        rows = await self._database.read(
            lambda connection: store.list_inherited(connection, segments, after=after, limit=limit)
        )
        return [Label(row.name, row.tick, row.world_id) for row in rows]
