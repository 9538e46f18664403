"""Rows as component objects: made in bulk, without validation, and their reader's to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.component import Component
from archetype.core.state import ArchetypeTable, Int64s
from archetype.errors import CodeNotLoadedError, TickFailedError

__all__ = ["ComponentReader", "component_class", "copied"]

C = TypeVar("C", bound=Component)


class ComponentReader(Generic[C]):
    """Reads one component of an archetype's rows.

    The objects are new at every read, and equal to those whose values the columns hold. Raises
    TickFailedError if the columns are not those of the class.
    """

    __slots__ = ("_columns", "_kind", "_make", "_table")

    def __init__(self, table: ArchetypeTable, kind: type[C]) -> None:
        _require_columns(table, kind)
        layout = kind.layout()
        self._table = table
        self._kind = kind.__name__
        self._make = layout.make
        self._columns = [(name, table.array(column), convert) for name, column, convert in layout.from_arrow]

    def read(self, rows: Int64s | None = None) -> Iterator[C]:
        """Give the components of all rows, or of those at some indices, in that order.

        Values are read here and now, and each object is made when it is reached: most die young.
        """
        if not self._columns:
            row_count = self._table.row_count if rows is None else len(rows)
            return (self._make({}) for _ in range(row_count))
        taken = None if rows is None else pa.array(rows)
        columns: list[list[Any]] = []
        for name, array, convert in self._columns:
            plain = (array if taken is None else pc.take(array, taken)).to_pylist()
            columns.append(plain if convert is None else self._converted(name, plain, convert, rows))
        names = [name for name, _, _ in self._columns]
        make = self._make
        return (make(dict(zip(names, values, strict=False))) for values in zip(*columns, strict=True))

    def read_one(self, row: int) -> C:
        """Give the component of one row."""
        values: dict[str, Any] = {}
        for name, array, convert in self._columns:
            plain = array[row].as_py()
            values[name] = (
                plain if convert is None else self._converted(name, [plain], convert, np.array([row]))[0]
            )
        return self._make(values)

    def _converted(
        self, name: str, values: list[Any], convert: Callable[[Any], Any], rows: Int64s | None
    ) -> list[Any]:
        converted: list[Any] = []
        try:
            for value in values:
                converted.append(convert(value))  # noqa: PERF401 (how far it came is told)
        except ValueError as exc:
            row = len(converted) if rows is None else int(rows[len(converted)])
            entity_id = int(self._table.entity_ids[row])
            raise TickFailedError(
                f"Entity {entity_id} has a value in {self._kind}.{name} that its class does not have: {exc}. "
                "Update it with one that the class has, or import the class that has this one.",
                archetype=self._table.archetype.name,
                component=self._kind,
                field=name,
                entity_id=entity_id,
            ) from exc
        return converted


def copied(component: C) -> C:
    """Give an equal component that shares nothing with it that can be changed."""
    return type(component).layout().copy(component)


def component_class(name: str) -> type[Component]:
    """Give the class of a component that a state holds; raises CodeNotLoadedError if it is not loaded."""
    found = Component.find_type(name)
    if found is None:
        raise CodeNotLoadedError(
            f"Component {name!r} is in the state, but not loaded here. Start the server with --module "
            "MODULE, or name its module in ARCHETYPE_MODULES.",
            name=name,
            module=name.rpartition(".")[0] or None,
        )
    return found


def _require_columns(table: ArchetypeTable, kind: type[Component]) -> None:
    name = kind.__name__
    if table.archetype.component_fields(name) != list(kind.get_prefixed_schema()):
        raise TickFailedError(
            f"{table.archetype.name} holds {name} with other fields than the class has now. Import the "
            f"class that wrote it, or add {name} to its entities again to replace it.",
            component=name,
            archetype=table.archetype.name,
        )
