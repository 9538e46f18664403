"""Clients: they ask, lose patience or the connection, ask again elsewhere, and remember every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from archetype.clock import new_id
from archetype.errors import (
    ArchetypeError,
    OverloadedError,
    RunCancelledError,
    RunEndedError,
    TickFailedError,
    TickNotFoundError,
    UnavailableError,
    VersionConflictError,
    WorldBusyError,
)
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.forks import ForkRequest
from archetype.service.runs import RunRequest
from simulated.loop import SimulatedLoop
from simulated.servers import ConnectionLostError, Server

__all__ = ["Client", "Request"]

_RETRIED = (UnavailableError, OverloadedError, WorldBusyError, ConnectionLostError, TimeoutError)


@dataclass
class Request:
    """Something that is asked for under command ids of its own, until there is an answer.

    `ask` gives the part of the answer that must never change; `refusals` are answers too. `may_be_cancelled`
    says that whoever gives up takes the request back.
    """

    what: str
    command_ids: list[UUID]
    ask: Callable[[ServiceContainer], Any]
    refusals: tuple[type[ArchetypeError], ...] = ()
    may_be_cancelled: bool = False
    answers: list[Any] = field(default_factory=list)
    try_count: int = 0

    @property
    def is_lasting(self) -> bool:
        """Whether the answer holds for ever: a version that was not there yet may come."""
        return self.is_accepted or VersionConflictError not in self.refusals

    @property
    def is_accepted(self) -> bool:
        """Whether it was answered, and not refused."""
        return bool(self.answers) and not isinstance(self.answers[0], str)


class Client:
    """Asks one thing after the other, of whichever server answers."""

    def __init__(self, name: str, loop: SimulatedLoop, servers: list[Server], tell: Callable[[str], None]) -> None:
        self.name = name
        self.requests: list[Request] = []
        self._loop = loop
        self._rng = loop.rng
        self._servers = servers
        self._tell = tell

    async def live(self, worlds: list[UUID], runs: list[UUID], *, request_count: int) -> None:
        """Ask so many things, and some of them again; what is forked and begun goes into the lists."""
        kinds = [self._submit] * 5 + [self._batch] * 2 + [self._run] * 3 + [self._start] * 2
        kinds += [self._cancel, self._fork]
        for _ in range(request_count):
            await asyncio.sleep(self._rng.expovariate(1.0))
            request = self._rng.choice(kinds)(self._rng.choice(worlds), runs)
            await self.insist(request)
            if self._rng.random() < 0.3 and request.is_lasting:
                await self.insist(request)
            if request.is_accepted and request.what == "fork":
                worlds.append(request.command_ids[0])
            if request.is_accepted and request.what == "start":
                runs.append(request.answers[0][0])

    async def insist(self, request: Request) -> None:
        """Ask until there is an answer, and compare it with the earlier ones."""
        if request not in self.requests:
            self.requests.append(request)
        while True:
            answer = await self._once(request)
            if answer is not None:
                break
            await asyncio.sleep(self._rng.expovariate(2.0))
        self._tell(f"{self.name} {request.what} {request.command_ids[0]} = {answer}")
        request.answers.append(answer)
        assert answer == request.answers[0], f"{request.what} was answered twice: {request.answers}"

    async def _once(self, request: Request) -> Any:
        """Return the answer, the code of a refusal, or None where nobody answered."""
        server = self._rng.choice(self._servers)
        request.try_count += 1
        patience_s = self._rng.choice([0.05, 1.0, 30.0])
        call = server.call(request.ask, is_cancelled_with_caller=request.may_be_cancelled)
        try:
            return await asyncio.wait_for(call, patience_s)
        except request.refusals as error:
            return error.code
        except _RETRIED as error:
            self._tell(f"{self.name} {request.what} {request.command_ids[0]}: {error!r}")
            return None

    def _command(self) -> CommandRequest:
        """Return a command on one of the first entities, on one that may not exist, or for a new one."""
        entity_id = self._rng.randint(1, 8)
        value = {"type": "SimulatedAge", "ticks": self._rng.randint(0, 9) * 1000}
        kind, payload = self._rng.choice(
            [
                ("spawn", {"components": [value]}),
                ("spawn", {"components": [value]}),
                ("update", {"entity_id": entity_id, "components": [value]}),
                ("despawn", {"entity_id": entity_id}),
                ("message", {"receiver_id": entity_id, "content": "hello"}),
                ("custom", {"said": entity_id}),
            ]
        )
        tick, priority = self._rng.choice([0, 0, 0, 5]), self._rng.choice([0, 0, -1, 1])
        return CommandRequest(kind, payload, id=new_id(), tick=tick, priority=priority)

    def _submit(self, world_id: UUID, _runs: list[UUID]) -> Request:
        command = self._command()
        expected = self._rng.choice([None, None, self._rng.randint(1, 30)])
        refusals: tuple[type[ArchetypeError], ...] = () if expected is None else (VersionConflictError,)

        async def ask(services: ServiceContainer) -> Any:
            receipt = await services.command_service.submit(world_id, command, expected_version=expected)
            return [tuple(receipt._replace(is_duplicate=False))]

        return Request("submit", [command.id], ask, refusals)

    def _batch(self, world_id: UUID, _runs: list[UUID]) -> Request:
        commands = [self._command() for _ in range(self._rng.randint(2, 6))]

        async def ask(services: ServiceContainer) -> Any:
            receipts = await services.command_service.submit_batch(world_id, commands)
            return [tuple(each._replace(is_duplicate=False)) for each in receipts]

        return Request("batch", [each.id for each in commands], ask)

    def _run(self, world_id: UUID, _runs: list[UUID]) -> Request:
        asked = RunRequest(steps=self._rng.choice([0, 1, 1, 2, 5]), command_id=new_id())

        async def ask(services: ServiceContainer) -> Any:
            done = await services.simulation_service.run(world_id, asked)
            return (done.run_id, done.ticks_completed, done.commands_applied, done.commands_rejected, done.final_tick)

        is_cancelled = self._rng.random() < 0.5
        refusals = (RunCancelledError, TickFailedError) if is_cancelled else (RunCancelledError,)
        return Request("run", [asked.command_id], ask, refusals, may_be_cancelled=is_cancelled)

    def _start(self, world_id: UUID, _runs: list[UUID]) -> Request:
        asked = RunRequest(steps=self._rng.randint(0, 8), command_id=new_id())

        async def ask(services: ServiceContainer) -> Any:
            info = await services.run_service.start(world_id, asked)
            return info.run_id, info.from_tick, info.ticks_requested, info.started_at.isoformat()

        return Request("start", [asked.command_id], ask)

    def _cancel(self, world_id: UUID, runs: list[UUID]) -> Request:
        if not runs:
            return self._submit(world_id, runs)
        run_id = self._rng.choice(runs)
        command_id = new_id()

        async def ask(services: ServiceContainer) -> Any:
            # The tick that is being computed may be the last one: then the run completes all the same.
            reason = "a client said so"
            return (await services.run_service.cancel(run_id, command_id=command_id, reason=reason)).run_id

        return Request("cancel", [command_id], ask, (RunEndedError,))

    def _fork(self, world_id: UUID, _runs: list[UUID]) -> Request:
        command_id = new_id()
        asked = ForkRequest(
            f"fork-{command_id.hex}", include_pending=self._rng.random() < 0.5, command_id=command_id
        )

        async def ask(services: ServiceContainer) -> Any:
            parent = await services.world_service.find(world_id)
            asked_now = asked if parent.committed_tick >= 0 else replace(asked, include_pending=False)
            (info,) = await services.world_service.fork(parent, asked_now)
            return info.world_id, info.parent_id, info.fork_tick, info.seed

        return Request("fork", [command_id], ask, (TickNotFoundError,))
