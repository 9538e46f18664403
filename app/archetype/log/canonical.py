"""JSON in the one spelling that is hashed: the JSON Canonicalization Scheme, RFC 8785."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as _quote
from typing import Any

from archetype.errors import InvalidInputError
from archetype.limits import JSON_DEPTH_MAX

__all__ = ["canonical_json"]

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


def canonical_json(value: Any) -> str:
    """Spell a JSON value as RFC 8785 does: sorted keys, no spaces, ECMAScript numbers.

    One deliberate widening: an integer beyond 2**53 is written with all its digits instead of being
    rounded to a double, since int64 columns must survive. NaN, infinities, integers beyond 64 bits, NUL
    characters, lone surrogates, keys that are not strings and nesting deeper than 64 raise
    `InvalidInputError`.
    """
    text = _spell(value, 0)
    if "\\u0000" in text and _has_nul(value):
        msg = "a string holds a NUL character, which PostgreSQL's JSON cannot hold; remove it"
        raise InvalidInputError(msg)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            msg = "a string holds a lone surrogate, which no UTF-8 text can carry; remove it"
            raise InvalidInputError(msg) from error
    return text


def _spell(value: Any, depth: int) -> str:
    kind = type(value)
    if kind is str:
        return _quote(value)
    if kind is float:
        return _float(value)
    if kind is int:
        return _integer(value)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if depth >= JSON_DEPTH_MAX:
        msg = f"the value is nested deeper than {JSON_DEPTH_MAX} levels; flatten it"
        raise InvalidInputError(msg)
    if kind is dict or isinstance(value, Mapping):
        return _object(value, depth + 1)
    if kind is not list and isinstance(value, str | int | float):
        plain = str if isinstance(value, str) else int if isinstance(value, int) else float
        return _spell(plain(value), depth)
    if kind is list or (isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)):
        return f"[{','.join([_spell(item, depth + 1) for item in value])}]"
    msg = f"{kind.__name__} has no JSON form; pass a string, number, boolean, null, list or object"
    raise InvalidInputError(msg)


def _integer(value: int) -> str:
    if not _INTEGER_MIN <= value <= _INTEGER_MAX:
        if abs(value) < 10**21 and _float(float(value)) == int.__repr__(value):
            return int.__repr__(value)  # a double of that size is spelled so, and was read back
        msg = "an integer does not fit in 64 bits; send it as a string"
        raise InvalidInputError(msg)
    return int.__repr__(value)


def _has_nul(value: Any) -> bool:
    """Look for a NUL itself: the text may also spell a backslash that happens to stand before `u0000`."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_has_nul(part) for item in value.items() for part in item)
    return isinstance(value, Sequence) and not isinstance(value, bytes) and any(map(_has_nul, value))


def _object(value: Mapping[Any, Any], depth: int) -> str:
    return f"{{{','.join([f'{_quote(key)}:{_spell(value[key], depth)}' for key in _sorted_keys(value)])}}}"


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
    if not math.isfinite(value):
        msg = "NaN and infinities have no JSON form; send such values in a bulk Arrow table"
        raise InvalidInputError(msg)
    if value == 0:
        return "0"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
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
