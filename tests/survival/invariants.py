"""What must hold of a database whatever happened to the servers: checked against what clients were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.container import ServiceContainer
from archetype.service.verification.verify import verify
from archetype.store.schema import events, log_head, runs, ticks, worlds
from survival.journal import Journal

__all__ = ["check"]

HISTORY_MAX = 100_000


class _Stored:
    """Everything that the checks look at, as one read sees it."""

    def __init__(self, connection: Connection) -> None:
        columns = [column for column in events.columns if column.name not in {"batch", "hash"}]
        self.head: int = connection.scalar(sa.select(log_head.c.position)) or 0
        self.events = connection.execute(sa.select(*columns).order_by(events.c.position)).all()
        self.ticks = connection.execute(sa.select(ticks).order_by(ticks.c.world_id, ticks.c.tick)).all()
        self.worlds = {row.world_id: row for row in connection.execute(sa.select(worlds))}
        self.runs = {row.event_id: row for row in connection.execute(sa.select(runs))}

    def past(self, world_id: UUID) -> list[tuple[UUID, int]]:
        """Return whose ticks a world's past is made of, up to which each; itself last."""
        row = self.worlds[world_id]
        own = [(world_id, row.committed_tick)]
        if row.parent_id is None:
            return own
        return [(each, min(last, row.fork_tick)) for each, last in self.past(row.parent_id)] + own


async def check(database_url: str, journal: Journal) -> None:
    """Raise `AssertionError` unless the database holds exactly what it must."""
    async with ServiceContainer(database_url) as services:
        stored = await services.database.read(_Stored)
        _check_log(stored)
        _check_acknowledged(stored, journal)
        _check_ticks(stored)
        _check_runs(stored, journal)
        for world_id in stored.worlds:
            await _check_world(services, stored, world_id)
        report = await verify(services.database)
        assert report.is_sound, report.faults


def _check_log(stored: _Stored) -> None:
    """Positions and versions without a hole, no command twice in a world."""
    assert [row.position for row in stored.events] == list(range(1, stored.head + 1))
    versions: dict[UUID, list[int]] = {}
    for row in stored.events:
        versions.setdefault(row.world_id, []).append(row.version)
    for world_id, found in versions.items():
        first = found[0]
        assert found == list(range(first, first + len(found))), f"world {world_id}"
        assert found[-1] == stored.worlds[world_id].head_version, f"world {world_id}"
    ids = Counter((row.world_id, row.event_id) for row in stored.events)
    assert [each for each, count in ids.items() if count > 1] == []


def _check_acknowledged(stored: _Stored, journal: Journal) -> None:
    """Each acknowledged command is there, where its answer said; nothing is there that nobody sent."""
    commands = {(row.world_id, row.event_id): row for row in stored.events if row.kind == "command"}
    sent = {
        (entry.operation.world_id, command_id)
        for entry in journal.entries.values()
        for command_id in entry.operation.ids
    }
    assert commands.keys() <= sent
    for entry in journal.acknowledged:
        operation = entry.operation
        rows = [commands[operation.world_id, command_id] for command_id in operation.ids]
        for row, receipt in zip(rows, entry.receipts, strict=False):
            said = [receipt[name] for name in ("position", "version", "tick", "entity_id")]
            assert said == [row.position, row.version, row.tick, row.first_entity_id], operation
        positions = [row.position for row in rows]
        assert positions == list(range(positions[0], positions[0] + len(rows))), f"torn: {operation}"


def _check_ticks(stored: _Stored) -> None:
    """Each world's ticks follow on each other, each once and with its fact."""
    facts = Counter((row.world_id, row.tick) for row in stored.events if row.type == "tick_committed")
    assert facts == Counter((row.world_id, row.tick) for row in stored.ticks)
    by_world: dict[UUID, list[Any]] = {}
    for row in stored.ticks:
        by_world.setdefault(row.world_id, []).append(row)
    for world_id, world in stored.worlds.items():
        rows = by_world.get(world_id, [])
        first = 0 if world.fork_tick is None else world.fork_tick + 1
        assert [row.tick for row in rows] == list(range(first, world.committed_tick + 1))
        for before, after in pairwise(rows):
            assert after.parent_hash == before.commit_hash


def _check_runs(stored: _Stored, journal: Journal) -> None:
    """Every run that was acknowledged has ended, with exactly the ticks that were asked for."""
    done = Counter(row.run_id for row in stored.ticks)
    for entry in journal.acknowledged:
        operation = entry.operation
        if not operation.tick_count:
            continue
        run = stored.runs[operation.ids[0]]
        assert run.status == "completed", run
        assert run.ticks_completed == operation.tick_count, run
        assert done[run.run_id] == operation.tick_count, run


async def _check_world(services: ServiceContainer, stored: _Stored, world_id: UUID) -> None:
    """Every entity stands where its age puts it; history is the shared past and one's own, and replays."""
    world = await services.world_service.find(world_id)
    past = stored.past(world_id)
    applied = [row for owner_id, last in past for row in _commands(stored, owner_id) if row.tick <= last]
    births = {row.first_entity_id: row.tick for row in applied if row.type == "spawn"}
    if world.committed_tick >= 0 and births:
        table = await services.query_service.frame(world, components=["Position"])
        columns = [table[name].to_pylist() for name in ("entity_id", "position__x")]
        now = world.committed_tick + 1
        # A fork of a world that has no tick yet has none of its processors.
        moving = min((row.tick for row in applied if row.type == "add_processor"), default=now)
        expected = {entity_id: float(now - max(tick, moving)) for entity_id, tick in births.items()}
        assert dict(zip(*columns, strict=True)) == expected, world.name
    shared = [
        row.event_id
        for owner_id, last in past[:-1]
        for row in _commands(stored, owner_id)
        if row.tick <= last
    ]
    own = [row.event_id for row in _commands(stored, world_id)]
    history = await services.command_service.history(world_id, limit=HISTORY_MAX)
    found = [entry.command.id for entry in history if entry.command.type in _QUEUED]
    assert found == shared + own, world.name
    if world.committed_tick >= 0:
        report = await services.replay_service.replay(world)
        assert report.divergence is None, report.divergence


_QUEUED = {"spawn", "add_processor"}


def _commands(stored: _Stored, world_id: UUID) -> Sequence[Any]:
    return [row for row in stored.events if row.world_id == world_id and row.type in _QUEUED]
