"""Where worlds come from: families of forks, and the ticks of a lineage whoever owns them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.log.lineage import Lineage
from archetype.store.given import owned_ticks
from archetype.store.schema import events, snapshots, ticks, worlds
from archetype.store.ticks import TickRow

__all__ = ["LoggedTick", "WorldLink", "ticks_of", "world_links"]


@dataclass(frozen=True, slots=True)
class WorldLink:
    """A world by its place among others."""

    world_id: UUID
    name: str
    parent_id: UUID | None
    fork_tick: int | None
    committed_tick: int
    is_archived: bool


def world_links(connection: Connection, member_id: UUID | None) -> list[WorldLink]:
    """Return the worlds of the family that `member_id` belongs to, or all there are, archived ones too.

    Siblings come in order of (fork_tick, world_id).
    """
    statement = sa.select(
        worlds.c.world_id,
        worlds.c.name,
        worlds.c.parent_id,
        worlds.c.fork_tick,
        worlds.c.committed_tick,
        worlds.c.archived_at.is_not(None).label("is_archived"),
    ).order_by(worlds.c.fork_tick, worlds.c.world_id)
    if member_id is not None:
        family = _family(member_id)
        statement = statement.join(family, family.c.world_id == worlds.c.world_id)
    return [WorldLink(**row) for row in connection.execute(statement).mappings()]


def _family(member_id: UUID) -> sa.CTE:
    """Walk from a world up to its root, and from there down to every world that comes of it."""
    start = sa.select(worlds.c.world_id, worlds.c.parent_id).where(worlds.c.world_id == member_id)
    above = start.cte("above", recursive=True)
    above = above.union_all(
        sa.select(worlds.c.world_id, worlds.c.parent_id).where(worlds.c.world_id == above.c.parent_id)
    )
    family = sa.select(above.c.world_id).where(above.c.parent_id.is_(None)).cte("family", recursive=True)
    return family.union_all(sa.select(worlds.c.world_id).where(worlds.c.parent_id == family.c.world_id))


@dataclass(frozen=True, slots=True)
class LoggedTick:
    """A committed tick with its owner's name, when it was committed, and whether its state is stored."""

    row: TickRow
    owner_name: str
    committed_at: datetime
    has_snapshot: bool


def ticks_of(connection: Connection, lineage: Lineage, from_tick: int, to_tick: int) -> list[LoggedTick]:
    """Return the committed ticks `from_tick` <= t < `to_tick` of a lineage, newest first."""
    segments = lineage.between(from_tick, to_tick)
    if not segments:
        return []
    owned = owned_ticks(connection, segments)
    is_stored = sa.exists().where(snapshots.c.world_id == ticks.c.world_id, snapshots.c.tick == ticks.c.tick)
    statement = (
        sa.select(
            *ticks.columns,
            worlds.c.name.label("owner_name"),
            events.c.recorded_at.label("committed_at"),
            sa.or_(ticks.c.entity_count == 0, is_stored).label("has_snapshot"),
        )
        .select_from(owned)
        .join(ticks, ticks.c.world_id == owned.c.world_id)
        .join(worlds, worlds.c.world_id == ticks.c.world_id)
        .join(events, events.c.position == ticks.c.position)
        .where(ticks.c.tick >= owned.c.from_tick, ticks.c.tick < owned.c.to_tick)
        # The same again in numbers: what it does not see, a planner takes for far more, and reads every tick.
        .where(ticks.c.tick >= from_tick, ticks.c.tick < to_tick)
        .order_by(ticks.c.tick.desc())
    )
    found: list[LoggedTick] = []
    for mapping in connection.execute(statement).mappings():
        values = dict(mapping)
        name, committed_at = values.pop("owner_name"), values.pop("committed_at")
        has_snapshot = bool(values.pop("has_snapshot"))
        found.append(LoggedTick(TickRow(**values), name, committed_at, has_snapshot))
    return found
