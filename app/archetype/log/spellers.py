"""The functions that spell plain components, a pair for each class, written out as source.

Nearly every command brings components, and a loop over their fields would take most of the time that the
command's check takes; so it is unrolled, as the standard library does for dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from archetype.core.layout import PlainSpelled
from archetype.core.plain import MISSING
from archetype.core.values import Convert, codec_of
from archetype.errors import InvalidInputError
from archetype.log.canonical import SPELLERS

__all__ = ["Spellers", "spellers_of"]

Speller = Callable[[Mapping[str, Any]], str | None]
"""Spells a payload whose values have just the types of their fields; its answer to any other is None."""

_FINITE = codec_of(float).to_json
"""What it refuses, the speller of floats refuses as well."""


class Spellers(NamedTuple):
    """How components of a class are spelled: whole, defaults filled in, or only the fields that are there."""

    whole: Speller
    part: Speller


def spellers_of(fields: Sequence[PlainSpelled]) -> Spellers:
    """Make the functions of a class from what its layout calls plain."""
    return Spellers(_made(fields, is_whole=True), _made(fields, is_whole=False))


def _made(fields: Sequence[PlainSpelled], *, is_whole: bool) -> Speller:
    """Write out and compile a function; of a class `Point` with the field `x: float = 0.0`, whole:

    def spelled(data):
     value_1 = data.get('x', MISSING)
     if len(data) != 1 + (value_1 is not MISSING): return None
     if value_1 is MISSING: value_1 = default_1
     if not (True and type(value_1) in types_1): return None
     try:
      return f'{{"type":"Point","x":{spell_1(value_1)}}}'
     except REFUSALS: return None
    """
    scope: dict[str, Any] = {"MISSING": MISSING, "REFUSALS": (ValueError, InvalidInputError)}
    takes, counts, fills, checks = [], ["1"], [], ["True"]
    pieces: list[str] = []
    parts: list[str] = []
    for number, (name, begin, convert, types, default) in enumerate(fields):
        if name is None:
            pieces.append(begin)
            parts.append(f"parts.append('{begin}')")
            continue
        value = f"value_{number}"
        scope[f"types_{number}"] = types if is_whole else types | {type(MISSING)}
        scope[f"spell_{number}"] = _spelling(convert, types)
        scope[f"default_{number}"] = default
        takes.append(f"{value} = data.get('{name}', MISSING)")
        counts.append(f"({value} is not MISSING)")
        fills.append(f"if {value} is MISSING: {value} = default_{number}")
        checks.append(f"type({value}) in types_{number}")
        pieces.append(f"{begin}{{spell_{number}({value})}}")
        parts.append(f"if {value} is not MISSING: parts.append(f'{pieces[-1]}')")
    whole = [f"return f'{{{{{','.join(pieces)}}}}}'"]
    part = ["parts = []", *parts, "return '{' + ','.join(parts) + '}'"]
    lines = [
        *takes,
        f"if len(data) != {' + '.join(counts)}: return None",
        *(fills if is_whole else ["if len(data) == 1: return None"]),
        f"if not ({' and '.join(checks)}): return None",
        "try:",
        *(f" {line}" for line in (whole if is_whole else part)),
        "except REFUSALS: return None",
    ]
    exec("\n ".join(["def spelled(data):", *lines]), scope)  # noqa: S102  a class brings nothing but identifiers
    return scope["spelled"]


def _spelling(convert: Convert | None, types: frozenset[type]) -> Callable[[Any], str]:
    """Return what spells a field's values, which have these types."""
    if len(types) == 1 and convert in {None, _FINITE}:
        return SPELLERS[next(iter(types))]
    if convert is None:
        return lambda value: SPELLERS[type(value)](value)
    return lambda value: SPELLERS[type(value)](convert(value))
