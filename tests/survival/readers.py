"""Readers beside the load: of worlds, at any server, and of the whole log as it grows."""

from __future__ import annotations

import asyncio
import json
from random import Random
from uuid import UUID

import httpx

from survival.history import Append, Reading, check_history
from survival.journal import Journal
from survival.load import ANSWER_TIMEOUT_S, PAUSE_S, Load

__all__ = ["LogFollower", "WorldReader", "check_readings"]

PAGE = 1_000


class WorldReader:
    """Reads the lists and ticks of the clients' worlds, at servers in turn."""

    def __init__(self, seed: int, load: Load) -> None:
        self._rng = Random(f"{seed}:reader")
        self._load = load
        self.readings: list[Reading] = []
        self.tick_count = 0

    async def read(self, servers: list[str], *, until: asyncio.Event) -> None:
        """Read until the event; a server that is gone is passed over."""
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as http:
            while not until.is_set():
                worlds = [each for client in self._load.clients for each in client.worlds[:1]]
                if worlds:
                    await self._read_one(http, self._rng.choice(servers), self._rng.choice(worlds))
                await asyncio.sleep(PAUSE_S)

    async def _read_one(self, http: httpx.AsyncClient, server: str, world_id: UUID) -> None:
        journal = self._load.journal
        known_tick, sent_at = _known_tick(journal, world_id), journal.tell()
        try:
            world = (await http.get(f"{server}/worlds/{world_id}")).json()
            query = {"types": "spawn,add_processor", "limit": PAGE}
            entries = (await http.get(f"{server}/worlds/{world_id}/commands", params=query)).json()
        except httpx.TimeoutException as error:
            raise AssertionError("a reading hangs") from error
        except httpx.TransportError:
            return
        assert world["tick"] >= known_tick, f"tick {known_tick} was answered, and then {world['tick']} read"
        self.tick_count += 1
        ids = tuple(UUID(each["id"]) for each in entries)
        self.readings.append(Reading(world_id, ids, sent_at, journal.tell()))


def _known_tick(journal: Journal, world_id: UUID) -> int:
    """Return the furthest tick of a world that any answer told of."""
    names = {"step": "tick", "run": "final_tick"}
    told = [
        entry.answer[names[entry.operation.kind]]
        for entry in journal.acknowledged
        if entry.operation.kind in names and entry.operation.world_id == world_id
    ]
    return max(told, default=0)


class LogFollower:
    """Follows the log of all worlds, at one server, from its beginning."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self._grown = asyncio.Event()

    async def follow(self, server: str) -> None:
        """Note the positions that come, until cancelled."""
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S)
        async with (
            httpx.AsyncClient(timeout=timeout) as http,
            http.stream("GET", f"{server}/events", params={"after": 0}) as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    self.positions.append(json.loads(line[5:])["position"])
                    self._grown.set()

    async def reach(self, position: int) -> None:
        """Return when everything up to a position has come."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not self.positions or self.positions[-1] < position:
                self._grown.clear()
                await self._grown.wait()


def check_readings(journal: Journal, readings: list[Reading], final: dict[UUID, list[UUID]]) -> None:
    """Judge what all clients were told; `final` is each world's list of commands in the end."""
    appends = [
        Append(
            entry.operation.world_id,
            UUID(receipt["id"]),
            entry.sent_at,
            entry.answered_at,
            receipt["position"],
        )
        for entry in journal.acknowledged
        for receipt in entry.receipts
        if entry.answered_at is not None
    ]
    sent_at = {
        command_id: entry.sent_at for entry in journal.entries.values() for command_id in entry.operation.ids
    }
    check_history(appends, readings, final, sent_at)
