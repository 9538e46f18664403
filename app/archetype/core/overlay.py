"""The overlay: what single changes have made of the entities they touch, until it is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.archetype import Archetype
from archetype.core.changes import (
    AddComponents,
    Despawn,
    Payload,
    Rejection,
    RemoveComponents,
    SingleChange,
    Spawn,
    Update,
)
from archetype.core.columns import gather, merge_rows, overwrite_columns
from archetype.core.component import Component
from archetype.core.state import ArchetypeTable, Int64s, WorldState
from archetype.errors import CodeNotLoadedError, ComponentError, LimitExceededError

_Refusal = tuple[str, str]


@dataclass(slots=True)
class _Entity:
    """One touched entity: where its row lies in the tables (-1 if nowhere), and what is new since."""

    table: int
    row: int
    archetype: Archetype | None
    written: dict[str, Any]


class Overlay:
    """Folds single changes over a state; `touched` are the entities they name, ascending.

    `incoming` is the state at the start of the tick: an entity that was in it keeps its id even once ended.
    """

    def __init__(self, state: WorldState, incoming: WorldState, touched: Int64s) -> None:
        self._state = state
        self._tables = list(state)
        self._incoming: set[int] = set(touched[incoming.locate(touched)[0] >= 0].tolist())
        self._entities: dict[int, _Entity] = {}
        tables, rows = state.locate(touched)
        for entity_id, table, row in zip(touched.tolist(), tables.tolist(), rows.tolist(), strict=True):
            archetype = self._tables[table].archetype if table >= 0 else None
            self._entities[entity_id] = _Entity(table, row, archetype, {})
        self._kinds: dict[str, type[Component]] = {}
        self._archetypes: dict[Any, Archetype] = {}
        self._unchanged: dict[tuple[bytes, str], bool] = {}

    def fold(self, change: SingleChange) -> Rejection | None:
        """Apply one single change; gives a Rejection, and changes nothing, if it cannot be applied."""
        refusal = _FOLDS[type(change)](self, change)
        return None if refusal is None else Rejection(change.version, *refusal)

    def spawn(self, change: Spawn) -> _Refusal | None:
        """Begin an entity."""
        entity = self._entities[change.entity_id]
        if entity.archetype is not None:
            return "entity_exists", f"Entity {change.entity_id} exists already."
        if change.entity_id in self._incoming:
            return "entity_exists", f"Entity {change.entity_id} ended in this tick; its id is not used again."
        values = self._whole_values(change.components)
        if isinstance(values, tuple):
            return values
        entity.archetype = self._archetype_of(change.components)
        entity.written = values
        return None

    def despawn(self, change: Despawn) -> _Refusal | None:
        """End an entity."""
        entity = self._entities[change.entity_id]
        if entity.archetype is None:
            return _not_found(change.entity_id)
        entity.archetype, entity.written = None, {}
        return None

    def update(self, change: Update) -> _Refusal | None:
        """Overwrite fields of components that the entity has."""
        entity = self._entities[change.entity_id]
        archetype = entity.archetype
        if archetype is None:
            return _not_found(change.entity_id)
        values: dict[str, Any] = {}
        for payload in change.components:
            kind = self._kind(payload["type"])
            name = kind.__name__
            if name not in archetype.components:
                return _not_present(change.entity_id, name)
            if not self._is_unchanged(archetype, kind):
                return _schema_changed(change.entity_id, name)
            try:
                values.update(kind.row_values_from_payload(payload))
            except KeyError:
                return _schema_changed(change.entity_id, name)
        entity.written.update(values)
        return None

    def add_components(self, change: AddComponents) -> _Refusal | None:
        """Give the entity components, in place of those of the same type."""
        entity = self._entities[change.entity_id]
        if entity.archetype is None:
            return _not_found(change.entity_id)
        values = self._whole_values(change.components)
        if isinstance(values, tuple):
            return values
        added = self._archetype_of(change.components)
        key = (entity.archetype.archetype_id, added.archetype_id)
        target = self._archetypes.get(key)
        if target is None:
            try:
                target = entity.archetype.with_components(added)
            except ComponentError as exc:
                return "prefix_collision", f"Entity {change.entity_id}: {exc.message}"
            except LimitExceededError as exc:
                return exc.code, f"Entity {change.entity_id}: {exc.message}"
            self._archetypes[key] = target
        entity.archetype = target
        entity.written.update(values)
        return None

    def remove_components(self, change: RemoveComponents) -> _Refusal | None:
        """Take components from the entity."""
        entity = self._entities[change.entity_id]
        archetype = entity.archetype
        if archetype is None:
            return _not_found(change.entity_id)
        names = frozenset(_plain_name(name) for name in change.component_types)
        absent = sorted(names - set(archetype.components))
        if absent:
            return _not_present(change.entity_id, absent[0])
        key = (archetype.archetype_id, names)
        target = self._archetypes.get(key)
        if target is None:
            target = self._archetypes[key] = archetype.without_components(names)
        for name in names:
            for column in archetype.component_fields(name):
                entity.written.pop(column.name, None)
        entity.archetype = target
        return None

    def write(self) -> WorldState:
        """Give the state with everything folded so far; the same object if nothing changed."""
        leaving: dict[int, list[int]] = {}
        arriving: dict[Archetype, list[tuple[int, _Entity]]] = {}
        rewritten: dict[int, list[_Entity]] = {}
        for entity_id, entity in self._entities.items():
            here = self._tables[entity.table].archetype if entity.table >= 0 else None
            if entity.archetype == here:
                if entity.written:
                    rewritten.setdefault(entity.table, []).append(entity)
                continue
            if here is not None:
                leaving.setdefault(entity.table, []).append(entity.row)
            if entity.archetype is not None:
                arriving.setdefault(entity.archetype, []).append((entity_id, entity))
        if not (leaving or arriving or rewritten):
            return self._state
        tables = {table.archetype: table for table in self._tables}
        gone = {self._tables[index].archetype: np.array(rows) for index, rows in leaving.items()}
        for index, entities in rewritten.items():
            table = self._tables[index]
            tables[table.archetype] = _rewrite(table, entities)
        for archetype in {**dict.fromkeys(gone), **dict.fromkeys(arriving)}:
            new = self._arrivals(archetype, arriving.get(archetype, []))
            rows = gone.get(archetype, np.empty(0, dtype=np.int64))
            tables[archetype] = merge_rows(tables.get(archetype), rows, new)
        return self._state.replace(tables.values())

    def _arrivals(self, archetype: Archetype, entities: list[tuple[int, _Entity]]) -> ArchetypeTable:
        """Build the rows that enter an archetype: new values from the overlay, the others from old rows."""
        arrays = [pa.array([entity_id for entity_id, _ in entities], pa.int64())]
        moved: dict[int, list[int]] = {}
        for place, (_, entity) in enumerate(entities):
            if entity.table >= 0:
                moved.setdefault(entity.table, []).append(place)
        for column in archetype.schema:
            name = column.name
            if not moved:
                values = [entity.written[name] for _, entity in entities]
                arrays.append(pa.array(values, column.type))
                continue
            fresh = [place for place, (_, entity) in enumerate(entities) if name in entity.written]
            parts = [pa.array([entities[place][1].written[name] for place in fresh], column.type)]
            places = [fresh]
            for index, members in moved.items():
                kept = [place for place in members if name not in entities[place][1].written]
                if kept:
                    rows = pa.array([entities[place][1].row for place in kept], pa.int64())
                    parts.append(pc.take(self._tables[index].array(name), rows))
                    places.append(kept)
            arrays.append(gather(parts, places, column.type))
        return ArchetypeTable(archetype, pa.table(arrays, schema=archetype.table_schema))

    def _whole_values(self, payloads: Iterable[Payload]) -> dict[str, Any] | _Refusal:
        """Give the column values of whole components, which must have exactly their class's fields."""
        values: dict[str, Any] = {}
        for payload in payloads:
            kind = self._kind(payload["type"])
            try:
                own = kind.row_values_from_payload(payload)
            except KeyError as exc:
                return "schema_changed", f"{kind.__name__} has no field {exc} any more."
            fields = kind.layout().fields
            if len(own) < len(fields):
                absent = next(field.name for field in fields if field.column not in own)
                return (
                    "schema_changed",
                    f"{kind.__name__} now has a field {absent!r}, which the change lacks.",
                )
            values.update(own)
        return values

    def _archetype_of(self, payloads: list[Payload]) -> Archetype:
        key = tuple([payload["type"] for payload in payloads])
        archetype = self._archetypes.get(key)
        if archetype is None:
            kinds = [self._kind(name) for name in key]
            assert len(set(kinds)) == len(kinds), f"a component type appears twice in {key}"  # noqa: S101
            archetype = self._archetypes[key] = Archetype.of(kinds)
        return archetype

    def _kind(self, name: str) -> type[Component]:
        kind = self._kinds.get(name)
        if kind is None:
            found = Component.find_type(name)
            if found is None:
                module = name.rpartition(".")[0] or None
                raise CodeNotLoadedError(
                    f"Component {name!r} is in the log, but not loaded here. Start the server with --module "
                    "MODULE, or name its module in ARCHETYPE_MODULES.",
                    name=name,
                    module=module,
                )
            kind = self._kinds[name] = found
        return kind

    def _is_unchanged(self, archetype: Archetype, kind: type[Component]) -> bool:
        key = (archetype.archetype_id, kind.__name__)
        known = self._unchanged.get(key)
        if known is None:
            have = archetype.component_fields(kind.__name__)
            known = self._unchanged[key] = have == list(kind.get_prefixed_schema())
        return known


