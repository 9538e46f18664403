"""Canonical JSON: the spelling that is hashed."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.errors import InvalidInputError
from archetype.log.canonical import canonical_json

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(CHARACTERS), inner),
    max_leaves=12,
)


def as_doubles(value):
    """A value as a reader sees it that knows doubles only: a whole float is spelled without a point."""
    match value:
        case bool() | None | str():
            return value
        case int() | float():
            return float(value)
        case list():
            return [as_doubles(each) for each in value]
        case dict():
            return {key: as_doubles(each) for key, each in value.items()}


@given(values)
def test_reading_it_back_gives_the_value(value):
    assert as_doubles(json.loads(canonical_json(value))) == as_doubles(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_keeps_all_its_digits(value):
    assert json.loads(canonical_json(value)) == value


@given(values)
def test_spelling_what_was_read_changes_nothing(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(CHARACTERS, max_size=3), st.booleans(), max_size=6))
def test_the_order_of_keys_does_not_matter(value):
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e21, "1e+21"),
        (9.999999999999999e20, "999999999999999900000"),
        (1e-6, "0.000001"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (-1e-7, "-1e-7"),
        (333333333.33333325, "333333333.33333325"),
        (123456.0, "123456"),
        (1.5, "1.5"),
    ],
)
def test_numbers_are_spelled_as_ecmascript_does(number, text):
    """The pairs are those of RFC 8785, appendix B, and the edges of ECMAScript's decimal range."""
    assert canonical_json(number) == text


def test_keys_are_sorted_by_utf16_code_units():
    """A character beyond the basic plane sorts by its surrogates, before U+FB33."""
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


def test_strings_are_escaped_no_more_than_they_must_be():
    assert canonical_json('\u0001\b\t\n\f\r\u001f"\\/é\u2028') == (
        '"\\u0001\\b\\t\\n\\f\\r\\u001f\\"\\\\/é\u2028"'
    )


def test_a_backslash_before_u0000_is_no_nul():
    assert canonical_json(["\\u0000", "\\\\u0000"]) == r'["\\u0000","\\\\u0000"]'


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        "\ud800",
        "a\x00",
        "\\\x00",
        "\\\\\x00",
        {"\x00": 1},
        {1: 2},
        {"a": object()},
        b"x",
        2**64,
        -(2**63) - 1,
    ],
)
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(InvalidInputError):
        canonical_json(value)


def test_deep_nesting_is_refused_not_crashed_on():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError, match="nested deeper"):
        canonical_json(value)


@pytest.mark.parametrize(
    "value", [1.8446744073709552e19, -9.223372036854778e18, 1e20, 123456789012345680000.0]
)
def test_a_large_double_that_was_read_back_as_an_integer_is_spelled_as_before(value):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)
