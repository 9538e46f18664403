"""Rows that a caller gives a statement to join: a few parameters, however many rows there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from archetype.log.lineage import Segment
from archetype.store.schema import Id

__all__ = ["OPEN_END", "given_rows", "is_found", "is_given", "owned_ticks"]

OPEN_END = 2**63 - 1
"""Beyond every tick and version that there can be: where a range has no end."""

GivenType = type[Id] | type[sa.BigInteger]


def given_rows(
    connection: Connection,
    columns: Mapping[str, GivenType],
    rows: Sequence[Sequence[UUID | int]],
    *,
    name: str,
) -> sa.FromClause:
    """Return these rows as a table `name`, whose columns have these types; no value is null."""
    if connection.dialect.name == "postgresql":
        if len(rows) == 1:
            # Nearly always it is one, and then the planner may know what it holds.
            (row,) = rows
            literals = [
                sa.cast(sa.bindparam(None, value, kind), kind).label(label)
                for value, (label, kind) in zip(row, columns.items(), strict=True)
            ]
            return sa.select(*literals).subquery(name)
        # Unlike a JSON document, arrays tell the planner how many rows there are.
        arrays = [
            sa.bindparam(None, [row[place] for row in rows], postgresql.ARRAY(kind))
            for place, kind in enumerate(columns.values())
        ]
        typed = [sa.column(label, kind) for label, kind in columns.items()]
        return sa.func.unnest(*arrays).table_valued(*typed, name=name).render_derived()
    document = json.dumps(rows, default=str)
    each = sa.func.json_each(sa.bindparam(None, document, sa.Text)).table_valued("value")
    values: list[sa.ColumnElement[Any]] = [
        sa.cast(sa.func.json_extract(each.c.value, f"$[{place}]"), kind).label(label)
        for place, (label, kind) in enumerate(columns.items())
    ]
    return sa.select(*values).subquery(name)


def is_given(
    connection: Connection, column: sa.ColumnElement[Any], values: Sequence[UUID]
) -> sa.ColumnElement[bool]:
    """Tell whether a column has one of these values: unlike a join, a database looks each up in an index."""
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.bindparam(None, values, postgresql.ARRAY(Id)))
    document = sa.bindparam(None, json.dumps(values, default=str), sa.Text)
    return column.in_(sa.select(sa.func.json_each(document).table_valued("value").c.value))


def is_found(
    connection: Connection, column: sa.ColumnElement[Any], values: sa.Select[Any]
) -> sa.ColumnElement[bool]:
    """Tell whether a column has one of the few values that a query finds: each is looked up in an index."""
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.func.array(values.scalar_subquery()))
    return column.in_(values)


def owned_ticks(connection: Connection, segments: Sequence[Segment]) -> sa.FromClause:
    """Return segments as a table of world_id, from_tick and to_tick; an open end is `OPEN_END`."""
    columns: dict[str, GivenType] = {"world_id": Id, "from_tick": sa.BigInteger, "to_tick": sa.BigInteger}
    rows = [
        (each.world_id, each.from_tick, OPEN_END if each.to_tick is None else each.to_tick)
        for each in segments
    ]
    return given_rows(connection, columns, rows, name="owned")
