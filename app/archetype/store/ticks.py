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

__all__ = [
    "TickCounts",
    "TickRow",
    "counts_at",
    "run_facts",
    "tick_counts",
    "tick_facts",
    "tick_row",
    "tick_rows",
]


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


_TICK_ROW = sa.select(*ticks.columns).where(
    ticks.c.world_id == sa.bindparam("owner"), ticks.c.tick == sa.bindparam("number")
)


def tick_row(connection: Connection, owner_id: UUID, tick: int) -> TickRow | None:
    """Return a committed tick by the world that owns it."""
    row = connection.execute(_TICK_ROW, {"owner": owner_id, "number": tick}).mappings().one_or_none()
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
    return counts_at(connection, _places(connection, stretches), known)


def tick_facts(connection: Connection, stretches: Sequence[Stretch]) -> list[tuple[int, str]]:
    """Return what each tick of these stretches recorded of itself: its fact's payload, in order."""
    places = _places(connection, stretches)
    payloads = _payloads(connection, [position for _, position in places])
    return [(tick, payloads[position]) for tick, position in places]


def run_facts(connection: Connection, world_id: UUID, run_id: UUID, from_tick: int) -> list[str]:
    """Return what each tick of a run recorded of itself, in order; none lies before `from_tick`."""
    statement = (
        sa.select(ticks.c.position)
        .where(ticks.c.world_id == world_id, ticks.c.tick >= from_tick, ticks.c.run_id == run_id)
        .order_by(ticks.c.tick)
    )
    positions = list(connection.scalars(statement))
    payloads = _payloads(connection, positions)
    return [payloads[position] for position in positions]


def _places(connection: Connection, stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
    """Return the ticks of these stretches with their positions in the log."""
    places: list[tuple[int, int]] = []
    for stretch in stretches:
        statement = sa.select(ticks.c.tick, ticks.c.position).where(*_within(stretch)).order_by(ticks.c.tick)
        places.extend((row.tick, row.position) for row in connection.execute(statement))
    return places


def counts_at(
    connection: Connection, places: Sequence[tuple[int, int]], known: dict[bytes, Archetype]
) -> list[TickCounts]:
    """Count entities after ticks that are given with their positions, as `tick_counts` does."""
    payloads = _payloads(connection, [position for _, position in places])
    recorded: dict[int, Mapping[str, int]] = {
        position: json.loads(payload)["archetypes"] for position, payload in payloads.items()
    }
    named = {bytes.fromhex(key) for counts in recorded.values() for key in counts}
    if missing := named - known.keys():
        known.update(read_archetypes(connection, missing))
    return [
        TickCounts(tick, {known[bytes.fromhex(key)]: count for key, count in recorded[position].items()})
        for tick, position in places
    ]


def _payloads(connection: Connection, positions: Sequence[int]) -> dict[int, str]:
    """Look payloads up by position: joined, a planner that knows nothing yet reads the whole log."""
    found: dict[int, str] = {}
    for start in range(0, len(positions), _FACTS_PER_READ):
        part = positions[start : start + _FACTS_PER_READ]
        found |= {row.position: row.payload for row in connection.execute(_FACTS, {"positions": part})}
    return found


_FACTS_PER_READ = 1_000
_FACTS = sa.select(events.c.position, events.c.payload).where(
    events.c.position.in_(sa.bindparam("positions", expanding=True))
)
