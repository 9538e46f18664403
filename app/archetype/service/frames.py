"""Rows of several archetypes and ticks as one flat table, or as nested JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa

from archetype.core.archetype import Archetype, base_schema
from archetype.core.component import Component
from archetype.service.values import json_values

__all__ = ["TableSlice", "flat_schema", "flat_table", "json_rows"]


@dataclass(frozen=True, slots=True)
class TableSlice:
    """Active rows of one archetype after a tick, sorted: `entity_id`, then the wanted columns."""

    archetype: Archetype
    tick: int
    run_id: UUID
    rows: pa.Table


def flat_table(
    world_id: UUID, slices: Sequence[TableSlice], components: Sequence[str] | None = None
) -> pa.Table:
    """Put slices together as one table under one schema, sorted by tick and entity id."""
    schema = flat_schema(slices, components)
    parts = [_flat(world_id, each, schema) for each in slices]
    if not parts:
        return schema.empty_table()
    table = pa.concat_tables(parts)
    if len(parts) > 1:
        table = table.sort_by([("tick", "ascending"), ("entity_id", "ascending")])
    return table


def flat_schema(slices: Sequence[TableSlice], components: Sequence[str] | None = None) -> pa.Schema:
    """Return the one schema of several slices; a column that some of them lack is nullable.

    With no rows at all, named components that are loaded still give their columns.
    """
    archetypes = {each.archetype.archetype_id: each for each in slices}.values()
    fields: dict[str, pa.Field] = {}
    for each in archetypes:
        for column in each.rows.schema:
            if column.name != "entity_id":
                fields.setdefault(column.name, column)
    if not fields and components is not None:
        for name in components:
            fields.update(
                {column.name: column for column in Component.get_type_by_name(name).get_prefixed_schema()}
            )
    shared = [set(each.rows.column_names) for each in archetypes]
    return pa.schema(
        [
            *base_schema,
            *(
                column
                if all(column.name in names for names in shared)
                else column.with_nullable(nullable=True)
                for column in fields.values()
            ),
        ]
    )


def _flat(world_id: UUID, each: TableSlice, schema: pa.Schema) -> pa.Table:
    count = each.rows.num_rows
    constants = {
        "world_id": pa.repeat(str(world_id), count),
        "run_id": pa.repeat(str(each.run_id), count),
        "tick": pa.repeat(pa.scalar(each.tick, pa.int64()), count),
        "is_active": pa.repeat(pa.scalar(value=True), count),
    }
    columns: list[Any] = []
    for field in schema:
        if field.name in constants:
            columns.append(constants[field.name])
        elif field.name in each.rows.column_names:
            columns.append(each.rows.column(field.name))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.table(columns, schema=schema)


def json_rows(each: TableSlice) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield each row as {component: {field: value}} in JSON forms, in order of entity id."""
    present = set(each.rows.column_names)
    names: list[tuple[str, list[str]]] = []
    columns: list[list[Any]] = []
    for component in each.archetype.components:
        fields = [field.name for field in each.archetype.component_fields(component) if field.name in present]
        if fields or not each.archetype.component_fields(component):
            names.append((component, [field[len(component) + 2 :] for field in fields]))
            columns.extend(json_values(each.rows.column(field)) for field in fields)
    for row in zip(*columns, strict=True) if columns else iter([()] * each.rows.num_rows):
        values = iter(row)
        yield {component: {field: next(values) for field in fields} for component, fields in names}
