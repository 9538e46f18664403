"""A writer in a process of its own, for faults to be injected into: says what it was told, line by line."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from uuid import UUID

from archetype.errors import ArchetypeError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest

SPAWN = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]}


def say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def write(url: str, world_id: UUID, ids: list[UUID]) -> None:
    """Spawn, step, spawn, run: one operation for each id; `told` is what came of it."""
    async with ServiceContainer(url) as services:
        say(ready=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number, command_id in enumerate(ids):
            try:
                if number % 2 == 0:
                    request = CommandRequest("spawn", SPAWN, id=command_id)
                    receipt = await services.command_service.submit(world_id, request)
                    told = [receipt.position, receipt.version, receipt.tick, receipt.first_entity_id]
                else:
                    run = RunRequest(steps=number, command_id=command_id)
                    result = await services.simulation_service.run(world_id, run)
                    told = [result.ticks_completed, result.commands_applied, result.final_tick]
            except ArchetypeError as error:
                say(id=str(command_id), refused=error.code, message=error.message)
            else:
                say(id=str(command_id), told=told)
        say(done=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], UUID(sys.argv[2]), [UUID(each) for each in sys.argv[3:]]))
