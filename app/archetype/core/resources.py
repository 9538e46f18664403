"""Resources: one shared object per type, for all processors of a world."""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Any, TypeVar

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

    def __contains__(self, kind: type[Any]) -> bool:
        return kind in self._by_type

    def __len__(self) -> int:
        return len(self._by_type)

    def __repr__(self) -> str:
        return f"Resources({', '.join(kind.__name__ for kind in self._by_type)})"
