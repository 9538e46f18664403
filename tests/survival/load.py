"""Clients that keep servers busy: single commands, batches, steps, runs and forks, all of known ids."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any
from uuid import UUID

import httpx

from survival.journal import Journal, Operation

__all__ = ["Client", "Load"]

BATCH_COMMANDS = 5
WORLDS_MAX = 4
"""Worlds that one client works with: its own and its forks."""

PAUSE_S = 0.05
ANSWER_TIMEOUT_S = 120.0
"""Far more than any answer takes, so that only a hang fails by it."""

_SPAWN = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]}
_RETRYABLE = {429, 503}
_SNAPSHOTS = (1, 3, "needed")


class Client:
    """Sends one operation after the other to servers in turn, each until it is answered."""

    def __init__(self, number: int, rng: Random, journal: Journal) -> None:
        self._rng = rng
        self._journal = journal
        self._number = number
        self._forks = 0
        self._planned = self._birth()
        self.worlds: list[UUID] = []
        self.unanswered: Operation | None = None

    async def work(self, servers: list[str], *, until: asyncio.Event, count: int | None = None) -> None:
        """Work until the event, or for `count` operations; with one server also until that is gone."""
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as http:
            done = 0
            while not until.is_set() and (count is None or done < count):
                self.unanswered = self.unanswered or self._next()
                answer = await self._settle(http, servers, self.unanswered, until)
                if answer is None:
                    return
                self._take_in(self.unanswered, answer)
                self.unanswered = None
                done += 1

    async def retry(self, servers: list[str], operations: list[Operation]) -> list[Any]:
        """Send operations, a second time mostly, and return their answers."""
        answers = []
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as http:
            for operation in operations:
                answer = await self._settle(http, servers, operation, asyncio.Event())
                assert answer is not None, f"no server answers {operation}"
                answers.append(answer)
        return answers

    def plan_run(self, tick_count: int) -> Operation:
        """Return an operation that starts a run of so many ticks, in the client's own world."""
        return self._run("start", self.worlds[0], tick_count)

    async def _settle(
        self, http: httpx.AsyncClient, servers: list[str], operation: Operation, until: asyncio.Event
    ) -> Any:
        """Return the answer to an operation, None when there is nobody left to ask."""
        while True:
            server = self._rng.choice(servers)
            self._journal.sent(operation)
            try:
                response = await http.post(
                    server + operation.path, json=operation.body, headers=operation.headers
                )
            except httpx.TimeoutException as error:
                raise AssertionError(f"{operation} hangs") from error
            except httpx.TransportError:
                if len(servers) == 1 or until.is_set():
                    return None
            else:
                if response.is_success:
                    answer = response.json()
                    self._journal.answered(operation, answer)
                    return answer
                _check_retryable(operation, response)
            await asyncio.sleep(PAUSE_S)

    def _take_in(self, operation: Operation, answer: Any) -> None:
        if operation.kind in {"create", "fork"} and len(self.worlds) < WORLDS_MAX:
            self.worlds.append(UUID(answer["world_id"]))

    def _next(self) -> Operation:
        if self._planned:
            return self._planned.pop(0)
        world_id = self._rng.choice(self.worlds)
        kinds = {"command": 10, "batch": 5, "step": 4, "run": 2, "start": 2, "fork": 1}
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        return self._operation(kind, world_id)

    def _birth(self) -> list[Operation]:
        """Plan the first operations: a world, and what runs in it."""
        world_id = self._id()
        body = {
            "name": f"client-{self._number}",
            "world_id": str(world_id),
            "seed": self._number,
            "snapshots": _SNAPSHOTS[self._number % len(_SNAPSHOTS)],
        }
        create = Operation("create", world_id, "/worlds", body, {}, (world_id,))
        processor = {"type": "add_processor", "payload": {"processor": "MovementProcessor"}}
        return [create, self._command(world_id, processor)]

    def _operation(self, kind: str, world_id: UUID) -> Operation:
        match kind:
            case "command":
                return self._command(world_id, {"type": "spawn", "payload": _SPAWN})
            case "batch":
                return self._batch(world_id)
            case "fork":
                return self._fork(world_id)
            case _:
                return self._run(kind, world_id, self._rng.randint(1, 5))

    def _command(self, world_id: UUID, command: dict[str, Any]) -> Operation:
        command_id = self._id()
        body = command | {"id": str(command_id)}
        return Operation("command", world_id, f"/worlds/{world_id}/commands", body, {}, (command_id,))

    def _batch(self, world_id: UUID) -> Operation:
        ids = tuple(self._id() for _ in range(BATCH_COMMANDS))
        commands = [{"type": "spawn", "payload": _SPAWN, "id": str(each)} for each in ids]
        headers = {"Prefer": "return=representation"}
        path = f"/worlds/{world_id}/commands/batch"
        return Operation("batch", world_id, path, {"commands": commands}, headers, ids)

    def _run(self, kind: str, world_id: UUID, tick_count: int) -> Operation:
        command_id = self._id()
        headers = {"Idempotency-Key": str(command_id)}
        if kind == "step":
            return Operation("step", world_id, f"/worlds/{world_id}/step", {}, headers, (command_id,), 1)
        if kind == "start":
            headers["Prefer"] = "respond-async"
        path, body = f"/worlds/{world_id}/run", {"num_steps": tick_count}
        return Operation(kind, world_id, path, body, headers, (command_id,), tick_count)

    def _fork(self, world_id: UUID) -> Operation:
        fork_id = self._id()
        self._forks += 1
        body = {"name": f"client-{self._number}-fork-{self._forks}"}
        headers = {"Idempotency-Key": str(fork_id)}
        return Operation("fork", fork_id, f"/worlds/{world_id}/fork", body, headers, (fork_id,))

    def _id(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)


class Load:
    """Several clients with one journal."""

    def __init__(self, seed: int, *, client_count: int) -> None:
        self._rng = Random(seed)
        self.journal = Journal()
        self.clients = [
            Client(number, Random(f"{seed}:{number}"), self.journal) for number in range(client_count)
        ]

    async def work(self, *servers: str, until: asyncio.Event | None = None, count: int | None = None) -> None:
        """Let all clients work; see `Client.work`."""
        until = until or asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.work(list(servers), until=until, count=count))

    async def retry(self, *servers: str, count: int) -> None:
        """Send some of what was answered once more; the journal compares."""
        known = self.journal.acknowledged
        chosen = self._rng.sample(known, min(count, len(known)))
        await self.clients[0].retry(list(servers), [entry.operation for entry in chosen])

    async def finish(self, *servers: str) -> None:
        """Settle what is open, send everything once more, and return when every run has ended."""
        await self.work(*servers, count=1)
        await self.retry(*servers, count=len(self.journal.entries))
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as http, asyncio.timeout(ANSWER_TIMEOUT_S):
            for entry in self.journal.acknowledged:
                if entry.operation.kind == "start":
                    await _ended(http, servers[0], entry.answer["run_id"])


async def _ended(http: httpx.AsyncClient, server: str, run_id: str) -> None:
    while (run := (await http.get(f"{server}/runs/{run_id}")).json())["status"] != "completed":
        assert run["status"] in {"waiting", "running", "stopped"}, run
        await asyncio.sleep(PAUSE_S)


def _check_retryable(operation: Operation, response: httpx.Response) -> None:
    is_busy = response.status_code == 409 and response.json()["code"] == "world_busy"
    assert is_busy or response.status_code in _RETRYABLE, (
        f"{operation}: {response.status_code} {response.text}"
    )
    assert "Retry-After" in response.headers, f"{operation}: no Retry-After: {response.text}"
