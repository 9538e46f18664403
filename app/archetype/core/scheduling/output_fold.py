"""Folding one processor's output: its column writes and ended rows, then its operations in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.component import Component
from archetype.core.scheduling.provisional import RealIds
from archetype.core.scheduling.slots import Slots, TableSlots, require_fit
from archetype.core.scheduling.touched import Entity, Touched
from archetype.core.scheduling.whole_rows import WholeRows
from archetype.core.scheduling.writes import ColumnWrite, Despawn, Operation, Output, Remove, Spawn, Write
from archetype.core.state import Int64s
from archetype.errors import InvalidInputError

__all__ = ["OutputFold"]


@dataclass(slots=True)
class _Batch:
    """Writes of one class's components to distinct slots."""

    slots: list[int] = field(default_factory=list[int])
    components: list[Component] = field(default_factory=list[Component])


class OutputFold:
    """Folds one output into the touched entities and their slots; `writer` is its place among the outputs.

    Object writes are gathered, and written once all operations are read: which slot each of them goes to
    is then known, and slots do not depend on each other. A slot's k-th write goes into the k-th layer.
    """

    def __init__(self, touched: Touched, real_ids: RealIds, *, writer: int) -> None:
        self.cell_count = 0
        self.spawned_count = 0
        self.ended_count = 0
        self._touched = touched
        self._real_ids = real_ids
        self._writer = writer
        self._dropped_operations = 0
        self._dropped_rows: dict[TableSlots, list[Int64s]] = {}
        self._spawned: dict[int, Entity] = {}
        self._layers: list[dict[tuple[Slots, type[Component], bool], _Batch]] = []
        self._layer_of: dict[tuple[Slots, str, int], int] = {}

    @property
    def dropped_count(self) -> int:
        """How many operations, and entities of column writes, met nothing that they could act on."""
        rows = self._dropped_rows.values()
        return self._dropped_operations + sum(len(np.unique(np.concatenate(each))) for each in rows)

    def fold(self, output: Output) -> None:
        """Fold everything that the output holds; called once."""
        self._fold_columns(output.columns)
        for archetype_id, rows in output.ended.items():
            self._fold_ended(self._touched.by_archetype[archetype_id], rows)
        self._fold_operations(output.operations)

    def _fold_columns(self, writes: Sequence[ColumnWrite]) -> None:
        whole: dict[tuple[TableSlots, str, bool], WholeRows] = {}
        for write in writes:
            table = self._touched.by_archetype[write.archetype_id]
            column = table.table.archetype.schema.field(write.column)
            component = table.component_of(write.column)
            values = self._real_ids.resolve(require_fit(write.values, column))
            if not table.rule(component).is_whole:
                self._write_rows(table, component, write.rows, {column.name: values}, is_delta=write.is_delta)
                continue
            key = (table, component, write.is_delta)
            if key not in whole:
                whole[key] = WholeRows(table, component, is_delta=write.is_delta)
            whole[key].add(column.name, write.rows, values)
        for (table, component, _), part in sorted(whole.items(), key=lambda item: item[1].is_delta):
            self._write_whole(table, component, part)

    def _write_whole(self, table: TableSlots, component: str, part: WholeRows) -> None:
        if part.is_delta and table.rule(component).combining is None:
            for column, rows, values in part.pieces:
                self._write_rows(table, component, rows, {column: values}, is_delta=True)
            self._write_rows(table, component, part.rows(), {}, is_delta=True)
            return
        self._write_rows(table, component, part.rows(), part.values(), is_delta=part.is_delta)

    def _write_rows(
        self,
        table: TableSlots,
        component: str,
        rows: Int64s | None,
        values: Mapping[str, pa.Array],
        *,
        is_delta: bool,
    ) -> None:
        """Write columns of one component to rows, wherever these have it by now; no columns is a mark."""
        astray = table.astray(component, rows)
        if astray is not None:
            wanted = np.arange(table.table.row_count) if rows is None else rows
            stray = np.flatnonzero(astray)
            self._write_stray(table, component, wanted[stray], _taken(values, stray), is_delta=is_delta)
            kept = np.flatnonzero(~astray)
            rows, values = wanted[kept], _taken(values, kept)
        if rows is None or len(rows):
            self._write(table, component, rows, values, is_delta=is_delta)

    def _write_stray(
        self,
        table: TableSlots,
        component: str,
        rows: Int64s,
        values: Mapping[str, pa.Array],
        *,
        is_delta: bool,
    ) -> None:
        """Write to rows that hold the component no more: into its new place, if the entity got it again."""
        columns = table.columns_of(component)
        found: dict[Slots, tuple[list[int], list[int]]] = {}
        dropped: list[int] = []
        for place, row in enumerate(rows.tolist()):
            entity = self._touched.rows.get((table, row))
            held = entity.slot_of(component) if entity is not None and not entity.has_ended else None
            if held is None or held[0].columns_of(component) != columns:
                dropped.append(row)
                continue
            places, slots = found.setdefault(held[0], ([], []))
            places.append(place)
            slots.append(held[1])
        if dropped:
            self._drop_rows(table, np.array(dropped, dtype=np.int64))
        for held_by, (places, slots) in found.items():
            chosen = np.array(places, dtype=np.int64)
            targets = np.array(slots, dtype=np.int64)
            self._write(held_by, component, targets, _taken(values, chosen), is_delta=is_delta)

    def _write(
        self,
        slots: Slots,
        component: str,
        where: Int64s | None,
        values: Mapping[str, pa.Array],
        *,
        is_delta: bool,
    ) -> None:
        if values:
            self.cell_count += slots.write(component, where, values, writer=self._writer, is_delta=is_delta)
        else:
            self.cell_count += slots.mark(component, where, writer=self._writer)

    def _drop_rows(self, table: TableSlots, rows: Int64s) -> None:
        self._dropped_rows.setdefault(table, []).append(rows)

    def _fold_ended(self, table: TableSlots, rows: Int64s) -> None:
        ended = table.end(rows)
        self.ended_count += len(ended)
        for row in ended.tolist() if self._touched.rows else ():
            entity = self._touched.rows.get((table, row))
            if entity is not None:
                entity.has_ended = True
        if len(ended) < len(rows):
            self._drop_rows(table, np.setdiff1d(rows, ended))

    def _fold_operations(self, operations: Sequence[Operation]) -> None:
        ids = np.fromiter((operation.entity_id for operation in operations), np.int64, len(operations))
        tables, rows = self._touched.state.locate(ids)
        for operation, table, row in zip(operations, tables.tolist(), rows.tolist(), strict=True):
            held_by = self._touched.tables[table] if table >= 0 else None
            if not _FOLDS[type(operation)](self, operation, held_by, row):
                self._dropped_operations += 1
        self.cell_count += self._touched.settle(self._real_ids, self._writer)
        for layer in self._layers:
            for (slots, kind, is_delta), batch in layer.items():
                self._write_batch(slots, kind, batch, is_delta=is_delta)

    def write(self, operation: Write, table: TableSlots | None, row: int) -> bool:
        """Note a whole component for its slot, or add it where the entity has none; False if dropped."""
        kind = type(operation.component)
        if table is not None and table.holds(kind) and (table, row) not in self._touched.rows:
            if not table.is_alive(row):
                return False
            self._note(table, row, operation)
            return True
        entity = self._entity(operation.entity_id, table, row)
        if entity is None:
            return False
        held = entity.slot_of(kind.__name__)
        if held is not None and held[0].holds(kind):
            self._note(*held, operation)
        elif held is not None and operation.is_delta:
            raise _unlike(operation)
        else:
            self._touched.add(entity, operation.component)
        return True

    def remove(self, operation: Remove, table: TableSlots | None, row: int) -> bool:
        """Take a component away; False if there is none."""
        entity = self._entity(operation.entity_id, table, row)
        return entity is not None and self._touched.remove(entity, operation.kind.__name__)

    def spawn(self, operation: Spawn, _table: TableSlots | None, _row: int) -> bool:
        """Begin an entity under its real id."""
        entity_id = self._real_ids[operation.entity_id]
        self._spawned[operation.entity_id] = self._touched.spawn(entity_id, operation.components)
        self.spawned_count += 1
        return True

    def despawn(self, operation: Despawn, table: TableSlots | None, row: int) -> bool:
        """End an entity; False if it is not active."""
        entity = self._entity(operation.entity_id, table, row)
        if entity is None:
            return False
        self._touched.end(entity)
        self.ended_count += 1
        return True

    def _entity(self, entity_id: int, table: TableSlots | None, row: int) -> Entity | None:
        """Give an active entity, which is touched from now on."""
        if table is None:
            entity = self._spawned.get(entity_id)
            return None if entity is None or entity.has_ended else entity
        return self._touched.at(table, row) if table.is_alive(row) else None

    def _note(self, slots: Slots, slot: int, operation: Write) -> None:
        kind = type(operation.component)
        key = (slots, kind.__name__, slot)
        layer = self._layer_of.get(key, 0)
        self._layer_of[key] = layer + 1
        if layer == len(self._layers):
            self._layers.append({})
        batch = self._layers[layer].setdefault((slots, kind, operation.is_delta), _Batch())
        batch.slots.append(slot)
        batch.components.append(operation.component)

    def _write_batch(self, slots: Slots, kind: type[Component], batch: _Batch, *, is_delta: bool) -> None:
        arrays = kind.layout().columns_of(batch.components)
        values = {
            column.name: self._real_ids.resolve(require_fit(arrays[column.name], column))
            for column in kind.get_prefixed_schema()
        }
        where = np.array(batch.slots, dtype=np.int64)
        self.cell_count += slots.write(kind.__name__, where, values, writer=self._writer, is_delta=is_delta)


def _taken(values: Mapping[str, pa.Array], places: Int64s) -> dict[str, pa.Array]:
    return {name: pc.take(array, pa.array(places)) for name, array in values.items()}


def _unlike(operation: Write) -> InvalidInputError:
    name = type(operation.component).__name__
    return InvalidInputError(
        f"Entity {operation.entity_id} holds {name} with other fields than the class has now, so a Delta "
        "cannot be folded onto it; write the whole component."
    )


_FOLDS: dict[type[Any], Callable[[OutputFold, Any, TableSlots | None, int], bool]] = {
    Write: OutputFold.write,
    Remove: OutputFold.remove,
    Spawn: OutputFold.spawn,
    Despawn: OutputFold.despawn,
}
