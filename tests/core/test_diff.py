"""Comparing columns and ids, against plain Python values and sets."""

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.diff import differing, match_ids

ids = st.lists(st.integers(0, 30), unique=True, max_size=20).map(sorted)


@given(ids, ids)
def test_ids_are_matched_as_sets_are(a, b):
    left, right = np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)
    matched = match_ids(left, right)
    assert left[matched.both_a].tolist() == right[matched.both_b].tolist() == sorted(set(a) & set(b))
    assert left[matched.only_a].tolist() == sorted(set(a) - set(b))
    assert right[matched.only_b].tolist() == sorted(set(b) - set(a))


def are_equal(x, y, tolerance):
    """The rule as the docstring says it, a value at a time."""
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(are_equal(*each, tolerance) for each in zip(x, y, strict=True))
    if isinstance(x, dict) and isinstance(y, dict):
        return all(are_equal(x[name], y[name], tolerance) for name in x)
    if isinstance(x, float) and isinstance(y, float):
        if math.isnan(x) or math.isnan(y):
            return math.isnan(x) and math.isnan(y)
        if math.isinf(x) or math.isinf(y):
            return x == y
        return abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))
    return x == y


doubles = st.sampled_from(
    [0.0, -0.0, 1.0, 1.0 + 1e-9, 1.001, 1000.0, 1000.5, 1e308, -1e308, math.inf, -math.inf, math.nan]
)
singles = st.sampled_from([0.0, 1.0, 1.5, math.inf, math.nan])
MOMENTS = [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2)]
items = pa.field("item", pa.float64(), nullable=True)
KINDS = {
    "double": (pa.float64(), doubles),
    "single": (pa.float32(), singles),
    "integer": (pa.int64(), st.integers(-1, 1)),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.sampled_from(["", "a", "é"])),
    "bytes": (pa.binary(), st.sampled_from([b"", b"\x00", b"a"])),
    "moment": (pa.timestamp("us", tz="UTC"), st.sampled_from(MOMENTS)),
    "vector": (
        pa.list_(pa.field("item", pa.float64(), nullable=False), 2),
        st.lists(doubles, min_size=2, max_size=2),
    ),
    "list": (pa.list_(items), st.lists(st.none() | doubles, max_size=3)),
    "list of texts": (pa.list_(pa.string()), st.lists(st.sampled_from(["a", "b"]), max_size=2)),
    "struct": (
        pa.struct([pa.field("x", pa.float64()), pa.field("tags", pa.list_(pa.string()))]),
        st.fixed_dictionaries(
            {"x": st.none() | doubles, "tags": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2)}
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(data=st.data(), tolerance=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]))
def test_values_differ_as_plain_ones_do(kind, data, tolerance):
    arrow, values = kind
    column = st.lists(st.tuples(st.none() | values, st.none() | values), max_size=8)
    pairs = data.draw(column)
    skipped = data.draw(st.integers(0, len(pairs)))
    a, b = (pa.array([pair[side] for pair in pairs], arrow).slice(skipped) for side in (0, 1))
    expected = [not are_equal(*pair, tolerance) for pair in zip(a.to_pylist(), b.to_pylist(), strict=True)]
    assert differing(a, b, tolerance).tolist() == expected


def test_values_of_two_types_differ():
    assert differing(pa.array([1, None]), pa.array([1.0, None])).tolist() == [True, True]
