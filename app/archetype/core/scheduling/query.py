"""What a query gives: the entities that have some components, as they were when it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar, cast

import numpy as np

from archetype.core.component import Component
from archetype.core.scheduling.objects import copied
from archetype.core.scheduling.view import Part, Selection, View

__all__ = ["QueryResult"]

Row_co = TypeVar("Row_co", covariant=True)


class QueryResult(Generic[Row_co]):
    """Iterates tuples of an entity id and the components that were asked for.

    It shows the moment of the query: what its processor writes later is not in it. By entity id, the
    processor's own spawns last. Components are made when it is iterated, anew each time.
    """

    def __init__(
        self, view: View, selection: Selection, kinds: Sequence[type[Component]], *, nests: bool
    ) -> None:
        self._view = view
        self._selection = selection
        self._kinds = kinds
        self._nests = nests
        stored = [part.entity_ids for part in selection.parts]
        ids = np.concatenate([*stored, np.array(selection.gained, dtype=np.int64)])
        is_ordered = bool(np.all(ids[1:] > ids[:-1]))
        self._order = None if is_ordered else np.argsort(ids)
        self._entities: list[int] = (ids if self._order is None else ids[self._order]).tolist()
        self._entities += selection.spawned

    def __iter__(self) -> Iterator[Row_co]:
        columns = [self._column(kind) for kind in self._kinds]
        rows: Iterator[Any] = zip(self._entities, *columns, strict=True)
        if self._nests:
            rows = ((row[0], row[1:]) for row in rows)
        return cast("Iterator[Row_co]", rows)

    def __len__(self) -> int:
        return len(self._entities)

    def __repr__(self) -> str:
        return f"QueryResult({', '.join(kind.__name__ for kind in self._kinds)}: {len(self)} entities)"

    def entities(self) -> list[int]:
        """Give the entity ids, in the order of iteration."""
        return self._entities.copy()

    def _column(self, kind: type[Component]) -> Iterator[Any]:
        selection, own = self._selection, self._selection.written.get(kind.__name__, {})
        pieces = [self._rows(part, kind, own) for part in selection.parts]
        pieces.append(
            copied(own[each]) if each in own else self._view.stored(each, kind) for each in selection.gained
        )
        column: Iterator[Any] = chain.from_iterable(pieces)
        if self._order is not None:
            listed = list(column)
            column = (listed[place] for place in self._order.tolist())
        return chain(column, (copied(own[each]) for each in selection.spawned))

    def _rows(self, part: Part, kind: type[Component], own: Mapping[int, Component]) -> Iterator[Any]:
        made = self._view.reader(part.table, kind).read(part.rows)
        if not own:
            return made
        return (
            copied(own[each]) if each in own else stored
            for each, stored in zip(part.entity_ids.tolist(), made, strict=True)
        )
