"""Components in the normal form in which the log keeps them, spelled field by field as canonical JSON.

A payload of a plain class that is right as it stands is spelled without making a model, which takes a quarter
of the time. All others, and all faults, are the class's own validator's; both ways give the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from weakref import ref

from archetype.core.component import Component
from archetype.errors import ComponentError
from archetype.log.canonical import SPELLERS, spell
from archetype.log.spellers import Spellers, spellers_of

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
    if type(data) is not dict or type(name := data.get("type")) is not str:
        return None
    noted: Noted | None = _TYPES.notes.get(name) or _noted(name)
    if noted is None or (kind := noted.kind()) is None:
        return None
    spell_plain = noted.spellers.whole if is_whole else noted.spellers.part
    text = spell_plain(data)
    return None if text is None else (kind, text)


class Noted(NamedTuple):
    """What is noted of a name: the plain class that it is of, and how components of it are spelled."""

    kind: ref[type[Component]]
    spellers: Spellers


_TYPES = Component.type_registry()


def _noted(name: str) -> Noted | None:
    notes = _TYPES.notes  # these, also where a class is defined meanwhile
    try:
        kind = Component.find_type(name)
    except ComponentError:  # several share the name
        return None
    plain = None if kind is None else kind.layout().plain
    if kind is None or plain is None:
        return None
    notes[name] = noted = Noted(ref(kind), spellers_of(plain))
    return noted


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
