"""What clients ask for: each request has ids of its own, and a part of its answer that must never change."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import (
    ArchetypeError,
    RunCancelledError,
    RunEndedError,
    TickFailedError,
    TickNotFoundError,
    VersionConflictError,
)
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.forks import ForkRequest
from archetype.service.runs import RunRequest

__all__ = ["Request", "any_command", "batch", "cancelling", "creation", "fork", "run", "start", "submission"]


@dataclass
class Request:
    """Something that is asked for until there is an answer; `refusals` are answers too.

    `ask` gives the part of the answer that must never change. `is_cancelled_with_caller` says that whoever
    gives up takes the request back.
    """

    what: str
    command_ids: list[UUID]
    ask: Callable[[ServiceContainer], Any]
    refusals: tuple[type[ArchetypeError], ...] = ()
    is_cancelled_with_caller: bool = False
    answers: list[Any] = field(default_factory=list)

    @property
    def is_accepted(self) -> bool:
        """Whether it was answered, and not refused, which is told by an error's code."""
        return bool(self.answers) and not isinstance(self.answers[0], str)

    @property
    def is_lasting(self) -> bool:
        """Whether the answer holds for ever.

        A version that was not there yet may come, and a run that another cancels too may complete.
        """
        return self.what != "cancel" and (self.is_accepted or VersionConflictError not in self.refusals)


def any_command(rng: random.Random) -> CommandRequest:
    """Return a command on one of the first entities, on one that may not exist, or for a new one."""
    entity_id = rng.randint(1, 8)
    value = {"type": "SimulatedAge", "ticks": rng.randint(0, 9) * 1000}
    kind, payload = rng.choice(
        [
            ("spawn", {"components": [value]}),
            ("spawn", {"components": [value]}),
            ("update", {"entity_id": entity_id, "components": [value]}),
            ("despawn", {"entity_id": entity_id}),
            ("message", {"receiver_id": entity_id, "content": "hello"}),
            ("custom", {"said": entity_id}),
        ]
    )
    tick, priority = rng.choice([0, 0, 0, 5]), rng.choice([0, 0, -1, 1])
    return CommandRequest(kind, payload, id=new_id(), tick=tick, priority=priority)


def creation(config: WorldConfig) -> Request:
    """Ask for a world of a given id."""
    assert config.world_id is not None

    async def ask(services: ServiceContainer) -> Any:
        return (await services.world_service.create_world(config)).world_id

    return Request("create", [config.world_id], ask)


def submission(world_id: UUID, command: CommandRequest, expected_version: int | None) -> Request:
    """Submit one command."""
    assert command.id is not None
    refusals: tuple[type[ArchetypeError], ...] = () if expected_version is None else (VersionConflictError,)

    async def ask(services: ServiceContainer) -> Any:
        submit = services.command_service.submit
        return [
            (await submit(world_id, command, expected_version=expected_version))._replace(is_duplicate=False)
        ]

    return Request("submit", [command.id], ask, refusals)


def batch(world_id: UUID, commands: Sequence[CommandRequest]) -> Request:
    """Submit commands together."""

    async def ask(services: ServiceContainer) -> Any:
        receipts = await services.command_service.submit_batch(world_id, commands)
        return [each._replace(is_duplicate=False) for each in receipts]

    return Request("batch", [each.id for each in commands if each.id is not None], ask)


def run(world_id: UUID, *, steps: int, is_cancelled_with_caller: bool) -> Request:
    """Run a world and wait for it."""
    asked = RunRequest(steps=steps, command_id=new_id())
    assert asked.command_id is not None

    async def ask(services: ServiceContainer) -> Any:
        done = await services.simulation_service.run(world_id, asked)
        counts = done.ticks_completed, done.commands_applied, done.commands_rejected
        return done.run_id, *counts, done.final_tick

    refusals = (RunCancelledError, TickFailedError) if is_cancelled_with_caller else (RunCancelledError,)
    return Request("run", [asked.command_id], ask, refusals, is_cancelled_with_caller)


def start(world_id: UUID, *, steps: int) -> Request:
    """Begin a run that nobody waits for."""
    asked = RunRequest(steps=steps, command_id=new_id())
    assert asked.command_id is not None

    async def ask(services: ServiceContainer) -> Any:
        info = await services.run_service.start(world_id, asked)
        return info.run_id, info.from_tick, info.ticks_requested, info.started_at.isoformat()

    return Request("start", [asked.command_id], ask)


def cancelling(run_id: UUID) -> Request:
    """Cancel a run; the tick that is being computed may be its last, and then it completes all the same."""
    command_id = new_id()

    async def ask(services: ServiceContainer) -> Any:
        return (await services.run_service.cancel(run_id, command_id=command_id, reason="as asked")).run_id

    return Request("cancel", [command_id], ask, (RunEndedError,))


def fork(world_id: UUID, *, include_pending: bool) -> Request:
    """Fork a world at the last tick that it has when the request is served."""
    command_id = new_id()
    asked = ForkRequest(f"fork-{command_id.hex}", include_pending=include_pending, command_id=command_id)
    asked_first: list[ForkRequest] = []

    async def ask(services: ServiceContainer) -> Any:
        parent = await services.world_service.find(world_id)
        if not asked_first:
            has_tick = parent.committed_tick >= 0
            asked_first.append(asked if has_tick else replace(asked, include_pending=False))
        (info,) = await services.world_service.fork(parent, asked_first[0])
        return info.world_id, info.parent_id, info.fork_tick, info.seed

    return Request("fork", [command_id], ask, (TickNotFoundError,))
