"""Reading everything that is stored, in parts, and believing none of it: for checks.

Rows come as they lie in their tables; `raw_rows.read_row` then says what they hold, or which value has no
business in its column.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.database import Reading
from archetype.store.raw_rows import RawRow, raw_columns
from archetype.store.schema import (
    actors,
    administrative_acts,
    archetypes,
    denials,
    events,
    keys,
    labels,
    log_head,
    origins,
    pages,
    programs,
    runs,
    snapshots,
    ticks,
    worlds,
)

__all__ = [
    "LogExtent",
    "Orphan",
    "integrity",
    "log_extent",
    "log_heads",
    "orphans",
    "position_gaps",
    "select",
    "select_actors",
    "select_acts",
    "select_archetypes",
    "select_command_hashes",
    "select_denials",
    "select_keys",
    "select_labels",
    "select_origins",
    "select_pages",
    "select_programs",
    "select_runs",
    "select_snapshots",
    "select_ticks",
    "select_worlds",
    "stream_events",
    "total_pages",
]

_EVENTS_PER_PART = 250
_BATCH_BYTES_PER_PART = 16 * 1024 * 1024


def integrity(connection: Connection) -> list[str]:
    """Let a SQLite file check itself, and return what it finds; the file is sound if that is nothing."""
    found = connection.execute(sa.text("PRAGMA integrity_check(100)")).scalars().all()
    return [line for line in found if line != "ok"]


class LogExtent(NamedTuple):
    """The first and last position of the log (0 if it is empty), and how many rows it has."""

    first: int
    last: int
    row_count: int


def log_extent(connection: Connection) -> LogExtent:
    """Measure the log by its positions."""
    position = events.c.position
    statement = sa.select(
        sa.func.coalesce(sa.func.min(position), 0),
        sa.func.coalesce(sa.func.max(position), 0),
        sa.func.count(),
    )
    return LogExtent(*connection.execute(statement.select_from(events)).one())


def log_heads(connection: Connection) -> list[tuple[Any, Any]]:
    """Return the rows of the counter, which should be one: its id and its position."""
    return [(row.id, row.position) for row in connection.execute(sa.select(*raw_columns(*log_head.columns)))]


def position_gaps(connection: Connection) -> list[tuple[int, int]]:
    """Return the ranges (first, last) of positions that are missing in the middle of the log."""
    before = sa.func.coalesce(sa.func.lag(events.c.position).over(order_by=events.c.position), 0)
    numbered = sa.select(events.c.position, before.label("before")).subquery()
    statement = sa.select(numbered).where(numbered.c.position > numbered.c.before + 1)
    rows = connection.execute(statement.order_by(numbered.c.position))
    return [(row.before + 1, row.position - 1) for row in rows]


class Orphan(NamedTuple):
    """A row, or for the log its first of several, of a world that has no row of its own."""

    table: str
    key: Mapping[str, Any]
    row_count: int


def orphans(connection: Connection, *, limit: int) -> list[Orphan]:
    """Return the rows, up to `limit` of each table, whose world is missing."""
    of_events = (
        sa.select(
            *raw_columns(events.c.world_id),
            sa.func.min(events.c.position).label("position"),
            sa.func.count().label("row_count"),
        )
        .where(_has_no_world(events))
        .group_by(events.c.world_id)
    )
    found = [
        Orphan("events", {"world_id": row.world_id, "position": row.position}, row.row_count)
        for row in connection.execute(of_events.limit(limit))
    ]
    for table in (ticks, snapshots, runs, labels):
        key = dict.fromkeys((table.c.world_id, *table.primary_key.columns))
        statement = sa.select(*raw_columns(*key)).where(_has_no_world(table))
        rows = connection.execute(statement.limit(limit)).mappings()
        found.extend(Orphan(table.name, dict(row), 1) for row in rows)
    return found


def _has_no_world(table: sa.Table) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(worlds.c.world_id == table.c.world_id)


async def stream_events(
    reading: Reading, world_id: UUID
) -> AsyncGenerator[list[tuple[RawRow, bytes | None]]]:
    """Give a world's log in order of version: raw rows, each with its batch.

    A part holds up to 250 rows, fewer where their batches come to more than 16 MiB.
    """
    plain = [column for column in events.columns if column.name != "batch"]
    has_batch = events.c.batch.is_not(None).label("has_batch")
    statement = (
        sa.select(*raw_columns(*plain), has_batch)
        .where(events.c.world_id == world_id)
        .order_by(events.c.version, events.c.position)
    )
    async with reading.stream(statement, row_count=_EVENTS_PER_PART) as parts:
        async for rows in parts:
            part: list[tuple[RawRow, bytes | None]] = []
            size_bytes = 0
            for row in rows:
                batch = await reading.read(_batch_at(row.position)) if row.has_batch else None
                part.append((row, batch))
                size_bytes += len(batch or b"")
                if size_bytes > _BATCH_BYTES_PER_PART:
                    yield part
                    part, size_bytes = [], 0
            yield part


def _batch_at(position: int) -> Callable[[Connection], Any]:
    statement = sa.select(*raw_columns(events.c.batch)).where(events.c.position == position)
    return lambda connection: connection.scalar(statement)


def select_worlds(world_id: UUID | None = None, name: str | None = None) -> sa.Select[Any]:
    """Select the worlds, or one by its id, or the living one of a name."""
    statement = sa.select(*raw_columns(*worlds.columns)).order_by(worlds.c.world_id)
    if world_id is not None:
        statement = statement.where(worlds.c.world_id == world_id)
    if name is not None:
        statement = statement.where(worlds.c.name == name, worlds.c.archived_at.is_(None))
    return statement


def select_ticks(world_id: UUID, tick: int | None = None) -> sa.Select[Any]:
    """Select a world's ticks in order, or one of them, each with the log row at its position as `fact_…`."""
    facts = [events.c[name] for name in ("world_id", "kind", "type", "tick", "payload")]
    statement = (
        sa.select(
            *raw_columns(*ticks.columns),
            *(sa.type_coerce(each, sa.types.NULLTYPE).label(f"fact_{each.name}") for each in facts),
        )
        .outerjoin(events, events.c.position == ticks.c.position)
        .where(ticks.c.world_id == world_id)
        .order_by(ticks.c.tick)
    )
    return statement if tick is None else statement.where(ticks.c.tick == tick)


