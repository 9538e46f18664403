"""Worlds: their rows, names, forks and lineage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.errors import NameTakenError, VersionConflictError
from archetype.log.canonical import canonical_json
from archetype.log.lineage import Lineage
from archetype.log.payloads import changed_settings
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.append import append, charge_for_worlds, lock_log
from archetype.store.log import Copied, Waiting, copy_waiting, write_first_commands
from archetype.store.schema import events, ticks, worlds

__all__ = [
    "ExpectedHead",
    "NewWorld",
    "WorldRow",
    "archive",
    "configure",
    "create",
    "create_all",
    "find",
    "find_by_name",
    "find_removed",
    "lineage",
    "list_worlds",
]


@dataclass(frozen=True, slots=True)
class WorldRow:
    """A world as its row says; ticks, versions and ids in the glossary's terms, times in UTC."""

    world_id: UUID
    name: str
    parent_id: UUID | None
    fork_tick: int | None
    head_version: int
    committed_tick: int
    open_tick: int
    sealed_version: int
    next_entity_id: int
    seed: int
    config: str
    created_at: datetime
    archived_at: datetime | None
    lease_owner: str | None
    lease_epoch: int
    lease_until: datetime | None

    @property
    def tick(self) -> int:
        """The number of the next tick to run."""
        return self.committed_tick + 1


@dataclass(frozen=True, slots=True)
class NewWorld:
    """A world to be made by `command`; a fork names its parent and the tick it shares up to."""

    world_id: UUID
    name: str
    seed: int
    config: str
    command: NewCommand
    parent_id: UUID | None = None
    fork_tick: int | None = None
    next_entity_id: int = 1
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True)
class ExpectedHead:
    """The version that a world must be at for others to be made from it."""

    world_id: UUID
    version: int


def create(connection: Connection, world: NewWorld) -> WorldRow:
    """Make one world; see `create_all`."""
    return create_all(connection, [world])[0]


def create_all(
    connection: Connection, new_worlds: Sequence[NewWorld], expected: ExpectedHead | None = None
) -> list[WorldRow]:
    """Make worlds, all or none, each with its first log row; a world_id again is answered as the first time.

    Raises `NameTakenError` when a live world has one of the names, and `VersionConflictError` when the world
    that they come of is not at the expected version.
    """
    now = lock_log(connection)
    found = _present(connection, new_worlds)
    retried = {world.world_id for world in new_worlds if _is_retry(connection, world, found)}
    fresh = [world for world in new_worlds if world.world_id not in retried]
    if fresh and expected is not None:
        _require_head(connection, expected)
    for world in fresh:
        taken = next((row for row in found if world.name == row.name or world.world_id == row.world_id), None)
        if taken is not None:
            raise _taken(world.name, taken)
    created = {row.world_id: row for row in found}
    if fresh:
        created |= {row.world_id: row for row in _write(connection, fresh, now)}
    return [created[world.world_id] for world in new_worlds]


def _require_head(connection: Connection, expected: ExpectedHead) -> None:
    actual = connection.scalar(sa.select(worlds.c.head_version).where(worlds.c.world_id == expected.world_id))
    if actual != expected.version:
        msg = f"the world is at version {actual}, not {expected.version}; read it again"
        raise VersionConflictError(msg, expected_version=expected.version, actual_version=actual)


def _write(connection: Connection, fresh: Sequence[NewWorld], now: datetime) -> list[WorldRow]:
    """Write new worlds with their first log rows, and what those take along that wait elsewhere."""
    charge_for_worlds(connection, [world.command for world in fresh], now)
    write_first_commands(
        connection, [(world.command, _committed_tick(world) + 1) for world in fresh], moment=now
    )
    rows: list[WorldRow] = []
    for world in fresh:
        copied = Copied(0, 1)
        if world.waiting is not None:
            cause_id = world.command.event_id
            copied = copy_waiting(connection, world.waiting, world.world_id, cause_id=cause_id, moment=now)
        rows.append(_new_row(world, copied, now))
    try:
        connection.execute(worlds.insert(), [asdict(row) for row in rows])
    except IntegrityError as error:
        raise _taken(fresh[0].name, None) from error
    return rows


def _present(connection: Connection, new_worlds: Sequence[NewWorld]) -> list[WorldRow]:
    """Return the worlds that have one of the ids, and the live ones that have one of the names."""
    ids, names = [world.world_id for world in new_worlds], [world.name for world in new_worlds]
    statement = sa.select(*worlds.columns).where(
        sa.or_(worlds.c.world_id.in_(ids), sa.and_(worlds.c.name.in_(names), worlds.c.archived_at.is_(None)))
    )
    return [WorldRow(**row) for row in connection.execute(statement).mappings()]


def _is_retry(connection: Connection, world: NewWorld, found: Sequence[WorldRow]) -> bool:
    """Tell whether this very world was made by this very command before."""
    if not any(row.world_id == world.world_id and row.name == world.name for row in found):
        return False
    return append(connection, [[world.command]])[0].status.is_in_log


def _committed_tick(world: NewWorld) -> int:
    return -1 if world.fork_tick is None else world.fork_tick


