"""A stored past with a bit of everything, and ways to tamper with it that no guard stands against."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
import struct
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pyarrow as pa
from daft import col

from archetype import AsyncProcessor, Component
from archetype.clock import new_id
from archetype.core.bulk import encode_batch
from archetype.core.config import WorldConfig
from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.errors import ProcessorError, UnavailableError
from archetype.examples.movement import Position
from archetype.log.command import CommandType
from archetype.log.run_payloads import RunRollout
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.rollout_results import RolloutRequest
from archetype.service.runs import RunRequest

KEYS = {
    "events": ("position",),
    "worlds": ("world_id",),
    "ticks": ("world_id", "tick"),
    "snapshots": ("world_id", "tick", "archetype_id"),
    "pages": ("page_hash",),
    "archetypes": ("archetype_id",),
    "programs": ("code_hash",),
    "runs": ("run_id",),
    "labels": ("world_id", "name"),
    "log_head": ("id",),
    "actors": ("actor_id",),
    "keys": ("key_id",),
    "administrative_acts": ("number",),
    "quotas": ("actor_id",),
    "daily_usage": ("actor_id", "day"),
    "tick_usage": ("actor_id", "world_id", "tick"),
}
CHECKS = {"events": "events_kind", "log_head": "log_head_one_row"}


class Tagged(Component):
    """A text and a mark, so that pages of other types are there."""

    text: str = "none"
    is_marked: bool = False


class Tripping(AsyncProcessor):
    """Moves everything, or falls where the inputs tell it to."""

    components = (Position,)

    async def process(self, df, *, tick, fail_at=-1, **kwargs):
        if tick == fail_at:
            message = "as told"
            raise ValueError(message)
        return df.with_column("position__x", col("position__x") + 0.5)


async def build(url: str) -> None:
    """Make forks of forks, tombstones, rejections, bulk rows, labels, and runs that ended badly."""
    async with ServiceContainer(url) as services:
        demo = await _demo(services)
        first = await _fork(services, "demo", "first", 1)
        await _run(services, first, 2)
        second = await _fork(services, "first", "second", 2)
        await _send(services, second, "spawn", {"components": [{"type": "Position", "x": 9}]})
        await _run(services, second, 2)
        await _fork(services, "second", "third", None)
        await _fork(services, "demo", "early", -1)
        await _stopped_and_resumed(url, demo)
        await _waiting(services)
        removed = (await services.world_service.create_world(WorldConfig(name="removed", seed=1))).world_id
        await _run(services, removed, 1)
        await services.world_service.remove_world(await services.world_service.find("removed"), reason="over")
        await _crashed(services)
        await _cancelled(services)
        await _episodes(services)
        await services.identity_service.create_actor("ann", roles=["player"], world_roles={"demo": ["admin"]})
        issued = await services.identity_service.create_key("ann", worlds=["demo"])
        rotated = await services.identity_service.rotate_key(issued.listed.key_id, grace_s=60, reason="due")
        await services.identity_service.revoke_key(rotated.listed.key_id)
        await services.identity_service.create_actor("bob", roles=["viewer"])
        await services.identity_service.disable_actor("bob", reason="left")
        await _used_up(services)


async def _used_up(services: ServiceContainer) -> None:
    """Let an actor with a quota of her own use some of it, in ticks of then and of now."""
    await services.quota_service.set("ann", {"tokens_per_day": 9_000}, reason="much to do")
    ann = (await services.quota_service.show("ann")).actor_id
    config = WorldConfig(name="hers", seed=2)
    world_id = (await services.world_service.create_world(config, actor_id=ann)).world_id
    for tick in (0, 0, 4, 9):
        request = CommandRequest("custom", {"name": "note"}, tick=tick)
        await services.command_service.submit(world_id, request, actor_id=ann)
    await services.simulation_service.run(world_id, RunRequest(steps=2, actor_id=ann))
    batch = encode_batch(pa.table({"position__x": [0.5, 1.5], "position__y": [1.0, 2.0]}))
    await services.command_service.submit(world_id, CommandRequest("spawn", {}, batch=batch), actor_id=ann)


async def _demo(services: ServiceContainer) -> uuid.UUID:
    world_id = (await services.world_service.create_world(WorldConfig(name="demo", seed=7))).world_id
    actor = new_id()
    tagged = {"components": [{"type": "Tagged", "text": "ä", "is_marked": True}, {"type": "Position"}]}
    requests = [
        CommandRequest("add_processor", {"processor": "Tripping"}),
        CommandRequest("spawn", {"components": [{"type": "Position", "x": 1}]}, priority=3),
        CommandRequest("spawn", tagged),
        CommandRequest("spawn", {"components": [], "entity_id": 20}),
        CommandRequest("message", {"content": {"é": [1, 2.5, None]}}, tick=2),
    ]
    await services.command_service.submit_batch(world_id, requests, actor_id=actor)
    # So many that the pages of their positions are stored as patches.
    numbers = [number + 0.5 for number in range(60)]
    batch = encode_batch(pa.table({"position__x": numbers, "position__y": numbers[::-1]}))
    await services.command_service.submit(world_id, CommandRequest("spawn", {}, batch=batch))
    await _run(services, world_id, 3)
    await _send(services, world_id, "despawn", {"entity_id": 1})
    await _send(services, world_id, "despawn", {"entity_id": 99})
    await _send(services, world_id, "remove_component", {"entity_id": 2, "component_types": ["Tagged"]})
    await _run(services, world_id, 2)
    try:
        await _run(services, world_id, 4, inputs={"fail_at": 6})
    except ProcessorError:
        await _send(services, world_id, "spawn", {"components": [{"type": "Tagged"}]})
    await _run(services, world_id, 0)
    demo = await services.world_service.find(world_id)
    for name, tick in (("good", 1), ("best", 3), ("gone", 2)):
        await services.label_service.add(demo, name, tick)
    await services.label_service.remove(demo, "gone")
    await services.world_service.configure_world(demo, {"snapshots": 3})
    await _run(services, world_id, 1)
    return world_id


async def _stopped_and_resumed(url: str, world_id: uuid.UUID) -> None:
    """Stop a server in the middle of a run, accept more, and let another server do the rest of it."""
    request = RunRequest(steps=4, command_id=new_id())
    async with ServiceContainer(url) as stopping:

        async def stop(_tick: int) -> None:
            stopping.simulation_service.stop()

        try:
            await stopping.simulation_service.run(world_id, request, on_tick=stop)
        except UnavailableError:
            await _send(stopping, world_id, "custom", {"said": "in between"})
    async with ServiceContainer(url) as other:
        await other.simulation_service.run(world_id, request)


async def _waiting(services: ServiceContainer) -> None:
    """Fork a world with what waits in it, run both, and thin the one that stores every tick."""
    world_id = (await services.world_service.create_world(WorldConfig(name="busy", seed=3))).world_id
    await _send(services, world_id, "spawn", {"components": [{"type": "Position", "x": 4}]})
    await _run(services, world_id, 3)
    await _send(services, world_id, "spawn", {"components": []})
    await _send(services, world_id, "despawn", {"entity_id": 1})
    row = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(row, "taken-along", include_pending=True)
    await _run(services, fork.world_id, 1)
    await _run(services, world_id, 2)
    result = await services.retention_service.thin(row, reason="test")
    assert result.ticks_dropped > 0


async def _crashed(services: ServiceContainer) -> None:
    world_id = (await services.world_service.create_world(WorldConfig(name="crashed", seed=2))).world_id

    async def crash(_tick: int) -> None:
        message = "as if the process had died"
        raise UnavailableError(message)

    try:
        await services.simulation_service.run(world_id, RunRequest(steps=3), on_tick=crash)
    except UnavailableError:
        await _send(services, world_id, "spawn", {"components": []})


async def _cancelled(services: ServiceContainer) -> None:
    """Leave a run that is cancelling, and one that was cancelled before it began."""
    cut = (await services.world_service.create_world(WorldConfig(name="cut", seed=4))).world_id

    async def crash(_tick: int) -> None:
        message = "as if the process had died"
        raise UnavailableError(message)

    try:
        await services.simulation_service.run(cut, RunRequest(steps=3), on_tick=crash)
    except UnavailableError:
        (cutting,) = await services.run_service.list_runs(await services.world_service.find(cut))
        await services.run_service.cancel(cutting.run_id, reason="no use")
    idle = (await services.world_service.create_world(WorldConfig(name="idle", seed=5))).world_id
    early = await services.simulation_service.accept(idle, RunRequest(steps=2))
    await services.run_service.cancel(early.run_id)


async def _episodes(services: ServiceContainer) -> None:
    """Run an episode, one that is over where it begins, and a rollout of two with one that fails."""
    world_id = (await services.world_service.create_world(WorldConfig(name="track", seed=6))).world_id
    await _send(services, world_id, "add_processor", {"processor": "Tripping"})
    await _send(services, world_id, "spawn", {"components": [{"type": "Position"}]})
    rules = EpisodeRules(condition=Condition.parse("Position.x >= 1.0"), returns=Return(column="Position.x"))
    for _ in range(2):
        request = RunRequest(steps=9, kind=CommandType.RUN_EPISODE, episode=rules)
        await services.episode_service.run(world_id, request)
    asked = RunRollout(episodes=2, max_steps=2, returns=rules.returns, inputs={"fail_at": 3})
    await services.rollout_service.run(world_id, RolloutRequest(asked))


async def _run(services: ServiceContainer, world_id: uuid.UUID, steps: int, **options: Any) -> None:
    await services.simulation_service.run(world_id, RunRequest(steps=steps, **options))


async def _send(services: ServiceContainer, world_id: uuid.UUID, kind: str, payload: Any) -> None:
    await services.command_service.submit(world_id, CommandRequest(kind, payload))


async def _fork(services: ServiceContainer, parent: str, name: str, tick: int | None) -> uuid.UUID:
    row = await services.world_service.find(parent)
    return (await services.world_service.fork_world(row, name, tick=tick)).world_id


class Tamper:
    """Writes past the service: no guard, no foreign key, no check stands in its way; `undo` takes it back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._undoing: list[Callable[[], Awaitable[None]]] = []
        self.is_sqlite = url.startswith("sqlite")

    async def __aenter__(self):
        if self.is_sqlite:
            self._file = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
            self._file.row_factory = sqlite3.Row
            self._file.execute("PRAGMA ignore_check_constraints = ON")
            triggers = self._file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for (name,) in triggers:
                self._file.execute(f"DROP TRIGGER {name}")
        else:
            self._session = await asyncpg.connect(self.url)
            # Neither triggers nor foreign keys act on what a replica is sent.
            await self._session.execute("SET session_replication_role = replica")
            for table, name in CHECKS.items():
                await self._session.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        return self

    async def __aexit__(self, *_):
        if self.is_sqlite:
            self._file.close()
        else:
            await self._session.close()

    async def rows(self, query: str) -> list[dict[str, Any]]:
        if self.is_sqlite:
            return [dict(row) for row in self._file.execute(query)]
        return [dict(row) for row in await self._session.fetch(query)]

    async def execute(self, statement: str, *values: Any) -> None:
        """Run a statement with its places written as ?."""
        if self.is_sqlite:
            self._file.execute(statement, values)
            return
        for number in range(1, len(values) + 1):
            statement = statement.replace("?", f"${number}", 1)
        await self._session.execute(statement, *values)

    async def set(self, table: str, row: dict[str, Any], **values: Any) -> None:
        """Change columns of one row."""
        changes = ", ".join(f"{name} = ?" for name in values)
        key = [row[name] for name in KEYS[table]]
        await self.execute(f"UPDATE {table} SET {changes} WHERE {self._where(table)}", *values.values(), *key)
        before = {name: row[name] for name in values}
        self._undoing.append(lambda: self.set(table, row | values, **before))

    async def delete(self, table: str, row: dict[str, Any]) -> None:
        """Take a row out."""
        await self.execute(
            f"DELETE FROM {table} WHERE {self._where(table)}", *(row[name] for name in KEYS[table])
        )
        self._undoing.append(lambda: self.insert(table, row))

    async def insert(self, table: str, row: dict[str, Any]) -> None:
        """Put a row in."""
        marks = ", ".join("?" * len(row))
        await self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())
        self._undoing.append(lambda: self.delete(table, row))

    async def undo(self) -> None:
        """Take back what was changed, the last first."""
        undoing, self._undoing = self._undoing, []
        for take_back in reversed(undoing):
            await take_back()

    def _where(self, table: str) -> str:
        return " AND ".join(f"{name} = ?" for name in KEYS[table])


