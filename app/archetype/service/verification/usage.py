"""Checking what actors used up: it follows from their commands."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from archetype.log.command import CommandType
from archetype.log.costs import cost_of
from archetype.log.facts import FactType
from archetype.log.hashes import HashedEvent
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store import audit
from archetype.store.database import Reading
from archetype.store.raw_rows import read_row
from archetype.store.schema import daily_usage, tick_usage
from archetype.store.usage import day_of

__all__ = ["UsageTally"]

_Place = tuple[UUID, UUID, int]
"""An actor in a world's tick."""

_Tick = tuple[UUID, int]


class UsageTally:
    """Counts what the log says that actors used up, and compares the rows with it.

    Ticks are counted while they are open, or where a row tells of them still.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._rows: dict[_Place, int] = {}
        self._ticks: dict[_Tick, dict[UUID, int]] = {}
        self._committed: dict[UUID, int] = {}
        self._days: dict[tuple[UUID, str], tuple[int, int]] = {}

    async def begin(self, reading: Reading) -> None:
        """Read which ticks there are rows for."""
        findings = self._findings
        for row in await reading.read(lambda connection: list(connection.execute(audit.select(tick_usage)))):
            where = _tick_place(row.actor_id, row.world_id, row.tick)
            stored = read_row(tick_usage, row)
            if findings.can_read(FaultKind.USAGE, where, stored):
                values = stored.values
                self._rows[values["actor_id"], values["world_id"], values["tick"]] = values["commands"]

    def count(self, event: HashedEvent) -> None:
        """Take in one row of a world's log; they come in order."""
        if event.kind == "command":
            self._count_command(event)
        elif event.type == FactType.TICK_COMMITTED:
            self._committed[event.world_id] = event.tick
            self._forget(event.world_id, event.tick)

    def _forget(self, world_id: UUID, tick: int) -> None:
        """Keep of a committed tick only what rows tell of still."""
        counted = self._ticks.pop((world_id, tick), {})
        told = {actor: count for actor, count in counted.items() if (actor, world_id, tick) in self._rows}
        if told:
            self._ticks[world_id, tick] = told

    def _count_command(self, event: HashedEvent) -> None:
        # What a fork took along was paid for where it was accepted.
        if event.actor_id is None or event.cause_id is not None or not (cost := _cost(event)):
            return
        day = (event.actor_id, day_of(event.recorded_at))
        commands, tokens = self._days.get(day, (0, 0))
        self._days[day] = (commands + 1, tokens + cost)
        if event.version > 1:  # the command that makes a world takes no place in its ticks
            by_actor = self._ticks.setdefault((event.world_id, event.tick), {})
            by_actor[event.actor_id] = by_actor.get(event.actor_id, 0) + 1

    async def finish(self, reading: Reading) -> None:
        """Compare the rows with what was counted."""
        ticks: dict[_Place, int] = {
            (actor_id, *tick): count
            for tick, by_actor in self._ticks.items()
            for actor_id, count in by_actor.items()
        }
        for key in sorted(self._rows.keys() | ticks.keys(), key=str):
            if key not in self._rows and key[2] <= self._committed.get(key[1], -1):
                continue
            self._compare(_tick_place(*key), "commands", self._rows.get(key), ticks.get(key))
        statement = audit.select(daily_usage)
        for row in await reading.read(lambda connection: list(connection.execute(statement))):
            where = place(actor=row.actor_id, day=row.day)
            stored = read_row(daily_usage, row)
            counted = self._days.pop((stored.values["actor_id"], stored.values["day"]), None)
            if self._findings.can_read(FaultKind.USAGE, where, stored):
                commands, tokens = counted or (None, None)
                self._compare(where, "commands", stored.values["commands"], commands)
                self._compare(where, "tokens", stored.values["tokens"], tokens)
        for (actor_id, day), (commands, _) in self._days.items():
            self._compare(place(actor=actor_id, day=day), "commands", None, commands)

    def _compare(self, where: str, name: str, found: int | None, counted: int | None) -> None:
        if found != counted:
            what = f"{name}: {found or 0} in the row, but the log says {counted or 0}"
            self._findings.add(FaultKind.USAGE, where, what)


def _tick_place(actor_id: Any, world_id: Any, tick: Any) -> str:
    return place(actor=actor_id, world=world_id, tick=tick)


def _cost(event: HashedEvent) -> int:
    """Return what a command cost; 0 for what is damaged, which is a fault of its own."""
    try:
        row_count = 1 if event.batch is None else json.loads(event.payload)["row_count"]
        return cost_of(CommandType(event.type), row_count)
    except (ValueError, TypeError, KeyError):
        return 0
