"""How many commands may wait in one world: looked at beside the append, so that it costs that nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from archetype.errors import OverloadedError
from archetype.limits import PENDING_COMMANDS_MAX
from archetype.log.command import QUEUED_TYPES
from archetype.service.appender import Appender
from archetype.store.acceptance import Answer, NewCommand
from archetype.store.database import Database
from archetype.store.pending import PendingCount, are_accepted, recounted

__all__ = ["BoundedAppender"]


@dataclass(slots=True)
class _World:
    """What is known of a world: it is surely not full before `full_version`, and was at `head_version`."""

    full_version: int
    head_version: int = 0
    under_way: int = 0
    counted: PendingCount | None = None
    counting: asyncio.Lock | None = None

    @property
    def spare(self) -> int:
        """How many commands it surely has room for."""
        return self.full_version - self.head_version - self.under_way

    @property
    def is_negligible(self) -> bool:
        """Whether its log is so short that nothing needs to be known of it."""
        return not self.under_way and self.counted is None and self.head_version <= self.full_version // 2


class BoundedAppender:
    """Appends commands that wait for ticks, as long as their world has room for them.

    No more wait than its log has grown since they were counted: only where that could be too many are they
    counted, again where the world has changed since. The servers of one database learn from the answers to
    their own commands how far a world has come, so each may be late by what it has under way.
    """

    def __init__(self, database: Database, appender: Appender) -> None:
        self._database = database
        self._appender = appender
        self._worlds: dict[UUID, _World] = {}

    async def append(
        self, group: Sequence[NewCommand], *, expected_version: int | None = None
    ) -> list[Answer]:
        """Append a group of one world as `Appender.append` does.

        Raises `OverloadedError` where too many would wait; then nothing is stored. A retry is answered.
        """
        if not group:
            return []
        world_id, count = group[0].world_id, len(group)
        world = self._worlds.get(world_id)
        if world is None:
            world = self._worlds[world_id] = _World(PENDING_COMMANDS_MAX)
        if world.spare < count:
            await self._require_room(world, group)
        world.under_way += count
        try:
            answers = await self._appender.append(group, expected_version=expected_version)
            for answer in answers:
                version = answer.version or answer.head_version or 0
                world.head_version = max(world.head_version, version)
        finally:
            world.under_way -= count
            if world.is_negligible:
                self._worlds.pop(world_id, None)
        return answers

    async def _require_room(self, world: _World, group: Sequence[NewCommand]) -> None:
        world_id, before = group[0].world_id, world.counted
        world.counting = world.counting or asyncio.Lock()
        async with world.counting:
            if world.counted is before:
                counted = await self._database.read(
                    lambda connection: recounted(connection, world_id, QUEUED_TYPES, before)
                )
                world.counted = counted
                world.head_version = max(world.head_version, counted.head_version)
                world.full_version = counted.head_version + PENDING_COMMANDS_MAX - counted.count
            if world.spare >= len(group):
                return
        ids = [command.event_id for command in group]
        if await self._database.read(lambda connection: are_accepted(connection, world_id, ids)):
            return
        count = world.counted.count if world.counted else 0
        msg = (
            f"{count} commands wait in the world already, {PENDING_COMMANDS_MAX} are allowed: step or run it "
            "until they are applied, or send rows as one Arrow table, which is one command"
        )
        raise OverloadedError(
            msg, retry_after_s=1.0, pending_count=count, pending_commands_max=PENDING_COMMANDS_MAX
        )
