"""What a system returns: more writes, held to the same rules as those through its access object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archetype.core.combine import Delta
from archetype.core.component import Component
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.objects import copied
from archetype.core.scheduling.writes import Despawn, Operation, Remove, Spawn, Write

__all__ = ["SystemResult", "operations_of"]

_FIRST_OWN_ID = -(2**61)


class SystemResult:
    """Writes in the order in which they were recorded; components are taken as they are at that moment."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._spawn_count = 0

    def record_update(self, entity_id: int, value: Component | Delta[Any]) -> None:
        """Write a component to an entity, which gains it if it has none of that type."""
        is_delta = isinstance(value, Delta)
        component: Any = value.value if is_delta else value
        self.operations.append(Write(entity_id, _kept(component), is_delta))

    def record_insert(self, entity_id: int, value: Component | Delta[Any]) -> None:
        """Write a component, as `record_update` does."""
        self.record_update(entity_id, value)

    def record_remove(self, entity_id: int, kind: type[Component]) -> None:
        """Take a component from an entity."""
        self.operations.append(Remove(entity_id, kind))

    def record_spawn(self, *components: Component) -> int:
        """Begin an entity; gives an id that stands for it in this result."""
        entity_id = _FIRST_OWN_ID - self._spawn_count
        self._spawn_count += 1
        self.operations.append(Spawn(entity_id, tuple(_kept(each) for each in components)))
        return entity_id

    def record_destroy(self, entity_id: int) -> None:
        """End an entity."""
        self.operations.append(Despawn(entity_id))


def operations_of(access: Access, returned: object) -> tuple[Operation, ...]:
    """Give all that a system asked for: first through its access object, then by what it returned.

    It may return None, a SystemResult, {entity_id: {A: a}}, {entity_id: a}, {entity_id: [a, b]} or
    [(entity_id, a), …], a component or its `Delta` each. Raises TypeError on anything else, and what the
    access object raises. A violation that the system caught is raised again.
    """
    if access.violation is not None:
        raise access.violation
    if isinstance(returned, SystemResult):
        _replay(access, returned)
    elif isinstance(returned, Mapping):
        for entity_id, values in cast("Mapping[Any, Any]", returned).items():
            _write(access, entity_id, values, returned)
    elif isinstance(returned, (list, tuple)):
        for pair in cast("list[Any]", returned):
            if not isinstance(pair, (list, tuple)) or len(cast("list[Any]", pair)) != 2:
                raise _misshapen(access, returned)
            entity_id, value = cast("list[Any]", pair)
            _write_one(access, entity_id, value, returned)
    elif returned is not None:
        raise _misshapen(access, returned)
    return tuple(access.operations)


def _replay(access: Access, result: SystemResult) -> None:
    spawned: dict[int, int] = {}
    for operation in result.operations:
        entity_id = spawned.get(operation.entity_id, operation.entity_id)
        match operation:
            case Write(component=component, is_delta=is_delta):
                access.update(entity_id, Delta(component) if is_delta else component)
            case Remove(kind=kind):
                access.remove(entity_id, kind)
            case Spawn(components=components):
                spawned[operation.entity_id] = access.spawn(*components)
            case Despawn():
                access.destroy(entity_id)


def _write(access: Access, entity_id: Any, values: Any, returned: object) -> None:
    if isinstance(values, Mapping):
        for kind, value in cast("Mapping[Any, Any]", values).items():
            _require_shape(access, entity_id, value, returned)
            access[entity_id, kind] = value
    elif isinstance(values, (list, tuple)):
        for value in cast("list[Any]", values):
            _write_one(access, entity_id, value, returned)
    else:
        _write_one(access, entity_id, values, returned)


def _write_one(access: Access, entity_id: Any, value: Any, returned: object) -> None:
    _require_shape(access, entity_id, value, returned)
    access.update(entity_id, value)


def _require_shape(access: Access, entity_id: Any, value: Any, returned: object) -> None:
    if not hasattr(entity_id, "__index__") or not isinstance(value, (Component, Delta)):
        raise _misshapen(access, returned)


def _misshapen(access: Access, returned: object) -> TypeError:
    return TypeError(
        f"System {access.processor} returned {type(returned).__name__}, not None, a SystemResult, "
        "{entity_id: {A: a}}, {entity_id: a}, {entity_id: [a, b]} or [(entity_id, a), …] of components."
    )


def _kept(component: Any) -> Component:
    if not isinstance(component, Component):
        raise TypeError(f"A SystemResult records components, not {type(component).__name__}.")
    return copied(component)
