import datetime as dt
import math

import pyarrow as pa
import pytest

from archetype.core.scheduling.kernels import combine_arrays
from archetype.errors import InvalidInputError

NAN = math.nan
DAYS = [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2)]
CASES = {
    "sum": (pa.int8(), "sum", [(1, 2, 3), (None, 2, 2), (1, None, 1), (None, None, None)]),
    "sum of floats": (pa.float32(), "sum", [(0.5, 0.25, 0.75), (1.0, math.inf, math.inf)]),
    "prod": (pa.uint64(), "prod", [(3, 4, 12)]),
    "min": (pa.float64(), "min", [(1.0, 2.0, 1.0), (NAN, 2.0, 2.0), (2.0, NAN, 2.0), (0.0, -0.0, 0.0)]),
    "max": (pa.float64(), "max", [(1.0, 2.0, 2.0), (NAN, -1.0, -1.0), (-0.0, 0.0, -0.0), (NAN, NAN, NAN)]),
    "max of text": (pa.string(), "max", [("z", "é", "é"), (None, "a", "a")]),
    "min of times": (pa.timestamp("us", tz="UTC"), "min", [(DAYS[1], DAYS[0], DAYS[0])]),
    "any": (pa.bool_(), "any", [(False, True, True), (False, None, False)]),
    "all": (pa.bool_(), "all", [(False, True, False), (None, True, True)]),
    "append": (
        pa.list_(pa.string()),
        "append",
        [(["b"], ["a", None], ["b", "a", None]), ([], [], []), (None, ["a"], ["a"]), (None, None, None)],
    ),
    "union": (
        pa.list_(pa.float64()),
        "union",
        [([2.0, None, 1.0], [NAN, 1.0, None, NAN], [1.0, 2.0, NAN, None]), ([3.0, 1.0], None, [3.0, 1.0])],
    ),
    "first": (pa.int64(), "first", [(1, 2, 1), (None, 2, None)]),
    "last": (pa.int64(), "last", [(1, 2, 2), (1, None, None)]),
}


@pytest.mark.parametrize(("arrow", "operation", "rows"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("skipped", [0, 1], ids=["whole", "sliced"])
def test_columns_are_combined_value_by_value(arrow, operation, rows, skipped):
    # A value ahead of all others makes the sliced columns begin in the middle of their buffers.
    old, new, expected = (pa.array([rows[0][n], *[row[n] for row in rows]], arrow) for n in range(3))
    combined = combine_arrays(operation, old.slice(skipped), new.slice(skipped), where="A.x")
    assert combined.type == arrow
    assert repr(combined.to_pylist()) == repr(expected.slice(skipped).to_pylist())


@pytest.mark.parametrize("operation", ["sum", "prod"])
def test_an_integer_never_wraps(operation):
    old, new = pa.array([None, 100], pa.int8()), pa.array([100, 100], pa.int8())
    with pytest.raises(InvalidInputError, match=rf"A\.x: the {operation} of its writes does not fit int8"):
        combine_arrays(operation, old, new, where="A.x")
