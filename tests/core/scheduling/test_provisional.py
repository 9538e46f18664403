import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.scheduling.provisional import RealIds, count_spawns
from archetype.core.scheduling.writes import Despawn, Output, Spawn, provisional_id

KNOWN = [provisional_id(0, 0), provisional_id(0, 1), provisional_id(3, 0)]
OUTPUTS = [
    Output(0, "a", operations=[Spawn(KNOWN[0], ()), Despawn(1), Spawn(KNOWN[1], ())]),
    Output(3, "b", operations=[Spawn(KNOWN[2], ())]),
]
REAL = dict(zip(KNOWN, (50, 51, 52), strict=True))
numbers = st.none() | st.integers(-2, 2) | st.sampled_from([*KNOWN, provisional_id(2, 0), -(2**63)])
KINDS = {
    "number": (pa.int64(), numbers),
    "list": (pa.list_(pa.int64()), st.none() | st.lists(numbers, max_size=3)),
    "pair": (pa.list_(pa.int64(), 2), st.none() | st.lists(numbers, min_size=2, max_size=2)),
    "struct": (
        pa.struct([pa.field("to", pa.int64()), pa.field("via", pa.list_(pa.int64()))]),
        st.none() | st.fixed_dictionaries({"to": numbers, "via": st.none() | st.lists(numbers, max_size=2)}),
    ),
    "text": (pa.string(), st.none() | st.sampled_from(["a", "b"])),
}


def resolved(value):
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if isinstance(value, dict):
        return {name: resolved(item) for name, item in value.items()}
    return REAL.get(value, value)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(data=st.data())
def test_known_ids_are_replaced_at_any_depth_and_nothing_else(kind, data):
    arrow, values = kind
    rows = data.draw(st.lists(values, max_size=6))
    array = pa.array(rows, arrow).slice(data.draw(st.integers(0, len(rows))))
    real = RealIds.of(OUTPUTS, 50).resolve(array)
    assert real.type == array.type
    assert real.to_pylist() == [resolved(value) for value in array.to_pylist()]
    assert (real is array) == (real.to_pylist() == array.to_pylist())


def test_ids_are_given_in_the_order_of_the_fold():
    real_ids = RealIds.of(OUTPUTS, 50)
    assert [real_ids[entity_id] for entity_id in KNOWN] == [50, 51, 52]
    assert count_spawns(OUTPUTS) == 3


def test_without_spawns_nothing_is_looked_at():
    array = pa.array([KNOWN[0]])
    assert RealIds.of([], 50).resolve(array) is array
