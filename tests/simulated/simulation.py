"""One simulation: servers, clients and a nemesis, until all is quiet and can be held against the log."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any
from uuid import UUID

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.service.admission import CommandRequest
from archetype.store.database import Database
from simulated.aftermath import check_answers, check_past, check_runs, query
from simulated.clients import Client
from simulated.clock import simulated_clock
from simulated.loop import Condition, Process, SimulatedLoop
from simulated.requests import batch, creation
from simulated.servers import Faults, Server
from simulated.witness import Witness

__all__ = ["Simulation", "simulate"]

SERVER_COUNT = 3
CLIENT_COUNT = 4
REQUEST_COUNT = 10
QUIET_WITHIN_S = 600.0


class Simulation:
    """What one seed leads to, over a migrated SQLite file; `trace` tells of it line by line."""

    def __init__(self, seed: int, path: Path) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(self.rng)
        self.path = path
        self.trace: list[str] = []
        self.processes: list[Process] = []
        self.servers: list[Server] = []
        self.databases: list[Database] = []
        self.faults = Faults(self.loop)
        self.witness = Witness(self.tell)
        self.chores: set[asyncio.Task[None]] = set()

    def tell(self, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{self.loop.time():.6f} {what}")

    def run(self) -> None:
        """Run it to its end; what happened is in `trace`."""
        with simulated_clock(self.loop, self.processes, self.seed):
            try:
                self.loop.run_until_complete(self._live())
                problems = list(self.loop.problems)
            finally:
                self.loop.run_until_complete(self._tidy_up())
                assert self.witness.problems == [], self.witness.problems
        assert problems == [], problems

    async def _live(self) -> None:
        for place in range(SERVER_COUNT):
            self.servers.append(self._new_server(place))
        clients = [Client(f"client-{n}", self.loop, self.servers, self.tell) for n in range(CLIENT_COUNT)]
        worlds, runs = await self._make_worlds(clients[0]), []
        self._unleash()
        lives = [each.live(worlds, runs, request_count=REQUEST_COUNT) for each in clients]
        await asyncio.gather(*lives)
        await self._calm()
        for client in clients:
            for request in filter(lambda each: each.is_lasting, list(client.requests)):
                await client.insist(request)
        check_answers(self.path, [request for client in clients for request in client.requests])
        for line in check_runs(self.path):
            self.tell(line)
        for server in self.servers:
            await server.stop()

    async def _tidy_up(self) -> None:
        """Let go of all that processes held that were killed, paused, or left behind by a failure."""
        self.faults.is_over = True
        self.loop.on_step = None
        for process in self.processes:
            self.loop.let_run(process)
        await self.loop.cancel_others()
        for database in self.databases:
            await database.close()

    def _new_server(self, place: int) -> Server:
        process = Process(f"host-{place % 2}", 100 + len(self.processes))
        self.processes.append(process)
        server = Server(process, self.path, self.faults, self.witness)
        self.databases.append(server.services.database)
        if self.rng.random() < 0.5:
            server.services.appender._flushers_max = 2  # as over PostgreSQL
        self.tell(f"{process.identity} is there")
        return server

    async def _make_worlds(self, client: Client) -> list[UUID]:
        ids = [new_id(), new_id()]
        for world_id in ids:
            snapshots = self.rng.choice([1, 3, "needed"])
            config = WorldConfig(world_id=world_id, seed=self.seed, snapshots=snapshots)
            await client.insist(creation(config))
            spawn = {"components": [{"type": "SimulatedAge"}]}
            commands = [CommandRequest("add_processor", {"processor": "SimulatedAgeing"}, id=new_id())]
            commands += [CommandRequest("spawn", spawn, id=new_id()) for _ in range(3)]
            await client.insist(batch(world_id, commands))
        return ids

    # The nemesis: what goes wrong is drawn step by step, so that it meets processes at any of their awaits.

    def _unleash(self) -> None:
        self.faults.rate = self.rng.choice([0.0, 0.01, 0.05])
        self.faults.delay_s = self.rng.choice([0.001, 0.01, 0.1])
        mean_steps = self.rng.choice([100, 400, 1500])
        self._next_strike = self.rng.randint(1, 2 * mean_steps)

        def on_step(_number: int) -> None:
            self._next_strike -= 1
            if not self._next_strike:
                self._next_strike = self.rng.randint(1, 2 * mean_steps)
                self._strike()

        self.loop.on_step = on_step

    def _strike(self) -> None:
        place = self.rng.randrange(len(self.servers))
        server = self.servers[place]
        if server.process.condition is not Condition.RUNNING or server.is_stopping:
            return
        kind = self.rng.choice(["kill", "kill", "pause", "pause", "stop"])
        self.tell(f"{kind} {server.process.identity}")
        match kind:
            case "kill":
                server.kill()
                self._do(self._replace(place))
            case "pause":
                server.process.condition = Condition.PAUSED
                self._do(self._wake(server))
            case _:
                server.is_stopping = True  # at once: one that is killed before its stop begins never ends it
                self._do(self._stop(place, server))

    def _do(self, chore: Any) -> None:
        task = self.loop.create_task(chore)
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)

    async def _replace(self, place: int) -> None:
        await asyncio.sleep(self.rng.uniform(0, 20))
        self.servers[place] = self._new_server(place)

    async def _wake(self, server: Server) -> None:
        await asyncio.sleep(self.rng.choice([0.5, 5.0, 15.0, 40.0]))
        if server.process.condition is Condition.PAUSED:
            self.tell(f"wake {server.process.identity}")
            self.loop.let_run(server.process)

    async def _stop(self, place: int, server: Server) -> None:
        await server.stop()
        self.tell(f"{server.process.identity} has stopped")
        self.servers[place] = self._new_server(place)

    async def _calm(self) -> None:
        """Let nothing more go wrong, and wait until every run has ended by itself."""
        self.tell("calm")
        self.loop.on_step = None
        self.faults.rate = 0.0
        while self.chores:
            await asyncio.wait(self.chores)
        until_s = self.loop.time() + QUIET_WITHIN_S
        unfinished = (
            "SELECT run_id, status FROM runs WHERE status NOT IN ('completed', 'failed', 'cancelled')"
        )
        while rows := query(self.path, unfinished):
            assert self.loop.time() < until_s, f"nobody takes these runs up: {rows}"
            await asyncio.sleep(1.0)


def simulate(simulation: Simulation) -> None:
    """Run a simulation, and examine what it left; AssertionError on whatever does not hold."""
    simulation.run()
    asyncio.run(check_past(simulation.path))
