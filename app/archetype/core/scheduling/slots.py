"""Slots: where the components of entities lie while a group is folded.

A slot is a row of a table of the group's state, or a place among the components that the group itself made.
What a slot holds may be forgotten (its component removed, its entity ended), but it is never used again, so
the values at the end are also those at the time of forgetting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from archetype.core.columns import overwrite
from archetype.core.combine import Operation, is_number
from archetype.core.component import Component
from archetype.core.diff import Bools
from archetype.core.kernels import pc
from archetype.core.scheduling.cells import Cells
from archetype.core.scheduling.provisional import RealIds
from archetype.core.scheduling.rules import MergeRule, Rules
from archetype.core.state import ArchetypeTable, Int64s
from archetype.errors import InvalidInputError

__all__ = ["FreshSlots", "Slots", "TableSlots", "require_fit"]


class Slots:
    """Slots that share their columns; `cells` has those columns that have been written."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._holds: dict[type[Component], bool] = {}
        self.cells: dict[str, Cells] = {}

    def entity_ids_at(self, slots: Int64s) -> Int64s:
        """Give the entities at some slots."""
        raise NotImplementedError

    def columns_of(self, component: str) -> Sequence[pa.Field] | None:
        """Give the columns that a component has here, or None if these slots do not hold it."""
        raise NotImplementedError

    def current(self, column: str) -> pa.Array:
        """Give a column as it stands now."""
        raise NotImplementedError

    def _cells_of(self, component: str, column: pa.Field) -> Cells:
        cells = self.cells.get(column.name)
        if cells is None:
            cells = self.cells[column.name] = Cells(component, column, self.current(column.name))
        return cells

    def holds(self, kind: type[Component]) -> bool:
        """Say whether these slots hold a class's component, with the columns of that class."""
        known = self._holds.get(kind)
        if known is None:
            columns = self.columns_of(kind.__name__)
            known = columns is not None and list(columns) == list(kind.get_prefixed_schema())
            self._holds[kind] = known
        return known

    def rule(self, component: str) -> MergeRule:
        """Give the rule by which writes of a component meet here."""
        return self._rules.of(component, self.columns_of(component) or ())

    def write(
        self,
        component: str,
        slots: Int64s | None,
        values: Mapping[str, pa.Array],
        *,
        writer: int,
        is_delta: bool,
    ) -> int:
        """Fold one write of a component's columns; of all of them, unless each field is its own unit.

        Gives how many cells the writer had not written before. Raises InvalidInputError where a Delta or an
        integer does not fit.
        """
        columns = self.columns_of(component) or ()
        rule = self.rule(component)
        if rule.combining is not None:
            return self._write_combining(rule.combining, slots, values, writer=writer, is_delta=is_delta)
        count = 0
        for column in columns:
            array, operation = values.get(column.name), rule.operations.get(column.name)
            if array is None:
                continue
            cells = self._cells_of(component, column)
            if is_delta:
                count += cells.fold_onto(slots, array, writer, _delta_operation(cells, operation))
            else:
                count += cells.fold(slots, array, writer, operation)
        return count

    def mark(self, component: str, slots: Int64s | None, *, writer: int) -> int:
        """Mark a whole component as written, its values as they are; gives how many cells are new."""
        cells = [self._cells_of(component, column) for column in self.columns_of(component) or ()]
        return sum(each.mark(slots, writer, replaces=False) for each in cells)

    def _write_combining(
        self,
        kind: type[Component],
        slots: Int64s | None,
        values: Mapping[str, pa.Array],
        *,
        writer: int,
        is_delta: bool,
    ) -> int:
        cells = [self._cells_of(kind.__name__, column) for column in kind.get_prefixed_schema()]
        if not cells:
            return 0
        meets = cells[0].is_written(slots) | is_delta
        where = np.flatnonzero(meets)
        combined = {each.column.name: values[each.column.name] for each in cells}
        if len(where):
            some = pa.array(where)
            old = {each.column.name: pc.take(each.at(slots), some) for each in cells}
            new = {name: pc.take(array, some) for name, array in combined.items()}
            folded = _combine_components(kind, old, new)
            combined = {name: overwrite(array, where, folded[name]) for name, array in combined.items()}
        return sum(each.put(slots, combined[each.column.name], writer, replaces=False) for each in cells)


