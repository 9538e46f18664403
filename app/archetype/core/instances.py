"""Making and copying models whose values are known to be valid, without validating them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, RootModel

__all__ = ["Make", "copier_of", "maker_of"]

Make = Callable[[dict[str, Any]], Any]
"""Makes a model from its values by field name, all of them; the dict becomes the model's own."""


def maker_of(model: type[BaseModel]) -> Make:
    """Give the function that makes a model's instances, equal to those of its constructor.

    All their fields count as set. Private attributes take their defaults and `model_post_init` runs; nothing
    else is called.
    """
    return _plain_maker(model) if _is_plain(model) else _construct(model)


def copier_of(
    model: type[BaseModel], changeable: Sequence[tuple[str, Callable[[Any], Any]]]
) -> Callable[[Any], Any]:
    """Give the function that copies a model's instances, from what copies its fields that can be changed."""
    if not _is_plain(model):
        return lambda value: value.model_copy(
            update={name: copy(getattr(value, name)) for name, copy in changeable}
        )
    make = _plain_maker(model)

    def copied(value: Any) -> Any:
        values = value.__dict__.copy()
        for name, copy in changeable:
            values[name] = copy(values[name])
        return make(values)

    return copied


def _is_plain(model: type[BaseModel]) -> bool:
    """Say whether an instance is no more than its fields."""
    return (
        model.__pydantic_post_init__ is None
        and not model.__private_attributes__
        and model.model_config.get("extra") != "allow"
        and not issubclass(model, RootModel)
    )


def _plain_maker(model: type[BaseModel]) -> Make:
    # Slots are filled by their own descriptors, which is fastest. One set of names serves every instance:
    # Pydantic only ever adds names of fields to it, and they are all there.
    slots: Any = vars(BaseModel)
    new = object.__new__
    put_values, put_names = slots["__dict__"].__set__, slots["__pydantic_fields_set__"].__set__
    put_extra, put_private = slots["__pydantic_extra__"].__set__, slots["__pydantic_private__"].__set__
    names = set(model.model_fields)

    def make(values: dict[str, Any]) -> Any:
        made = new(model)
        put_values(made, values)
        put_names(made, names)
        put_extra(made, None)
        put_private(made, None)
        return made

    return make


def _construct(model: type[BaseModel]) -> Make:
    return lambda values: model.model_construct(**values)
