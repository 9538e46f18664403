"""Resources: one shared object per type, for all processors of a world.

Pydantic models among them are recorded in the log; anything else is a live handle of this process.
"""

from __future__ import annotations

from collections.abc import ItemsView, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Resources:
    """A container of objects by their exact type."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], Any] = {}

    def insert(self, resource: object) -> None:
        """Keep an object; one of the same type before it is replaced."""
        self._by_type[type(resource)] = resource

    def get(self, kind: type[T]) -> T | None:
        """Give the object of this type, or None."""
        return self._by_type.get(kind)

    def require(self, kind: type[T]) -> T:
        """Give the object of this type; raises KeyError naming the type if there is none."""
        if kind not in self._by_type:
            raise KeyError(f"No resource of type {kind.__name__}; insert one with resources.insert(...).")
        return self._by_type[kind]

    def remove(self, kind: type[T]) -> T | None:
        """Drop the object of this type and give it, or None if there was none."""
        return self._by_type.pop(kind, None)

    def contains(self, kind: type[Any]) -> bool:
        """Say whether there is an object of this type."""
        return kind in self._by_type

    def items(self) -> ItemsView[type[Any], Any]:
        """Give the types and their objects, in order of insertion."""
        return self._by_type.items()

    def copy(self) -> Resources:
        """Give a container of its own with the same objects."""
        twin = Resources()
        twin._by_type = dict(self._by_type)
        return twin

    def models(self) -> list[BaseModel]:
        """Give the Pydantic models, which are recorded, in order of insertion."""
        return [each for each in list(self._by_type.values()) if isinstance(each, BaseModel)]

    def handles(self) -> Resources:
        """Give a container of its own with the live handles alone."""
        twin = Resources()
        twin._by_type = {
            kind: each for kind, each in dict(self._by_type).items() if not isinstance(each, BaseModel)
        }
        return twin

    def in_tick(self, recorded: Sequence[BaseModel]) -> Resources:
        """Give what a tick has: the live handles, and of models exactly those that are recorded."""
        return TickResources(self, recorded)

    def for_processor(self) -> Resources:
        """Give what one processor gets, once."""
        return self

    def __contains__(self, kind: type[Any]) -> bool:
        return kind in self._by_type

    def __len__(self) -> int:
        return len(self._by_type)

    def __repr__(self) -> str:
        return f"Resources({', '.join(kind.__name__ for kind in self._by_type)})"


class TickResources(Resources):
    """The resources of one tick: models are copies, live handles are the world's own.

    A live handle that is inserted or removed is the world's from then on; a model only this container's.
    """

    def __init__(self, world: Resources, recorded: Sequence[BaseModel]) -> None:
        super().__init__()
        self._world = world
        self._recorded = recorded
        copies = [each.model_copy(deep=True) for each in recorded]
        self._by_type = dict(world.handles().items()) | {type(each): each for each in copies}

    def insert(self, resource: object) -> None:
        """Keep an object, a live handle for the ticks that follow too."""
        super().insert(resource)
        if not isinstance(resource, BaseModel):
            self._world.insert(resource)

    def remove(self, kind: type[T]) -> T | None:
        """Drop the object of this type and give it, a live handle for the ticks that follow too."""
        found = super().remove(kind)
        if found is not None and not isinstance(found, BaseModel):
            self._world.remove(kind)
        return found

    def for_processor(self) -> Resources:
        """Give a container with fresh copies of the models: what is done to them nobody else sees."""
        return TickResources(self._world, self._recorded)
