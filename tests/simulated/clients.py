"""Clients: they ask, lose patience or the connection, ask again elsewhere, and remember every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from archetype.errors import OverloadedError, UnavailableError, WorldBusyError
from simulated import requests
from simulated.loop import SimulatedLoop
from simulated.requests import Request
from simulated.servers import ConnectionLostError, Server

__all__ = ["Client"]

_RETRIED = (UnavailableError, OverloadedError, WorldBusyError, ConnectionLostError, TimeoutError)
PATIENCE_S = (0.05, 1.0, 30.0)


class Client:
    """Asks one thing after the other, of whichever server answers."""

    def __init__(
        self, name: str, loop: SimulatedLoop, servers: list[Server], tell: Callable[[str], None]
    ) -> None:
        self.name = name
        self.requests: list[Request] = []
        self._rng = loop.rng
        self._servers = servers
        self._tell = tell

    async def live(self, worlds: list[UUID], runs: list[UUID], *, request_count: int) -> None:
        """Ask so many things, and some of them again; what is forked and begun goes into the lists."""
        for _ in range(request_count):
            await asyncio.sleep(self._rng.expovariate(1.0))
            request = self._any_request(worlds, runs)
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
        while (answer := await self._once(request)) is None:
            await asyncio.sleep(self._rng.expovariate(2.0))
        self._tell(f"{self.name} {request.what} {request.command_ids[0]} = {answer}")
        request.answers.append(answer)
        assert answer == request.answers[0], f"{request.what} was answered twice: {request.answers}"

    async def _once(self, request: Request) -> Any:
        """Return the answer, the code of a refusal, or None where nobody answered."""
        server = self._rng.choice(self._servers)
        call = server.call(request.ask, is_cancelled_with_caller=request.is_cancelled_with_caller)
        try:
            return await asyncio.wait_for(call, self._rng.choice(PATIENCE_S))
        except request.refusals as error:
            return error.code
        except _RETRIED as error:
            self._tell(f"{self.name} {request.what} {request.command_ids[0]}: {error!r}")
            return None

    def _any_request(self, worlds: list[UUID], runs: list[UUID]) -> Request:
        rng, world_id = self._rng, self._rng.choice(worlds)
        kinds = ["submit"] * 5 + ["batch"] * 2 + ["run"] * 3 + ["start"] * 2 + ["fork"]
        match rng.choice([*kinds, "cancel"] if runs else kinds):
            case "submit":
                expected = rng.choice([None, None, rng.randint(1, 30)])
                return requests.submission(world_id, requests.any_command(rng), expected)
            case "batch":
                commands = [requests.any_command(rng) for _ in range(rng.randint(2, 6))]
                return requests.batch(world_id, commands)
            case "run":
                is_cancelled = rng.random() < 0.5
                steps = rng.choice([0, 1, 1, 2, 5])
                return requests.run(world_id, steps=steps, is_cancelled_with_caller=is_cancelled)
            case "start":
                return requests.start(world_id, steps=rng.randint(0, 8))
            case "cancel":
                return requests.cancelling(rng.choice(runs))
            case _:
                return requests.fork(world_id, include_pending=rng.random() < 0.5)
