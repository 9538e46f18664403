"""Components in the normal form in which the log keeps them, spelled field by field as canonical JSON.

A payload of a plain class that is right as it stands is spelled without making a model, which takes less than
half the time. All others, and all faults, are the class's own validator's; both ways give the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archetype.core.component import Component
from archetype.core.layout import PlainSpelled
from archetype.core.plain import MISSING
from archetype.errors import ComponentError
from archetype.log.canonical import SPELLERS, spell

__all__ = ["spell_components", "spell_parts"]

Spelled = tuple[type[Component], str]


def spell_components(values: Iterable[Mapping[str, Any]], path: str) -> tuple[list[type[Component]], str]:
    """Check whole components; give their classes, and the list of their normal forms, defaults filled in.

    Tomorrow's defaults must not change the past. `path` is where the list stands in its input. Raises
    `ComponentError` with the path of each bad field of the first bad component.
    """
    return _listed(values, path, is_whole=True)


def spell_parts(values: Iterable[Mapping[str, Any]], path: str) -> tuple[list[type[Component]], str]:
    """Check some fields of each component; give the same as `spell_components`, of those that are there."""
    return _listed(values, path, is_whole=False)


def _listed(
    values: Iterable[Mapping[str, Any]], path: str, *, is_whole: bool
) -> tuple[list[type[Component]], str]:
    kinds: list[type[Component]] = []
    texts: list[str] = []
    for index, data in enumerate(values):
        kind, text = _plain(data, is_whole=is_whole) or _checked(data, f"{path}.{index}", is_whole=is_whole)
        kinds.append(kind)
        texts.append(text)
    return kinds, f"[{','.join(texts)}]"


def _plain(data: Mapping[str, Any], *, is_whole: bool) -> Spelled | None:
    """Spell a payload whose values have just the types of a plain class's fields; None is any other."""
    kind, fields = _plain_class(data) or (None, ())
    if kind is None:
        return None
    parts: list[str] = []
    given_count = 1  # the class's name
    for name, begin, convert, types, default in fields:
        if name is None:
            parts.append(begin)
            continue
        value = data.get(name, MISSING)
        if value is not MISSING:
            given_count += 1
        elif is_whole:
            value = default
        else:
            continue
        value_type = type(value)
        if value_type not in types:
            return None
        try:
            parts.append(begin + SPELLERS[value_type](value if convert is None else convert(value)))
        except ValueError:
            return None
    is_all = given_count == len(data) and (is_whole or given_count > 1)
    return (kind, f"{{{','.join(parts)}}}") if is_all else None


def _plain_class(data: Mapping[str, Any]) -> tuple[type[Component], tuple[PlainSpelled, ...]] | None:
    if type(data) is not dict or type(name := data.get("type")) is not str:
        return None
    try:
        kind = Component.find_type(name)
    except ComponentError:  # several share the name
        return None
    plain = None if kind is None else kind.layout().plain
    return None if kind is None or plain is None else (kind, plain)


def _checked(data: Mapping[str, Any], path: str, *, is_whole: bool) -> Spelled:
    kind, values = Component.checked(data, path) if is_whole else Component.checked_part(data, path)
    layout = kind.layout()
    parts: list[str] = []
    try:
        for name, begin, convert in layout.spelled:
            if name is None:
                parts.append(begin)
            elif name in values:
                value = values[name] if convert is None else convert(values[name])
                plain = SPELLERS.get(type(value))
                parts.append(begin + (spell(value) if plain is None else plain(value)))
    except (ValueError, TypeError, AttributeError):
        layout.json_fields(values, path)  # it names every value that fails
        raise
    return kind, f"{{{','.join(parts)}}}"
