"""Deeds in process: commands and steps of known ids, tried until they are done, and what they come to."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import UnavailableError, WorldBusyError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

__all__ = ["Deeds"]

TRIES_MAX = 20
SPAWN = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]}


class Deeds:
    """What one caller does in a world of its own; `refused_count` is how often it was told to try again."""

    def __init__(self, services: ServiceContainer, world_id: UUID) -> None:
        self._services = services
        self._world_id = world_id
        self.spawns: dict[UUID, int | None] = {}
        self.step_count = 0
        self.refused_count = 0

    @classmethod
    async def begin(cls, services: ServiceContainer, name: str = "deeds") -> Deeds:
        """Make a world with a mover's processor."""
        world = await services.world_service.create_world(WorldConfig(name=name, seed=3))
        deeds = cls(services, world.world_id)
        await deeds.submit(new_id(), "add_processor", {"processor": "MovementProcessor"})
        return deeds

    async def submit(self, command_id: UUID, kind: str, payload: dict[str, object]) -> int | None:
        request = CommandRequest(type=kind, payload=payload, id=command_id)
        receipt = await self._services.command_service.submit(self._world_id, request)
        return receipt.first_entity_id

    async def spawn(self) -> None:
        """Spawn a mover, once."""
        command_id = new_id()
        for _ in range(TRIES_MAX):
            try:
                self.spawns[command_id] = await self.submit(command_id, "spawn", SPAWN)
            except UnavailableError:
                self.refused_count += 1
            else:
                return
        raise AssertionError("the appender does not come back")

    async def step(self) -> None:
        """Run one tick, once."""
        request = RunRequest(steps=1, command_id=new_id())
        for _ in range(TRIES_MAX):
            try:
                result = await self._services.simulation_service.run(self._world_id, request)
            except (UnavailableError, WorldBusyError):
                self.refused_count += 1
            else:
                self.step_count += 1
                assert result.ticks_completed == 1
                return
        raise AssertionError("the world does not go on")

    async def check(self, services: ServiceContainer) -> None:
        """Compare what the database holds with what was told."""
        query = sa.text("SELECT event_id, first_entity_id FROM events WHERE type = 'spawn' ORDER BY position")
        rows = await services.database.read(lambda connection: connection.execute(query).all())
        assert [(UUID(str(row[0])), row[1]) for row in rows] == list(self.spawns.items())
        world = await services.world_service.find(self._world_id)
        assert world.tick == self.step_count
        report = await verify(services.database)
        assert report.is_sound, report.faults
