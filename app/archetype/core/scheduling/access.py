"""The access object: how a system reads and writes entities one by one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast, overload
from uuid import UUID

import numpy as np

from archetype.core.archetype import Archetype
from archetype.core.combine import Delta
from archetype.core.component import Component
from archetype.core.context import TickContext, rng_for
from archetype.core.messages import Message, Messages
from archetype.core.resources import Resources
from archetype.core.scheduling.objects import component_class, copied
from archetype.core.scheduling.query import QueryResult
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.view import View
from archetype.core.scheduling.writes import Despawn, Operation, Remove, Spawn, Write, provisional_id
from archetype.core.state import WorldState
from archetype.errors import AccessViolationError, InvalidInputError, NotFoundError, StateConflictError

__all__ = ["Access"]

C = TypeVar("C", bound=Component)
C1 = TypeVar("C1", bound=Component)
C2 = TypeVar("C2", bound=Component)
C3 = TypeVar("C3", bound=Component)


class Access:
    """One processor's view of its group's state, and the writes it asks for.

    `name` tells the processor apart in messages; `index` is its place in registration, `ordinal` its place
    among those of its plain name. `operations` are its writes so far, in order.

    What it wrote itself it reads back, the latest value; nobody else's writes are seen. Components are the
    caller's to change: only a write changes anything, and it takes the value as it is at that moment.
    Touching what the processor did not declare raises AccessViolationError; the first such error is kept
    as `violation`, so that it counts even where the processor caught it. An entity that is not active
    raises EntityNotFoundError.
    """

    def __init__(
        self,
        state: WorldState,
        *,
        name: str,
        index: int,
        ordinal: int,
        rights: Rights,
        context: TickContext,
    ) -> None:
        self._view = View(state)
        self._name = name
        self._index = index
        self._ordinal = ordinal
        self._rights = rights
        self._context = context
        self._readable: dict[Any, str] = {}
        self._writable: dict[Any, str] = {}
        self._spawn_count = 0
        self.operations: list[Operation] = []
        self.violation: AccessViolationError | None = None

    @property
    def processor(self) -> str:
        """The name of the processor that this is the view of."""
        return self._name

    @property
    def tick(self) -> int:
        """The tick that runs."""
        return self._context.tick

    @property
    def world_id(self) -> UUID:
        """The world."""
        return self._context.world_id

    @property
    def run_id(self) -> UUID:
        """The run of the world."""
        return self._context.run_id

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The step's own keyword arguments."""
        return self._context.inputs

    @cached_property
    def resources(self) -> Resources:
        """The world's resources; models that are recorded are copies, which nobody else sees."""
        return self._context.resources.for_processor()

    @property
    def messages(self) -> Messages:
        """The messages of this tick's commands; what is declared to be read or written does not matter."""
        return self._context.messages

    def inbox(self, entity_id: int) -> tuple[Message, ...]:
        """Give the messages to an entity, in order of application; those to everybody are not among them."""
        return self.messages.inbox(operator.index(entity_id))

    @property
    def debug(self) -> bool:
        """Whether the step is run for debugging."""
        return self._context.debug

    @cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers of this processor and tick, the same whenever it is tried or replayed."""
        plain = self._name.removesuffix(f"#{self._ordinal + 1}") if self._ordinal else self._name
        return rng_for(self._context, plain, self._ordinal, b"")

    @overload
    def __call__(self) -> QueryResult[tuple[int]]: ...
    @overload
    def __call__(self, a: type[C1], /) -> QueryResult[tuple[int, C1]]: ...
    @overload
    def __call__(self, a: type[C1], b: type[C2], /) -> QueryResult[tuple[int, C1, C2]]: ...
    @overload
    def __call__(self, a: type[C1], b: type[C2], c: type[C3], /) -> QueryResult[tuple[int, C1, C2, C3]]: ...
    @overload
    def __call__(self, *kinds: type[Component]) -> QueryResult[tuple[Any, ...]]: ...
    def __call__(self, *kinds: type[Component]) -> QueryResult[Any]:
        """Query the entities that have all of these components: (entity_id, a, b), by entity id."""
        return self._query(kinds, nests=False)

    @overload
    def query(self, a: type[C1], /) -> QueryResult[tuple[int, tuple[C1]]]: ...
    @overload
    def query(self, a: type[C1], b: type[C2], /) -> QueryResult[tuple[int, tuple[C1, C2]]]: ...
    @overload
    def query(
        self, a: type[C1], b: type[C2], c: type[C3], /
    ) -> QueryResult[tuple[int, tuple[C1, C2, C3]]]: ...
    @overload
    def query(self, *kinds: type[Component]) -> QueryResult[tuple[int, tuple[Any, ...]]]: ...
    def query(self, *kinds: type[Component]) -> QueryResult[Any]:
        """Query as the call does, with the components in a tuple of their own: (entity_id, (a, b))."""
        return self._query(kinds, nests=True)

    def __getitem__(self, key: tuple[int, type[C]]) -> C:
        entity_id, kind = _pair(key)
        name = self._reads(kind)
        found = self._view.get(entity_id, kind)
        if found is None:
            self._view.require(entity_id)
            raise NotFoundError(
                f"Entity {entity_id} has no {name}. access.get(entity_id, {name}) gives None in that case.",
                entity_id=entity_id,
                component=name,
            )
        return cast("C", found)

    def get(self, entity_id: int, kind: type[C]) -> C | None:
        """Give a component, or None if the entity has none or is not active."""
        self._reads(kind)
        return self._view.get(operator.index(entity_id), kind)

    def __contains__(self, key: tuple[int, type[Component]]) -> bool:
        return self.has(*_pair(key))

    def has(self, entity_id: int, kind: type[Component]) -> bool:
        """Say whether an entity is active and has a component."""
        return self._view.has(operator.index(entity_id), self._reads(kind))

    def components(self, entity_id: int) -> tuple[Component, ...]:
        """Give all components of an entity, by name.

        Raises CodeNotLoadedError if the class of one is not loaded.
        """
        names = self._view.component_names(operator.index(entity_id))
        for name in names:
            self._require(name, self._rights.require_read)
        return tuple(self[entity_id, component_class(name)] for name in names)

    def exists(self, entity_id: int) -> bool:
        """Say whether an entity is active."""
        return self._view.exists(operator.index(entity_id))

    def entities(self) -> list[int]:
        """Give every entity, own spawns last."""
        return self().entities()

    def count(self, *kinds: type[Component]) -> int:
        """Count the entities that have all of these components."""
        return len(self(*kinds))

    def singleton(self, kind: type[C]) -> C:
        """Give the component of the only entity that has one.

        Raises NotFoundError if there is none, and StateConflictError if there are several.
        """
        only = self._only(self._reads(kind))
        if only is None:
            raise NotFoundError(
                f"No entity has {kind.__name__}. Make it with access.update_singleton(...).",
                component=kind.__name__,
            )
        return self[only, kind]

    def __setitem__(self, key: tuple[int, type[C]], value: C | Delta[C]) -> None:
        entity_id, kind = _pair(key)
        given = type(value.value) if isinstance(value, Delta) else type(value)
        if given is not kind:
            raise TypeError(
                f"access[entity_id, {getattr(kind, '__name__', kind)}] of {self._name} was given a "
                f"{given.__name__}. Write it under its own type, or use access.update."
            )
        self._write(entity_id, value)

    def update(self, entity_id: int, value: Component | Delta[Any]) -> None:
        """Write a component, under its own type; the entity gains it if it has none.

        A `Delta` is folded onto what is there when the group ends, and is not read back before.
        """
        self._write(operator.index(entity_id), value)

    def insert(self, entity_id: int, value: Component | Delta[Any]) -> None:
        """Write a component, as `update` does."""
        self._write(operator.index(entity_id), value)

    def remove(self, entity_id: int, kind: type[Component]) -> None:
        """Take a component from an entity; one that is not there is passed over."""
        entity_id, name = operator.index(entity_id), self._writes(kind)
        self._view.remove(entity_id, name)
        self.operations.append(Remove(entity_id, kind))

    def __delitem__(self, key: tuple[int, type[Component]]) -> None:
        self.remove(*_pair(key))

    def spawn(self, *components: Component) -> int:
        """Begin an entity, and give its provisional id: it is negative, and replaced when the group ends.

        Raises InvalidInputError if two components have one type, and ComponentError if two have one prefix.
        """
        kinds = [type(each) for each in components]
        for kind in kinds:
            self._writes(kind)
        if not kinds:
            self._require("spawn", self._rights.require_any_write)
        if len(set(kinds)) < len(kinds):
            repeated = next(kind.__name__ for kind in kinds if kinds.count(kind) > 1)
            raise InvalidInputError(
                f"{self._name} spawned an entity with two components of type {repeated}; give it one."
            )
        Archetype.of(kinds)
        entity_id = provisional_id(self._index, self._spawn_count)
        self._spawn_count += 1
        kept = tuple(copied(each) for each in components)
        self._view.begin(entity_id, kept)
        self.operations.append(Spawn(entity_id, kept))
        return entity_id

    def destroy(self, entity_id: int) -> None:
        """End an entity; every component that it has must be one that may be written."""
        entity_id = operator.index(entity_id)
        names = self._view.component_names(entity_id)
        for name in names:
            self._require(name, self._rights.require_write)
        if not names:
            self._require("destroy", self._rights.require_any_write)
        self._view.end(entity_id)
        self.operations.append(Despawn(entity_id))

    def update_singleton(self, value: Component) -> int:
        """Write a component where the only one of its type is, or spawn an entity with it; gives the entity.

        Raises StateConflictError if several entities have one.
        """
        only = self._only(self._writes(type(value)))
        if only is None:
            return self.spawn(value)
        self._write(only, value)
        return only

    def _query(self, kinds: tuple[type[Component], ...], *, nests: bool) -> QueryResult[Any]:
        names = [self._reads(kind) for kind in kinds]
        return QueryResult(self._view, self._view.select(names), kinds, nests=nests)

    def _only(self, name: str) -> int | None:
        found = QueryResult[Any](self._view, self._view.select([name]), (), nests=False).entities()
        if len(found) > 1:
            raise StateConflictError(
                f"{len(found)} entities have {name}, {found[0]} and {found[1]} among them, not one alone. "
                f"Name the entity, or query {name}.",
                component=name,
                entity_ids=found[:2],
            )
        return found[0] if found else None

    def _write(self, entity_id: int, value: Component | Delta[Any]) -> None:
        is_delta = isinstance(value, Delta)
        written: Any = value.value if is_delta else value
        name = self._writes(type(written))
        kept = copied(written)
        if is_delta:
            self._view.require(entity_id)
        else:
            self._view.write(entity_id, name, kept)
        self.operations.append(Write(entity_id, kept, is_delta))

    def _reads(self, kind: Any) -> str:
        name = self._readable.get(kind) if isinstance(kind, type) else None
        if name is None:
            name = _component_name(kind)
            self._require(name, self._rights.require_read)
            self._readable[kind] = name
        return name

    def _writes(self, kind: Any) -> str:
        name = self._writable.get(kind) if isinstance(kind, type) else None
        if name is None:
            name = _component_name(kind)
            self._require(name, self._rights.require_write)
            self._writable[kind] = name
        return name

    def _require(self, what: str, require: Callable[[str, str], None]) -> None:
        try:
            require(self._name, what)
        except AccessViolationError as exc:
            self.violation = self.violation or exc
            raise


def _pair(key: Any) -> tuple[int, Any]:
    try:
        entity_id, kind = key
        return operator.index(entity_id), kind
    except (TypeError, ValueError):
        raise TypeError(
            f"access[entity_id, Component] takes an entity id and a component class, not {key!r}."
        ) from None


def _component_name(kind: Any) -> str:
    if not isinstance(kind, type) or not issubclass(kind, Component) or kind is Component:
        what = kind.__name__ if isinstance(kind, type) else repr(kind)
        raise TypeError(f"Expected a class derived from Component, or an instance of one, not {what}.")
    return kind.__name__
