"""Committed ticks, as they are recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.log.lineage import Stretch
from archetype.store.schema import events, ticks
from archetype.store.snapshots import read_archetypes

__all__ = ["TickCounts", "TickRow", "tick_counts", "tick_row", "tick_rows"]


@dataclass(frozen=True, slots=True)
class TickRow:
    """One committed tick as its row says: hashes of 32 bytes, durations in milliseconds."""

    world_id: UUID
    tick: int
    position: int
    run_id: UUID
    parent_hash: bytes
    commit_hash: bytes
    state_hash: bytes
    code_hash: bytes
    sealed_version: int
    next_entity_id: int
    entity_count: int
    command_count: int
    rejected_count: int
    started_at: datetime
    compute_ms: float
    persist_ms: float


def tick_row(connection: Connection, owner_id: UUID, tick: int) -> TickRow | None:
    """Return a committed tick by the world that owns it."""
    statement = sa.select(*ticks.columns).where(ticks.c.world_id == owner_id, ticks.c.tick == tick)
    row = connection.execute(statement).mappings().one_or_none()
    return TickRow(**row) if row else None


def tick_rows(connection: Connection, stretch: Stretch) -> list[TickRow]:
    """Return the committed ticks of a stretch, in order."""
    statement = sa.select(*ticks.columns).where(*_within(stretch)).order_by(ticks.c.tick)
    return [TickRow(**row) for row in connection.execute(statement).mappings()]


def _within(stretch: Stretch) -> tuple[sa.ColumnElement[bool], ...]:
    first, end = ticks.c.tick >= stretch.from_tick, ticks.c.tick < stretch.to_tick
    return ticks.c.world_id == stretch.world_id, first, end


@dataclass(frozen=True, slots=True)
class TickCounts:
    """What a world holds after a tick: its active entities by archetype."""

    tick: int
    by_archetype: Mapping[Archetype, int]

    @property
    def entity_count(self) -> int:
        """How many entities are active."""
        return sum(self.by_archetype.values())


def tick_counts(
    connection: Connection, stretches: Sequence[Stretch], known: dict[bytes, Archetype]
) -> list[TickCounts]:
    """Count entities after each tick of these stretches, in order, from what the ticks recorded.

    `known` holds the archetypes that were read before, and takes in those that were not.
    """
    recorded: list[tuple[int, Mapping[str, int]]] = []
    for stretch in stretches:
        statement = (
            sa.select(ticks.c.tick, events.c.payload)
            .join(events, events.c.position == ticks.c.position)
            .where(*_within(stretch))
            .order_by(ticks.c.tick)
        )
        recorded.extend(
            (row.tick, json.loads(row.payload)["archetypes"]) for row in connection.execute(statement)
        )
    named = {bytes.fromhex(key) for _, counts in recorded for key in counts}
    if missing := named - known.keys():
        known.update(read_archetypes(connection, missing))
    return [
        TickCounts(tick, {known[bytes.fromhex(key)]: count for key, count in counts.items()})
        for tick, counts in recorded
    ]
