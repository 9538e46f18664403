"""The entities whose components or existence a group changes, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archetype.core.archetype import Archetype
from archetype.core.component import Component
from archetype.core.scheduling.provisional import RealIds
from archetype.core.scheduling.rules import Rules
from archetype.core.scheduling.slots import FreshSlots, Slots, TableSlots
from archetype.core.state import WorldState
from archetype.errors import InvalidInputError

__all__ = ["Entity", "Touched"]


@dataclass(slots=True, eq=False)
class Entity:
    """One touched entity: the row it had (None for a new one), and the archetype it has, or had at its end.

    `fresh` says where those of its components lie that its row does not hold.
    """

    entity_id: int
    table: TableSlots | None
    row: int
    archetype: Archetype
    has_ended: bool = False
    fresh: dict[str, tuple[FreshSlots, int]] = field(default_factory=dict[str, tuple[FreshSlots, int]])

    def slot_of(self, component: str) -> tuple[Slots, int] | None:
        """Give where a component lies, or None if the entity has none of that name."""
        place = self.fresh.get(component)
        if place is not None:
            return place
        if self.table is None or component not in self.archetype.components:
            return None
        return self.table, self.row


class Touched:
    """Folds what changes the structure of entities; values are written to the slots that it gives."""

    def __init__(self, state: WorldState) -> None:
        self.state = state
        self.rules = Rules()
        self.tables = [TableSlots(table, self.rules) for table in state]
        self.by_archetype = dict(zip(state.tables, self.tables, strict=True))
        self.fresh: dict[type[Component], FreshSlots] = {}
        self.born: list[Entity] = []
        self.rows: dict[tuple[TableSlots, int], Entity] = {}
        self._archetypes: dict[Any, Archetype] = {}

    def at(self, table: TableSlots, row: int) -> Entity:
        """Give the entity of a row, which is touched from now on."""
        key = (table, row)
        entity = self.rows.get(key)
        if entity is None:
            entity_id = int(table.table.entity_ids[row])
            entity = self.rows[key] = Entity(entity_id, table, row, table.table.archetype)
        return entity

    def spawn(self, entity_id: int, components: tuple[Component, ...]) -> Entity:
        """Begin an entity; raises InvalidInputError if two of its components are of one type."""
        kinds = tuple(map(type, components))
        archetype = self._archetypes.get(kinds)
        if archetype is None:
            if len(set(kinds)) < len(kinds):
                names = ", ".join(kind.__name__ for kind in kinds)
                raise InvalidInputError(f"An entity is spawned with two components of one type: {names}.")
            archetype = self._archetypes[kinds] = Archetype.of(kinds)
        entity = Entity(entity_id, None, -1, archetype)
        for component in components:
            slots = self._fresh_slots(type(component))
            place = slots.add(entity_id, component, is_written=False)
            entity.fresh[type(component).__name__] = (slots, place)
        self.born.append(entity)
        return entity

    def add(self, entity: Entity, component: Component) -> None:
        """Give an entity a component, in the place of one of that name.

        Raises InvalidInputError if it would share its columns' prefix with another.
        """
        kind = type(component)
        key = (entity.archetype, kind)
        target = self._archetypes.get(key)
        if target is None:
            target = self._archetypes[key] = entity.archetype.with_components(Archetype.of([kind]))
        self._forget(entity, kind.__name__)
        slots = self._fresh_slots(kind)
        entity.fresh[kind.__name__] = (slots, slots.add(entity.entity_id, component, is_written=True))
        entity.archetype = target

    def remove(self, entity: Entity, component: str) -> bool:
        """Take a component from an entity; gives whether it had it."""
        if component not in entity.archetype.components:
            return False
        key = (entity.archetype, component)
        target = self._archetypes.get(key)
        if target is None:
            target = self._archetypes[key] = entity.archetype.without_components([component])
        self._forget(entity, component)
        entity.archetype = target
        return True

    def end(self, entity: Entity) -> None:
        """End an entity that has not ended."""
        entity.has_ended = True
        if entity.table is not None:
            entity.table.end(np.array([entity.row], dtype=np.int64))

    def settle(self, real_ids: RealIds, writer: int) -> int:
        """Make columns of all components that were added; gives how many cells that wrote."""
        return sum(slots.settle(real_ids, writer) for slots in self.fresh.values())

    def _forget(self, entity: Entity, component: str) -> None:
        entity.fresh.pop(component, None)
        if entity.table is not None and component in entity.table.table.archetype.components:
            entity.table.lose(component, entity.row)

    def _fresh_slots(self, kind: type[Component]) -> FreshSlots:
        slots = self.fresh.get(kind)
        if slots is None:
            slots = self.fresh[kind] = FreshSlots(kind, self.rules)
        return slots
