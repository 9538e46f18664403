"""The state and the tombstones that a folded group leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.archetype import Archetype
from archetype.core.columns import gather, merge_rows, overwrite
from archetype.core.scheduling.slots import Slots, TableSlots
from archetype.core.scheduling.touched import Entity, Touched
from archetype.core.state import ArchetypeTable, Int64s, WorldState

__all__ = ["rebuild_state", "rebuild_tombstones"]

_Rows = tuple[TableSlots, Int64s]


def rebuild_state(touched: Touched) -> WorldState:
    """Give the state with everything that was folded; the same object if nothing was.

    A table that nobody wrote, and a column of a table whose rows stayed, are the same objects as before.
    """
    tables = {slots.table.archetype: _rewritten(slots, touched) for slots in touched.tables}
    arriving: dict[Archetype, list[Entity]] = {}
    leaving: dict[Archetype, list[int]] = {}
    for entity in [*touched.rows.values(), *touched.born]:
        origin = None if entity.table is None else entity.table.table.archetype
        if entity.has_ended or entity.archetype == origin:
            continue
        arriving.setdefault(entity.archetype, []).append(entity)
        if origin is not None:
            leaving.setdefault(origin, []).append(entity.row)
    gone = {archetype: np.array(rows, dtype=np.int64) for archetype, rows in leaving.items()}
    for slots in touched.tables:
        archetype = slots.table.archetype
        if slots.alive is not None:
            gone[archetype] = np.concatenate([gone.get(archetype, _NO_ROWS), np.flatnonzero(~slots.alive)])
    for archetype in {**dict.fromkeys(gone), **dict.fromkeys(arriving)}:
        new = _rows_of(archetype, arriving.get(archetype, []), [])
        tables[archetype] = merge_rows(tables.get(archetype), gone.get(archetype, _NO_ROWS), new)
    return touched.state.replace(tables.values())


def rebuild_tombstones(touched: Touched) -> dict[bytes, ArchetypeTable]:
    """Give, by archetype id, the last rows of the entities that ended, in the archetypes they had then."""
    entities: dict[Archetype, list[Entity]] = {}
    rows: dict[Archetype, list[_Rows]] = {}
    ended = [entity for entity in touched.rows.values() if entity.has_ended]
    for entity in ended:
        entities.setdefault(entity.archetype, []).append(entity)
    for slots in touched.tables:
        if slots.alive is not None:
            is_plain = ~slots.alive
            is_plain[[entity.row for entity in ended if entity.table is slots]] = False
            if bool(is_plain.any()):
                rows[slots.table.archetype] = [(slots, np.flatnonzero(is_plain))]
    tombstones: dict[bytes, ArchetypeTable] = {}
    for archetype in {**dict.fromkeys(entities), **dict.fromkeys(rows)}:
        table = _rows_of(archetype, entities.get(archetype, []), rows.get(archetype, []))
        tombstones[archetype.archetype_id] = table
    return dict(sorted(tombstones.items()))


_NO_ROWS: Int64s = np.empty(0, dtype=np.int64)


def _rewritten(slots: TableSlots, touched: Touched) -> ArchetypeTable:
    """Give a table with the columns that were written, and with what its entities got anew in their rows."""
    table = slots.table
    arrays = {name: cells.current for name, cells in slots.cells.items() if cells.marks}
    renewed: dict[tuple[Slots, str], tuple[list[int], list[int]]] = {}
    for entity in touched.rows.values():
        if entity.table is slots and not entity.has_ended and entity.archetype == table.archetype:
            for component, (fresh, slot) in entity.fresh.items():
                rows, places = renewed.setdefault((fresh, component), ([], []))
                rows.append(entity.row)
                places.append(slot)
    for (fresh, component), (rows, places) in renewed.items():
        for column in table.archetype.component_fields(component):
            values = pc.take(fresh.current(column.name), pa.array(places))
            stored = arrays.get(column.name, table.array(column.name))
            arrays[column.name] = overwrite(stored, np.array(rows, dtype=np.int64), values)
    if not arrays:
        return table
    columns = [arrays.get(name, table.array(name)) for name in table.rows.column_names]
    return ArchetypeTable.from_arrays(table.archetype, columns)


def _rows_of(archetype: Archetype, entities: Sequence[Entity], rows: Sequence[_Rows]) -> ArchetypeTable:
    """Gather the rows of entities, and of whole parts of tables, from wherever their components lie."""
    ids = [np.array([entity.entity_id for entity in entities], dtype=np.int64)]
    ids.extend(slots.table.entity_ids[own] for slots, own in rows)
    arrays = [pa.array(np.concatenate(ids))]
    if not len(arrays[0]):
        return ArchetypeTable.of(archetype, archetype.table_schema.empty_table())
    for component in archetype.components:
        sources: dict[Slots, tuple[list[int], list[int]]] = {}
        for place, entity in enumerate(entities):
            slots, slot = entity.fresh.get(component) or (entity.table, entity.row)
            assert slots is not None, f"{component} of entity {entity.entity_id} lies nowhere"  # noqa: S101
            places, taken = sources.setdefault(slots, ([], []))
            places.append(place)
            taken.append(slot)
        parts = [
            (slots, places, np.array(taken, dtype=np.int64)) for slots, (places, taken) in sources.items()
        ]
        first = len(entities)
        for slots, own in rows:
            parts.append((slots, list(range(first, first + len(own))), own))
            first += len(own)
        for column in archetype.component_fields(component):
            values = [pc.take(slots.current(column.name), pa.array(taken)) for slots, _, taken in parts]
            arrays.append(gather(values, [places for _, places, _ in parts], column.type))
    return ArchetypeTable.of(archetype, pa.table(arrays, schema=archetype.table_schema))