class TableSlots(Slots):
    """The rows of a table. `alive` are those whose entity has not ended; None is all of them."""

    def __init__(self, table: ArchetypeTable, rules: Rules) -> None:
        super().__init__(rules)
        self.table = table
        self.alive: Bools | None = None
        self._lost: dict[str, Bools] = {}
        self._components = {
            column.name: component
            for component in table.archetype.components
            for column in table.archetype.component_fields(component)
        }

    def component_of(self, column: str) -> str:
        """Give the component that a column belongs to."""
        return self._components[column]

    def entity_ids_at(self, slots: Int64s) -> Int64s:
        """Give the entities at some slots."""
        return self.table.entity_ids[slots]

    def columns_of(self, component: str) -> Sequence[pa.Field] | None:
        """Give the columns that a component has here, or None if these slots do not hold it."""
        archetype = self.table.archetype
        return archetype.component_fields(component) if component in archetype.components else None

    def current(self, column: str) -> pa.Array:
        """Give a column as it stands now."""
        cells = self.cells.get(column)
        return self.table.array(column) if cells is None else cells.current

    def is_alive(self, row: int) -> bool:
        """Say whether a row's entity has not ended."""
        return self.alive is None or bool(self.alive[row])

    def end(self, rows: Int64s) -> Int64s:
        """End entities; gives the rows of those that had not ended before."""
        if self.alive is None:
            self.alive = np.ones(self.table.row_count, dtype=np.bool_)
        ended = rows[self.alive[rows]]
        self.alive[ended] = False
        return ended

    def lose(self, component: str, row: int) -> None:
        """Forget what a row holds of a component."""
        lost = self._lost.get(component)
        if lost is None:
            lost = self._lost[component] = np.zeros(self.table.row_count, dtype=np.bool_)
        lost[row] = True

    def astray(self, component: str, rows: Int64s | None) -> Bools | None:
        """Tell which of these rows hold a component no more; None if all do."""
        lost = self._lost.get(component)
        if self.alive is None and lost is None:
            return None
        gone = np.zeros(self.table.row_count, dtype=np.bool_) if self.alive is None else ~self.alive
        gone = gone if lost is None else gone | lost
        gone = gone if rows is None else gone[rows]
        return gone if bool(gone.any()) else None


class FreshSlots(Slots):
    """Components of one class that the group made: of new entities, or added to old ones."""

    def __init__(self, kind: type[Component], rules: Rules) -> None:
        super().__init__(rules)
        self.kind = kind
        self._columns = list(kind.get_prefixed_schema())
        self._entity_ids: list[int] = []
        self._pending: list[Component] = []
        self._is_written: list[bool] = []
        for column in self._columns:
            self.cells[column.name] = Cells(kind.__name__, column, pa.array([], column.type))

    def entity_ids_at(self, slots: Int64s) -> Int64s:
        """Give the entities at some slots."""
        return np.array(self._entity_ids, dtype=np.int64)[slots]

    def columns_of(self, component: str) -> Sequence[pa.Field] | None:
        """Give the columns that a component has here, or None if these slots do not hold it."""
        return self._columns if component == self.kind.__name__ else None

    def current(self, column: str) -> pa.Array:
        """Give a column as it stands now."""
        return self.cells[column].current

    def add(self, entity_id: int, component: Component, *, is_written: bool) -> int:
        """Take in a component, and give its slot. It counts as written, or is what its entity began with."""
        self._entity_ids.append(entity_id)
        self._pending.append(component)
        self._is_written.append(is_written)
        return len(self._entity_ids) - 1

    def settle(self, real_ids: RealIds, writer: int) -> int:
        """Make columns of what was taken in; gives how many cells were written."""
        if not self._pending:
            return 0
        arrays = self.kind.layout().columns_of(self._pending)
        written = np.array(self._is_written, dtype=np.bool_)
        self._pending, self._is_written = [], []
        count = 0
        for column in self._columns:
            values = real_ids.resolve(require_fit(arrays[column.name], column))
            count += self.cells[column.name].extend(values, writer, written)
        return count


def require_fit(values: pa.Array, column: pa.Field) -> pa.Array:
    """Give the values of a write back; raises InvalidInputError if the column cannot hold them."""
    if values.type != column.type:
        raise InvalidInputError(f"A write to {column.name} is {values.type}, not {column.type}.")
    if values.null_count and not column.nullable:
        raise InvalidInputError(
            f"A write to {column.name} has {values.null_count} nulls, but the field is not Optional.",
            column=column.name,
        )
    return values


def _delta_operation(cells: Cells, operation: Operation | None) -> Operation:
    if operation is not None:
        return operation
    if not is_number(cells.column.type):
        raise InvalidInputError(
            f"{cells.name} takes no Delta: {cells.column.type} cannot be summed. Mark the field with the "
            'operation that is meant, such as Combine("append"), or write the whole value.',
            column=cells.column.name,
        )
    return "sum"


def _combine_components(
    kind: type[Component], old: Mapping[str, pa.Array], new: Mapping[str, pa.Array]
) -> dict[str, pa.Array]:
    """Combine pairs of components by the class's own `__combine__`."""
    make: Any = kind
    combined: list[Any] = []
    for first, second in zip(_components(kind, old), _components(kind, new), strict=True):
        result = make.__combine__(first, second)
        if type(result) is not kind:
            raise InvalidInputError(
                f"{kind.__name__}.__combine__ gave a {type(result).__name__}; it must give a {kind.__name__}."
            )
        combined.append(result)
    columns = kind.layout().columns_of(combined)
    return {column.name: require_fit(columns[column.name], column) for column in kind.get_prefixed_schema()}


def _components(kind: type[Component], columns: Mapping[str, pa.Array]) -> Iterable[Component]:
    layout = kind.layout()
    listed: list[list[Any]] = []
    for _, column, convert in layout.from_arrow:
        plain = columns[column].to_pylist()
        listed.append(plain if convert is None else [convert(value) for value in plain])
    names = [name for name, _, _ in layout.from_arrow]
    return [layout.make(dict(zip(names, row, strict=True))) for row in zip(*listed, strict=True)]
