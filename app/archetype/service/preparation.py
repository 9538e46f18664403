"""What a sealed tick is computed from: its inputs, its processors and its scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from archetype.errors import CodeChangedError, CodeNotLoadedError
from archetype.service.inputs import TickInputs, read_inputs
from archetype.service.live_worlds import LiveWorld
from archetype.service.processors import LoadedCode, ProcessorPool
from archetype.service.programs import MENDING_TYPES, REPLACING_TYPES, ProgramService
from archetype.service.projection import Projection
from archetype.service.schedulers import scheduler_settings
from archetype.service.worlds import WorldService
from archetype.store.database import Database
from archetype.store.log import LogRow, commands_of_tick, pending
from archetype.store.runs import Sealed
from archetype.store.worlds import WorldRow

__all__ = ["Preparation"]


class Preparation:
    """Reads what sealed ticks are given, and finds the code that they run."""

    def __init__(
        self, database: Database, worlds: WorldService, programs: ProgramService, pool: ProcessorPool
    ) -> None:
        self._database = database
        self._worlds = worlds
        self._programs = programs
        self._pool = pool

    async def prepare(
        self, world: WorldRow, projection: Projection, sealed: Sealed
    ) -> tuple[TickInputs, LoadedCode]:
        """Read a sealed tick's inputs and build its processors and scheduler.

        The inputs of a sealed tick are fixed, its code is not. What was replaced, and which resources were
        added, after a run sealed the tick and did not commit it, waits for the next tick and holds for this
        one already; so does a replacement where the recorded code is gone.
        """
        inputs = await self._read_inputs(projection, sealed)
        if sealed.was_sealed:
            late = await self._late(projection.world_id, sealed.tick, MENDING_TYPES)
            inputs = replace(inputs, program=read_inputs(late, inputs.program).program)
        program = inputs.program.scheduled(scheduler_settings(world.config))
        try:
            return replace(inputs, program=program), self._pool.load(world.world_id, program)
        except CodeChangedError:
            late = await self._late(projection.world_id, sealed.tick, REPLACING_TYPES)
            program = read_inputs(late, program).program
            return replace(inputs, program=program), self._pool.load(world.world_id, program)

    async def require_code(self, live: LiveWorld) -> None:
        """Refuse to seal anything while a world's code is not here, or not the recorded one."""
        try:
            held = live.projection
            if held is not None:
                self._pool.load(live.world_id, held.program)
                return
        except (CodeChangedError, CodeNotLoadedError):
            pass  # what waits for the next tick may replace or remove it
        world = await self._worlds.peek(live.world_id)
        if world is not None:
            self._pool.load(live.world_id, await self._programs.program(world))

    async def _read_inputs(self, projection: Projection, sealed: Sealed) -> TickInputs:
        if not sealed.has_commands:
            return TickInputs.none(projection.program)
        rows = await self._database.read(
            lambda connection: commands_of_tick(connection, projection.world_id, sealed.tick)
        )
        return await asyncio.to_thread(read_inputs, rows, projection.program)

    async def _late(self, world_id: UUID, tick: int, types: Sequence[str]) -> list[LogRow]:
        """Return the commands that came too late for a sealed tick, and wait for the next one."""
        rows = await self._database.read(lambda connection: pending(connection, world_id, types))
        return [row for row in rows if row.event.tick == tick + 1]