def _new_row(world: NewWorld, copied: Copied, now: datetime) -> WorldRow:
    committed_tick = _committed_tick(world)
    return WorldRow(
        world_id=world.world_id,
        name=world.name,
        parent_id=world.parent_id,
        fork_tick=world.fork_tick,
        head_version=1 + copied.count,
        committed_tick=committed_tick,
        open_tick=committed_tick + 1,
        sealed_version=0,
        next_entity_id=max(world.next_entity_id, copied.next_entity_id),
        seed=world.seed,
        config=world.config,
        created_at=now,
        archived_at=None,
        lease_owner=None,
        lease_epoch=0,
        lease_until=None,
    )


def _taken(name: str, world: WorldRow | None) -> NameTakenError:
    msg = f"a world named {name!r} exists already; choose another name, or remove that one first"
    return NameTakenError(msg, name=name, world_id=world and str(world.world_id))


def find(connection: Connection, world_id: UUID) -> WorldRow | None:
    """Return the world of that id, archived or not."""
    row = (
        connection.execute(sa.select(*worlds.columns).where(worlds.c.world_id == world_id))
        .mappings()
        .one_or_none()
    )
    return WorldRow(**row) if row else None


def find_by_name(connection: Connection, name: str) -> WorldRow | None:
    """Return the live world of that name."""
    statement = sa.select(*worlds.columns).where(worlds.c.name == name, worlds.c.archived_at.is_(None))
    row = connection.execute(statement).mappings().one_or_none()
    return WorldRow(**row) if row else None


def find_removed(connection: Connection, name: str) -> WorldRow | None:
    """Return the world that was removed last of those that had a name."""
    statement = (
        sa.select(*worlds.columns)
        .where(worlds.c.name == name, worlds.c.archived_at.is_not(None))
        .order_by(worlds.c.archived_at.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return WorldRow(**row) if row else None


def list_worlds(connection: Connection, *, after: UUID | None, limit: int) -> list[tuple[WorldRow, int]]:
    """Return live worlds and how many entities each has, by id (the order of their birth) behind `after`."""
    statement = (
        sa.select(*worlds.columns, sa.func.coalesce(ticks.c.entity_count, 0).label("entity_count"))
        .outerjoin(ticks, sa.and_(ticks.c.world_id == _OWNER, ticks.c.tick == worlds.c.committed_tick))
        .where(worlds.c.archived_at.is_(None))
        .order_by(worlds.c.world_id)
    )
    if after is not None:
        statement = statement.where(worlds.c.world_id > after)
    found: list[tuple[WorldRow, int]] = []
    for row in connection.execute(statement.limit(limit)).mappings():
        values = dict(row)
        entity_count = values.pop("entity_count")
        found.append((WorldRow(**values), entity_count))
    return found


# A fork names the owner of its fork tick as its parent, so the owner of a last tick needs no walk.
_OWNER = sa.case((worlds.c.committed_tick == worlds.c.fork_tick, worlds.c.parent_id), else_=worlds.c.world_id)


def archive(connection: Connection, command: NewCommand, expected_version: int | None = None) -> Answer:
    """Take a world out of service with its last command; its rows stay, its name becomes free."""
    (answer,) = append(connection, [[command]], expected_version)
    if answer.status.is_in_log:
        connection.execute(
            sa.update(worlds)
            .where(worlds.c.world_id == command.world_id, worlds.c.archived_at.is_(None))
            .values(archived_at=_recorded_at(command))
        )
    return answer


def configure(connection: Connection, command: NewCommand, expected_version: int | None = None) -> Answer:
    """Change the settings that a command names; the others stay."""
    lock_log(connection)
    (answer,) = append(connection, [[command]], expected_version)
    if answer.status is Status.ACCEPTED:
        of_world = worlds.c.world_id == command.world_id
        before = connection.execute(sa.select(worlds.c.config).where(of_world)).scalar_one()
        change = json.loads(command.payload)["config"]
        config = canonical_json(changed_settings(json.loads(before), change))
        connection.execute(sa.update(worlds).where(of_world).values(config=config))
    return answer


def _recorded_at(command: NewCommand) -> sa.ScalarSelect[datetime]:
    """The time that the log gives a command: what a world's row says must follow from the log."""
    return (
        sa.select(events.c.recorded_at)
        .where(events.c.world_id == command.world_id, events.c.event_id == command.event_id)
        .scalar_subquery()
    )


def lineage(connection: Connection, world_id: UUID) -> Lineage:
    """Walk a world's forks up to the root of its past; the result never changes, so callers keep it."""
    start = sa.select(worlds.c.world_id, worlds.c.parent_id, worlds.c.fork_tick, sa.literal(0).label("depth"))
    chain = start.where(worlds.c.world_id == world_id).cte("chain", recursive=True)
    chain = chain.union_all(
        sa.select(worlds.c.world_id, worlds.c.parent_id, worlds.c.fork_tick, chain.c.depth + 1).where(
            worlds.c.world_id == chain.c.parent_id, chain.c.fork_tick >= 0
        )
    )
    rows = connection.execute(sa.select(chain.c.world_id, chain.c.fork_tick).order_by(chain.c.depth))
    return Lineage([(row.world_id, row.fork_tick) for row in rows])
