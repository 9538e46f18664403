"""Finding a user's class by its name: components and processors share these rules."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from archetype.errors import ComponentError

T = TypeVar("T")


class TypeRegistry(Generic[T]):
    """The classes of one kind that this process has loaded, held weakly.

    A class defined again under the same module and qualified name (a notebook cell, a script imported
    twice) replaces the earlier one. Two different classes may share a plain name: they are then
    found by `module.Name` only.
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._by_path: dict[str, weakref.ref[type[T]]] = {}
        self._by_name: dict[str, list[str]] = {}
        self.notes: dict[str, Any] = {}
        """What others worked out about names, begun anew when another class gets one. It holds no class."""

    def record(self, cls: type[T]) -> None:
        """Remember a class; called once, when it is defined."""
        path = type_path(cls)
        self._by_path[path] = weakref.ref(cls)
        for alias in {cls.__name__, f"{module_name(cls)}.{cls.__name__}", path}:
            paths = self._by_name.setdefault(alias, [])
            if path not in paths:
                paths.append(path)
        self.notes = {}

    def resolve(self, name: str) -> type[T]:
        """Give the class of that name, or of that `module.Name`.

        Raises ComponentError if there is none, or more than one.
        """
        found = self.find(name)
        if found is None:
            raise ComponentError(
                f"{self._noun} type {name!r} is not loaded. Import its module, start the server with "
                "--module MODULE, or name the module in ARCHETYPE_MODULES.",
                name=name,
            )
        return found

    def find(self, name: str) -> type[T] | None:
        """Give the class of that name, or None; raises ComponentError if there is more than one."""
        paths = self._by_name.get(name, ())
        if len(paths) == 1:
            return self._by_path[paths[0]]()
        found = self._alive(name)
        if len(found) > 1:
            paths = sorted(type_path(cls) for cls in found)
            raise ComponentError(
                f"{self._noun} type {name!r} is ambiguous: {' and '.join(paths)}. Write it as module.Name.",
                name=name,
                candidates=paths,
            )
        return found[0] if found else None

    def loaded(self) -> dict[str, type[T]]:
        """Give the loaded classes by name; those that share a name stand under `module.Name`."""
        classes = [cls for ref in list(self._by_path.values()) if (cls := ref()) is not None]
        names = [cls.__name__ for cls in classes]
        return {(cls.__name__ if names.count(cls.__name__) == 1 else type_path(cls)): cls for cls in classes}

    def _alive(self, name: str) -> list[type[T]]:
        classes = [self._by_path[path]() for path in self._by_name.get(name, ())]
        return [cls for cls in classes if cls is not None]


def type_path(cls: type[object]) -> str:
    """Give a class's full name: its module, then its qualified name."""
    return f"{module_name(cls)}.{cls.__qualname__}"


def module_name(cls: type[object]) -> str:
    """Give the name by which other processes can import a class's module.

    A script's own is `__main__` only to itself: to others it is the file's name, so a script that is imported
    beside being run does not have two classes of each name.
    """
    return _main_name() if cls.__module__ == "__main__" else cls.__module__


def loaded_class(path: str) -> type[Any] | None:
    """Give the class of that full name, as `type_path` spells it, or None; nothing is imported for it."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        for module in _loaded_modules(".".join(parts[:cut])):
            found: object = module
            for part in parts[cut:]:
                found = vars(found).get(part) if isinstance(found, (type, ModuleType)) else None
            if isinstance(found, type):
                return found
    return None


def _loaded_modules(name: str) -> list[ModuleType]:
    """Give the modules that go by that name, a script's own before the one that is imported beside it."""
    names = ["__main__", name] if name == _main_name() else [name]
    return [sys.modules[each] for each in names if each in sys.modules]


def _main_name() -> str:
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return Path(file).stem if file else "__main__"
