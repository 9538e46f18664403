"""Applying a tick's changes to a state: sequential in meaning, columnar in execution.

Single changes are folded into an overlay, entity by entity; the overlay is written to the tables at once
before a batch and at the end. A change that cannot be applied changes nothing and becomes a Rejection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archetype.core.archetype import Archetype
from archetype.core.bulk import batch_archetype, split_batch
from archetype.core.changes import (
    BatchChange,
    Change,
    Despawn,
    Rejection,
    SingleChange,
    SpawnBatch,
    UpdateBatch,
)
from archetype.core.columns import merge_rows, overwrite_columns
from archetype.core.overlay import Overlay
from archetype.core.state import ArchetypeTable, Int64s, WorldState, take_rows

_NAMED_MAX = 5


@dataclass(frozen=True, eq=False)
class Applied:
    """What a tick's changes made of a state.

    `tombstones` has, by archetype id, each entity that was in the incoming state and ended: its row as it
    was there, in the archetype it had there.
    """

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]
    rejections: tuple[Rejection, ...]


def apply_changes(state: WorldState, changes: Sequence[Change]) -> Applied:
    """Apply changes in order; the last write to a field wins.

    Gives the very same state object if nothing changed. Raises CodeNotLoadedError if a payload names a
    component class that is not loaded.
    """
    current = state
    rejections: list[Rejection] = []
    despawned: list[int] = []
    for part in _parts(changes):
        if isinstance(part, list):
            overlay = Overlay(current, state, _touched(part))
            for change in part:
                rejection = overlay.fold(change)
                if rejection is not None:
                    rejections.append(rejection)
                elif isinstance(change, Despawn):
                    despawned.append(change.entity_id)
            current = overlay.write()
            continue
        outcome = (
            _spawn_batch(current, state, part)
            if isinstance(part, SpawnBatch)
            else _update_batch(current, part)
        )
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
        else:
            current = outcome
    return Applied(current, _tombstones(state, despawned), tuple(rejections))


def _parts(changes: Sequence[Change]) -> Iterator[list[SingleChange] | BatchChange]:
    """Give the changes in order: runs of single ones together, batches one by one."""
    run: list[SingleChange] = []
    for change in changes:
        if not isinstance(change, (SpawnBatch, UpdateBatch)):
            run.append(change)
            continue
        if run:
            yield run
            run = []
        yield change
    if run:
        yield run


def _touched(changes: list[SingleChange]) -> Int64s:
    return np.unique(np.fromiter((change.entity_id for change in changes), dtype=np.int64))


def _tombstones(state: WorldState, despawned: list[int]) -> dict[bytes, ArchetypeTable]:
    ids = np.unique(np.array(despawned, dtype=np.int64))
    table_index, row_index = state.locate(ids)
    tombstones: dict[bytes, ArchetypeTable] = {}
    for index, table in enumerate(state):
        rows = row_index[table_index == index]
        if len(rows):
            tombstones[table.archetype.archetype_id] = ArchetypeTable(
                table.archetype, take_rows(table.rows, rows)
            )
    return tombstones


def _spawn_batch(state: WorldState, incoming: WorldState, change: SpawnBatch) -> WorldState | Rejection:
    ids = np.arange(change.first_entity_id, change.first_entity_id + change.batch.num_rows, dtype=np.int64)
    taken = (state.locate(ids)[0] >= 0) | (incoming.locate(ids)[0] >= 0)
    if bool(taken.any()):
        reason = f"{_named(ids[taken])} of {len(ids)} exist already; an entity id is never used twice."
        return Rejection(change.version, "entity_exists", reason)
    tables: list[ArchetypeTable] = []
    for archetype, rows in split_batch(change.batch, change.first_entity_id):
        known = state.tables.get(archetype.archetype_id)
        arriving = ArchetypeTable.of(archetype, rows)
        tables.append(merge_rows(known, np.empty(0, dtype=np.int64), arriving))
    return state.replace(tables)


def _update_batch(state: WorldState, change: UpdateBatch) -> WorldState | Rejection:
    batch = change.batch.combine_chunks()
    ids: Int64s = batch.column("entity_id").to_numpy()
    table_index, row_index = state.locate(ids)
    missing = table_index < 0
    if bool(missing.any()):
        reason = f"{_named(ids[missing])} of {len(ids)} in the batch are not active."
        return Rejection(change.version, "entity_not_found", reason)
    wanted = batch_archetype(batch)
    held = [(index, table) for index, table in enumerate(state) if bool(np.any(table_index == index))]
    for index, table in held:
        refusal = _misfit(table.archetype, wanted)
        if refusal is not None:
            code, what = refusal
            return Rejection(
                change.version, code, f"{_named(ids[table_index == index])} of {len(ids)} {what}."
            )
    tables: list[ArchetypeTable] = []
    for index, table in held:
        chosen = np.flatnonzero(table_index == index)
        part = batch if len(chosen) == len(ids) else take_rows(batch, chosen)
        rows = row_index[chosen]
        names = wanted.schema.names
        values = {name: part.column(name).chunk(0) for name in names}
        tables.append(overwrite_columns(table, dict.fromkeys(names, rows), values))
    return state.replace(tables)


def _misfit(archetype: Archetype, wanted: Archetype) -> tuple[str, str] | None:
    for name in wanted.components:
        if name not in archetype.components:
            return "component_not_present", f"have no {name}"
        have = {column.name: column for column in archetype.component_fields(name)}
        for column in wanted.component_fields(name):
            if have.get(column.name) != column:
                return "schema_changed", f"hold {name} with other columns than the batch ({column.name})"
    return None


def _named(ids: Int64s) -> str:
    """Name entities in a sentence: how many, and the first few ids."""
    first = ", ".join(str(entity_id) for entity_id in np.sort(ids)[:_NAMED_MAX])
    more = ", …" if len(ids) > _NAMED_MAX else ""
    return f"{len(ids)} entities ({first}{more})"
