"""A group's state as one processor sees it: with its own changes over it, and with nobody else's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np

from archetype.core.component import Component
from archetype.core.scheduling.objects import ComponentReader, copied
from archetype.core.state import ArchetypeTable, Int64s, WorldState
from archetype.errors import EntityNotFoundError

__all__ = ["Part", "Selection", "View"]

C = TypeVar("C", bound=Component)

_NO_COMPONENTS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one table of the state; None is every one."""

    table: int
    entity_ids: Int64s
    rows: Int64s | None


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Entities at one moment: rows of the state, those that came to match since, and own spawns in order.

    `written` has, by component and entity, what was written over the rows until then.
    """

    parts: Sequence[Part]
    gained: Sequence[int]
    spawned: Sequence[int]
    written: Mapping[str, Mapping[int, Component]]


class View:
    """Reads a state, and writes that only this view sees.

    It keeps the components that it is given, and gives its own only as copies.
    """

    def __init__(self, state: WorldState) -> None:
        self._tables: list[ArchetypeTable] = list(state)
        self._near = 0
        self._readers: dict[tuple[int, type[Component]], ComponentReader[Any]] = {}
        self._written: dict[str, dict[int, Component]] = {}
        self._gained: dict[str, set[int]] = {}
        self._removed: dict[str, set[int]] = {}
        self._ended: set[int] = set()
        self._spawned: dict[int, None] = {}

    def exists(self, entity_id: int) -> bool:
        """Say whether an entity is active."""
        return self._stored_names(entity_id) is not None

    def component_names(self, entity_id: int) -> list[str]:
        """Give the components of an entity, sorted; raises EntityNotFoundError if it is not active."""
        stored = self._require(entity_id)
        kept = [name for name in stored if entity_id not in self._removed.get(name, ())]
        gained = [name for name, ids in self._gained.items() if entity_id in ids]
        return sorted(kept + gained)

    def has(self, entity_id: int, name: str) -> bool:
        """Say whether an active entity has a component."""
        if entity_id in self._written.get(name, ()):
            return True
        stored = self._stored_names(entity_id)
        return stored is not None and name in stored and entity_id not in self._removed.get(name, ())

    def get(self, entity_id: int, kind: type[C]) -> C | None:
        """Give a component of an entity, or None if there is none."""
        name = kind.__name__
        own = self._written.get(name)
        if own is not None and entity_id in own:
            return copied(own[entity_id])  # pyright: ignore[reportReturnType] (kept under its class's name)
        if entity_id in self._ended or entity_id in self._removed.get(name, ()):
            return None
        return self.stored(entity_id, kind)

    def stored(self, entity_id: int, kind: type[C]) -> C | None:
        """Give a component that an entity has in the state, whatever this view did, or None."""
        place = self._find(entity_id)
        if place is None or kind.__name__ not in self._names[place[0]]:
            return None
        return self.reader(place[0], kind).read_one(place[1])

    def reader(self, table: int, kind: type[C]) -> ComponentReader[C]:
        """Give what reads a component of a table of the state."""
        known = self._readers.get((table, kind))
        if known is None:
            known = self._readers[table, kind] = ComponentReader(self._tables[table], kind)
        return known

    def require(self, entity_id: int) -> None:
        """Raise EntityNotFoundError unless an entity is active."""
        self._require(entity_id)

    def write(self, entity_id: int, name: str, component: Component) -> None:
        """Give an active entity a component of that name, in place of one that it has."""
        if name not in self._require(entity_id):
            self._gained.setdefault(name, set()).add(entity_id)
        elif name in self._removed:
            self._removed[name].discard(entity_id)
        own = self._written.get(name)
        if own is None:
            own = self._written[name] = {}
        own[entity_id] = component

    def remove(self, entity_id: int, name: str) -> None:
        """Take a component from an active entity; one that is not there is passed over."""
        if name in self._require(entity_id):
            self._removed.setdefault(name, set()).add(entity_id)
        self._drop(entity_id, name)

    def begin(self, entity_id: int, components: Sequence[Component]) -> None:
        """Begin an entity, under an id that no other has."""
        self._spawned[entity_id] = None
        for component in components:
            self.write(entity_id, type(component).__name__, component)

    def end(self, entity_id: int) -> None:
        """End an active entity."""
        for name in self.component_names(entity_id):
            self._drop(entity_id, name)
        if entity_id in self._spawned:
            del self._spawned[entity_id]
        else:
            self._ended.add(entity_id)

    def select(self, names: Sequence[str]) -> Selection:
        """Find the entities that have some components, all of them with none."""
        gone = self._ended.union(*(self._removed.get(name, ()) for name in names))
        wanted = set(names)
        parts = [self._part(index, gone) for index, have in enumerate(self._names) if wanted <= have]
        gained = set[int]().union(*(self._gained.get(name, ()) for name in names))
        matching = {each for each in gained if all(self.has(each, name) for name in names)}
        return Selection(
            parts=[part for part in parts if len(part.entity_ids)],
            gained=sorted(matching - self._spawned.keys()),
            spawned=[each for each in self._spawned if not names or each in matching],
            written={name: self._written[name].copy() for name in names if self._written.get(name)},
        )

    @cached_property
    def _names(self) -> list[frozenset[str]]:
        return [frozenset(table.archetype.components) for table in self._tables]

    @cached_property
    def _ids(self) -> list[memoryview]:
        return [memoryview(cast("Any", table.entity_ids)) for table in self._tables]

    def _part(self, index: int, gone: set[int]) -> Part:
        ids = self._tables[index].entity_ids
        if not gone:
            return Part(index, ids, None)
        rows = np.flatnonzero(~np.isin(ids, np.fromiter(gone, dtype=np.int64)))
        return Part(index, ids, None) if len(rows) == len(ids) else Part(index, ids[rows], rows)

    def _find(self, entity_id: int) -> tuple[int, int] | None:
        """Find the table and the row of an entity of the state, first where the last one was."""
        if self._tables:
            ids = self._ids[self._near]
            row = bisect_left(ids, entity_id)
            if row < len(ids) and ids[row] == entity_id:
                return self._near, row
        for index, ids in enumerate(self._ids):
            row = bisect_left(ids, entity_id)
            if row < len(ids) and ids[row] == entity_id:
                self._near = index
                return index, row
        return None

    def _stored_names(self, entity_id: int) -> frozenset[str] | None:
        """Give the components that an active entity has in the state, none for a spawn, or None."""
        if entity_id in self._ended:
            return None
        if entity_id in self._spawned:
            return _NO_COMPONENTS
        place = self._find(entity_id)
        return None if place is None else self._names[place[0]]

    def _require(self, entity_id: int) -> frozenset[str]:
        stored = self._stored_names(entity_id)
        if stored is None:
            raise EntityNotFoundError(
                f"Entity {entity_id} is not active: it never was, or it ended. Ask access.exists(entity_id).",
                entity_id=entity_id,
            )
        return stored

    def _drop(self, entity_id: int, name: str) -> None:
        self._written.get(name, {}).pop(entity_id, None)
        self._gained.get(name, set()).discard(entity_id)