def select_command_hashes(world_id: UUID, from_tick: int) -> sa.Select[Any]:
    """Select tick, version and hash of a world's commands from a tick on, as they are applied."""
    return (
        sa.select(*raw_columns(events.c.tick, events.c.version, events.c.hash))
        .where(events.c.world_id == world_id, events.c.kind == "command", events.c.tick >= from_tick)
        .order_by(events.c.tick, events.c.due_tick, events.c.priority, events.c.version)
    )


def select_snapshots(world_id: UUID) -> sa.Select[Any]:
    """Select a world's snapshot rows by tick and archetype."""
    return (
        sa.select(*raw_columns(*snapshots.columns))
        .where(snapshots.c.world_id == world_id)
        .order_by(snapshots.c.tick, snapshots.c.archetype_id)
    )


def select_runs(world_id: UUID) -> sa.Select[Any]:
    """Select a world's runs by id."""
    return sa.select(*raw_columns(*runs.columns)).where(runs.c.world_id == world_id).order_by(runs.c.run_id)


def select_labels(world_id: UUID) -> sa.Select[Any]:
    """Select a world's own labels by name."""
    return (
        sa.select(*raw_columns(*labels.columns)).where(labels.c.world_id == world_id).order_by(labels.c.name)
    )


def select_pages(
    hashes: Collection[bytes] | None = None, *, are_patches: bool | None = None
) -> sa.Select[Any]:
    """Select pages by hash: these, or all that are patches, or all that are none."""
    statement = sa.select(*raw_columns(*pages.columns)).order_by(pages.c.page_hash)
    if are_patches is not None:
        is_patch = pages.c.base_hash.is_not(None)
        statement = statement.where(is_patch if are_patches else sa.not_(is_patch))
    return statement if hashes is None else statement.where(pages.c.page_hash.in_(sorted(hashes)))


def select_programs(hashes: Collection[bytes] | None = None) -> sa.Select[Any]:
    """Select programs by hash: all, or these."""
    statement = sa.select(*raw_columns(*programs.columns)).order_by(programs.c.code_hash)
    return statement if hashes is None else statement.where(programs.c.code_hash.in_(sorted(hashes)))


def select_archetypes(ids: Collection[bytes] | None = None) -> sa.Select[Any]:
    """Select archetypes by id: all, or these."""
    statement = sa.select(*raw_columns(*archetypes.columns)).order_by(archetypes.c.archetype_id)
    return statement if ids is None else statement.where(archetypes.c.archetype_id.in_(sorted(ids)))


def select(table: sa.Table) -> sa.Select[Any]:
    """Select all rows of a table by its key."""
    return sa.select(*raw_columns(*table.columns)).order_by(*table.primary_key.columns)


def select_actors() -> sa.Select[Any]:
    """Select the actors by id."""
    return sa.select(*raw_columns(*actors.columns)).order_by(actors.c.actor_id)


def select_keys() -> sa.Select[Any]:
    """Select the keys by id, each with `has_actor`: whether the actor that it names is there."""
    has_actor = sa.exists().where(actors.c.actor_id == keys.c.actor_id).label("has_actor")
    return sa.select(*raw_columns(*keys.columns), has_actor).order_by(keys.c.key_id)


def select_acts() -> sa.Select[Any]:
    """Select the administrative acts by number."""
    return sa.select(*raw_columns(*administrative_acts.columns)).order_by(administrative_acts.c.number)


def select_denials() -> sa.Select[Any]:
    """Select the denials by id."""
    return sa.select(*raw_columns(*denials.columns)).order_by(denials.c.denial_id)


def select_origins() -> sa.Select[Any]:
    """Select the origins by id."""
    return sa.select(*raw_columns(*origins.columns)).order_by(origins.c.origin_id)


def total_pages(connection: Connection) -> int:
    """Count the pages."""
    return connection.scalar(sa.select(sa.func.count()).select_from(pages)) or 0