def flipped(value: Any, draw: random.Random, *, bits: int = 63) -> Any:
    """Change a value by one bit, or as little as its type allows."""
    match value:
        case int():
            return value ^ (1 << draw.randrange(bits))
        case float():
            (number,) = struct.unpack("<q", struct.pack("<d", value))
            return struct.unpack("<d", struct.pack("<q", number ^ (1 << draw.randrange(52))))[0]
        case uuid.UUID():
            return uuid.UUID(int=value.int ^ (1 << draw.randrange(128)))
        case dt.datetime():
            return value + dt.timedelta(microseconds=draw.choice((-1, 1)))
        case bytes():
            at = draw.randrange(len(value))
            return value[:at] + bytes([value[at] ^ (1 << draw.randrange(8))]) + value[at + 1 :]
        case str():
            at = draw.randrange(len(value))
            other = chr(ord(value[at]) ^ (1 << draw.randrange(5)))
            return value[:at] + (other if other.isprintable() else "?") + value[at + 1 :]
    raise TypeError(value)


INTEGER_BITS = {"schema_version": 15, "priority": 31, "id": 15}
NULLED = {
    "parent_id": uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    "actor_id": uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    "cause_id": uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    "fork_tick": 0,
    "first_entity_id": 1,
    "batch": b"\x00",
    "error": "as told",
    "reason": "as told",
    "key_id": "0123456789abcdef",
    "address": "192.0.2.9",
    "worlds": "[]",
    "base_hash": bytes(32),
    "archived_at": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC),
    "disabled_at": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC),
    "revoked_at": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC),
    "expires_at": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC),
    "finished_at": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC),
    "return_value": 0.25,
}
"""What a NULL becomes."""


