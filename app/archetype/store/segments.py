"""Segments of a lineage as rows that a statement can join: one parameter, however many there are."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.log.lineage import Segment
from archetype.store.schema import Id

__all__ = ["TICK_MAX", "owned_ticks"]

TICK_MAX = 2**63 - 1
"""Where an open segment ends: beyond every tick."""


def owned_ticks(connection: Connection, segments: Sequence[Segment], name: str) -> sa.FromClause:
    """Return segments as a table `name` of world_id, from_tick and to_tick; an open end is `TICK_MAX`."""
    rows = [
        [str(each.world_id), each.from_tick, TICK_MAX if each.to_tick is None else each.to_tick]
        for each in segments
    ]
    given = sa.bindparam(None, json.dumps(rows), sa.Text)
    if connection.dialect.name == "postgresql":
        each = sa.func.json_array_elements(sa.cast(given, sa.JSON)).table_valued("value")
        world_id, from_tick, to_tick = (each.c.value.op("->>")(place) for place in range(3))
    else:
        each = sa.func.json_each(given).table_valued("value")
        world_id, from_tick, to_tick = (
            sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(3)
        )
    return sa.select(
        sa.cast(world_id, Id).label("world_id"),
        sa.cast(from_tick, sa.BigInteger).label("from_tick"),
        sa.cast(to_tick, sa.BigInteger).label("to_tick"),
    ).subquery(name)
