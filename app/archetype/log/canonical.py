"""JSON in the one spelling that is hashed: the JSON Canonicalization Scheme, RFC 8785."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring as _quote
from typing import Any

from archetype.errors import InvalidInputError
from archetype.limits import JSON_DEPTH_MAX

__all__ = ["SPELLERS", "canonical_json", "checked_text", "spell"]

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of a NUL itself, and not a backslash that happens to stand before `u0000`."""
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


def canonical_json(value: Any) -> str:
    """Spell a JSON value as RFC 8785 does: sorted keys, no spaces, ECMAScript numbers.

    One deliberate widening: an integer beyond 2**53 is written with all its digits instead of being
    rounded to a double, since int64 columns must survive. NaN, infinities, integers beyond 64 bits, NUL
    characters, lone surrogates, keys that are not strings and nesting deeper than 64 raise
    `InvalidInputError`.
    """
    return checked_text(spell(value))


def checked_text(text: str) -> str:
    """Return JSON that was put together of what `spell` gave, if both databases can hold its strings."""
    if "\\u0000" in text and _NUL.search(text):
        msg = "a string holds a NUL character, which PostgreSQL's JSON cannot hold; remove it"
        raise InvalidInputError(msg)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            msg = "a string holds a lone surrogate, which no UTF-8 text can carry; remove it"
            raise InvalidInputError(msg) from error
    return text


def spell(value: Any, depth: int = 0) -> str:
    """Spell a part of a value, so deep in it; what is put together of parts goes through `checked_text`."""
    kind = type(value)
    if (plain := SPELLERS.get(kind)) is not None:
        return plain(value)
    if depth >= JSON_DEPTH_MAX:
        msg = f"the value is nested deeper than {JSON_DEPTH_MAX} levels; flatten it"
        raise InvalidInputError(msg)
    if kind is dict or isinstance(value, Mapping):
        return _object(value, depth + 1)
    if kind is not list and isinstance(value, str | int | float):
        base = str if isinstance(value, str) else int if isinstance(value, int) else float
        return spell(base(value), depth)
    if kind is list or (isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)):
        return f"[{','.join([spell(item, depth + 1) for item in value])}]"
    msg = f"{kind.__name__} has no JSON form; pass a string, number, boolean, null, list or object"
    raise InvalidInputError(msg)


def _integer(value: int) -> str:
    if not _INTEGER_MIN <= value <= _INTEGER_MAX:
        if abs(value) < 10**21 and _float(float(value)) == int.__repr__(value):
            return int.__repr__(value)  # a double of that size is spelled so, and was read back
        msg = "an integer does not fit in 64 bits; send it as a string"
        raise InvalidInputError(msg)
    return int.__repr__(value)


def _object(value: Mapping[Any, Any], depth: int) -> str:
    parts: list[str] = []
    for key in _sorted_keys(value):
        item = value[key]
        # What is no container is spelled here: most values are none, and a call is most of what they cost.
        plain = SPELLERS.get(type(item))
        parts.append(f"{_quote(key)}:{spell(item, depth) if plain is None else plain(item)}")
    return f"{{{','.join(parts)}}}"


def _sorted_keys(value: Mapping[Any, Any]) -> list[str]:
    try:
        is_ascii = "".join(value).isascii()
    except TypeError:
        odd = next(key for key in value if not isinstance(key, str))
        msg = f"{odd!r} is not a string; the keys of a JSON object are"
        raise InvalidInputError(msg) from None
    if is_ascii:
        return sorted(value)
    return sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _float(value: float) -> str:
    """Spell a double as ECMAScript's Number.prototype.toString does (ECMA-262 §6.1.6.1.20)."""
    text = repr(value)
    if "e" in text:
        return _with_exponent(text)
    if "n" in text:  # nan, inf
        msg = "NaN and infinities have no JSON form; send such values in a bulk Arrow table"
        raise InvalidInputError(msg)
    return text.removesuffix(".0") if value else "0"


def _with_exponent(text: str) -> str:
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent_text = text.lstrip("-").partition("e")
    exponent = int(exponent_text)
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    point = len(whole) + exponent
    if 0 < point <= 21:
        return sign + digits.ljust(point, "0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{mantissa}e{exponent:+d}"


SPELLERS: Mapping[type, Callable[[Any], str]] = {
    str: _quote,
    float: _float,
    int: _integer,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""How each scalar type is spelled; an instance of a subclass is spelled as the plain value that it holds."""