def written(value: Any, *, is_sqlite: bool) -> Any:
    """Spell a value as the database keeps it."""
    if not is_sqlite:
        return value
    match value:
        case uuid.UUID():
            return str(value)
        case dt.datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case _:
            return value


NOUNS = {
    "pages": "page",
    "archetypes": "archetype",
    "programs": "program",
    "actors": "actor",
    "keys": "key",
    "quotas": "quota of actor",
    "administrative_acts": "act",
}


def places(table: str, row: dict[str, Any]) -> list[str]:
    """Return the ways to name a row in a fault, one of which must be there."""
    key = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    match table:
        case "events":
            return [f"position {key['position']}", f"world {key['world_id']} version {key['version']}"]
        case "worlds":
            return [f"world {key['world_id']}"]
        case "ticks":
            return [f"world {key['world_id']} tick {key['tick']}"]
        case "snapshots":
            return [
                f"world {key['world_id']} tick {key['tick']}",
                f"world {key['world_id']} tick {key['tick']} archetype {key['archetype_id']}",
            ]
        case "runs":
            return [f"run {key['run_id']}"]
        case "labels":
            return [f"world {key['world_id']} label {key['name']}"]
        case "log_head":
            return ["log_head"]
        case "daily_usage":
            return [f"actor {key['actor_id']} day {key['day']}"]
        case "tick_usage":
            return [f"actor {key['actor_id']} world {key['world_id']} tick {key['tick']}"]
        case _:
            noun = NOUNS[table]
            return [f"{noun} {key[KEYS[table][0]]}"]
