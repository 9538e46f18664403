"""Components in the normal form in which the log keeps them, spelled field by field as canonical JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archetype.core.component import Component
from archetype.log.canonical import SPELLERS, spell

__all__ = ["spell_component", "spell_fields"]


def spell_component(data: Mapping[str, Any], path: str) -> tuple[type[Component], str]:
    """Check a component's payload; give its class and its normal form, defaults filled in.

    Tomorrow's defaults must not change the past. Raises `ComponentError` with the path of each bad field.
    """
    kind, values = Component.checked(data, path)
    return kind, _spell(kind, values, path)


def spell_fields(data: Mapping[str, Any], path: str) -> tuple[type[Component], str]:
    """Check some fields of a component; give its class and the normal form of those that are there."""
    kind, values = Component.checked_part(data, path)
    return kind, _spell(kind, values, path)


def _spell(kind: type[Component], values: dict[str, Any], path: str) -> str:
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
    return f"{{{','.join(parts)}}}"
