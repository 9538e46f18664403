"""Which processors and resources a world has, as its log says: after a tick, and in the one to come."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from archetype.log.command import CommandType
from archetype.service.inputs import read_inputs
from archetype.service.program import ProcessorInfo, Program
from archetype.service.resource_records import ResourceRecord
from archetype.service.schedulers import scheduler_settings
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.log import LogRow, pending
from archetype.store.snapshots import program_document
from archetype.store.ticks import tick_row
from archetype.store.worlds import WorldRow

__all__ = ["MENDING_TYPES", "REPLACING_TYPES", "ProgramService"]

REPLACING_TYPES = (CommandType.REPLACE_PROCESSOR.value,)
MENDING_TYPES = (*REPLACING_TYPES, CommandType.ADD_RESOURCE.value)
"""What a sealed tick that failed takes in all the same, although it waits for the next one."""

_CHANGING = (
    CommandType.ADD_PROCESSOR.value,
    CommandType.REMOVE_PROCESSOR.value,
    CommandType.REMOVE_RESOURCE.value,
)
_RESOURCES = (CommandType.ADD_RESOURCE.value, CommandType.REMOVE_RESOURCE.value)


class ProgramService:
    """Reads programs: the recorded ones, and with what waits."""

    def __init__(self, database: Database, worlds: WorldService) -> None:
        self._database = database
        self._worlds = worlds

    async def processors(self, world: WorldRow) -> list[ProcessorInfo]:
        """List the processors that will run in the next tick, in the order in which they run."""
        return (await self.program(world)).infos()

    async def program(self, world: WorldRow) -> Program:
        """Return the program of the next tick: the recorded one with what waits for that tick applied.

        A replacement or a resource that waits behind a sealed tick holds for that tick already.
        """
        program, rows = await self._recorded(world, (*_CHANGING, *MENDING_TYPES))
        waiting = [
            row
            for row in rows
            if row.event.tick <= (world.tick if row.event.type in _CHANGING else world.open_tick)
        ]
        return read_inputs(waiting, program).program.scheduled(scheduler_settings(world.config))

    async def resources(self, world: WorldRow) -> tuple[ResourceRecord, ...]:
        """Return the recorded resources, with what waits for the next tick and for the open one applied."""
        program, rows = await self._recorded(world, _RESOURCES)
        return read_inputs(
            [row for row in rows if row.event.tick <= world.open_tick], program
        ).program.resources

    async def program_after(self, world: WorldRow, tick: int) -> Program:
        """Return the program that a committed tick ran with; -1 is before the first."""
        owner_id = (await self._worlds.lineage(world.world_id)).owner_of(tick)

        def fetch(connection: Connection) -> Program:
            row = tick_row(connection, owner_id, tick)
            document = program_document(connection, row.code_hash) if row is not None else None
            return Program() if document is None else Program.from_document(document)

        return await self._database.read(fetch)

    async def _recorded(self, world: WorldRow, types: Sequence[str]) -> tuple[Program, list[LogRow]]:
        """Return the program of the last committed tick, and the commands of these types that wait."""
        program = await self.program_after(world, world.committed_tick)
        rows = await self._database.read(lambda connection: pending(connection, world.world_id, types))
        return program, rows