_FOLDS: dict[type, Callable[[Overlay, Any], _Refusal | None]] = {
    Spawn: Overlay.spawn,
    Despawn: Overlay.despawn,
    Update: Overlay.update,
    AddComponents: Overlay.add_components,
    RemoveComponents: Overlay.remove_components,
}


def _rewrite(table: ArchetypeTable, entities: list[_Entity]) -> ArchetypeTable:
    rows: dict[str, Int64s] = {}
    values: dict[str, pa.Array] = {}
    for column in table.archetype.schema:
        name = column.name
        writers = [entity for entity in entities if name in entity.written]
        if writers:
            rows[name] = np.array([entity.row for entity in writers], dtype=np.int64)
            values[name] = pa.array([entity.written[name] for entity in writers], column.type)
    return overwrite_columns(table, rows, values)


def _plain_name(name: str) -> str:
    return name.rpartition(".")[2]


def _not_found(entity_id: int) -> _Refusal:
    return "entity_not_found", f"Entity {entity_id} is not active."


def _not_present(entity_id: int, component: str) -> _Refusal:
    return "component_not_present", f"Entity {entity_id} has no {component}."


def _schema_changed(entity_id: int, component: str) -> _Refusal:
    return "schema_changed", (
        f"Entity {entity_id} holds {component} with other fields than the class has now; "
        "add the component again to replace it."
    )
