"""Finding a loaded Pydantic model's class by its name."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from archetype.core.registry import loaded_class, module_name, type_path
from archetype.errors import InvalidInputError

__all__ = ["find_model"]


def find_model(name: str) -> type[BaseModel] | None:
    """Give the model class of that name, `module.Name` or full name, or None if none is loaded.

    Raises InvalidInputError if several share the name. Of a class that was defined again, the newest counts.
    """
    loaded = loaded_class(name)
    if loaded is not None and issubclass(loaded, BaseModel) and type_path(loaded) == name:
        return loaded
    found = {type_path(kind): kind for kind in _subclasses(BaseModel) if name in _names(kind)}
    if len(found) > 1:
        raise InvalidInputError(
            f"The model {name!r} is ambiguous: {' and '.join(sorted(found))}. Write it as module.Name.",
            name=name,
            candidates=sorted(found),
        )
    return next(iter(found.values()), None)


def _names(kind: type[BaseModel]) -> set[str]:
    return {kind.__name__, f"{module_name(kind)}.{kind.__name__}", type_path(kind)}


def _subclasses(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)
