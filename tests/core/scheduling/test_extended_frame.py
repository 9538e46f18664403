import math

import daft
import numpy as np
import pyarrow as pa
import pytest
from daft import DataFrame, col, lit
from daft.functions import (
    ceil,
    clip,
    cos,
    exp,
    floor,
    monotonically_increasing_id,
    negate,
    sign,
    sin,
    sqrt,
    when,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype.core.component import Component
from archetype.core.querying import configure_daft
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.extended_frame import ExtendedFrame, selected
from archetype.errors import ProcessorError
from ticks import context, frame_processor, state_of

TYPES = {
    "f": pa.float64(),
    "g": pa.float32(),
    "i": pa.int64(),
    "j": pa.int8(),
    "b": pa.bool_(),
    "maybe": pa.float64(),
    "perhaps": pa.bool_(),
}
FLOATS = [0.0, -0.0, 1.0, -2.5, 0.1, math.nan, math.inf, -math.inf, 5e-324]
VALUES = {
    "f": st.sampled_from([*FLOATS, 1e308]),
    "g": st.sampled_from(FLOATS),
    "i": st.sampled_from([0, 1, -1, 7, 2**53, 2**63 - 1, -(2**63)]),
    "j": st.sampled_from([0, 1, -1, 127, -128]),
    "b": st.booleans(),
    "maybe": st.sampled_from([None, -0.0, math.nan, 3.0]),
    "perhaps": st.sampled_from([None, True, False]),
}
CONSTANTS = {"tick": lit(0), "is_active": lit(True), "one": lit(1)}
OPERATORS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
]
COMPARISONS = [
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a == b,
    lambda a, b: a != b,
]
MATHEMATICS = [abs, negate, sign, ceil, floor, sqrt, exp, sin, cos, lambda a: clip(a, -1, 2.5)]

numbers = st.recursive(
    st.sampled_from(["f", "g", "i", "j", "maybe", "tick", "one"]).map(col)
    | st.sampled_from([0, 1, 0.0, -0.0, 2, -1, 0.5, 1e300]).map(lit),
    lambda inner: (
        st.builds(lambda make, a, b: make(a, b), st.sampled_from(OPERATORS), inner, inner)
        | st.builds(lambda make, a: make(a), st.sampled_from(MATHEMATICS), inner)
        | st.builds(lambda a: a.cast(daft.DataType.float32()), inner)
        | st.builds(
            lambda make, a, b, c, d: when(make(a, b), c).otherwise(d),
            st.sampled_from(COMPARISONS),
            inner,
            inner,
            inner,
            inner | st.just(lit(None)),
        )
    ),
    max_leaves=5,
)
conditions = st.recursive(
    st.sampled_from(["b", "perhaps", "is_active"]).map(col)
    | st.booleans().map(lit)
    | st.builds(lambda make, a, b: make(a, b), st.sampled_from(COMPARISONS), numbers, numbers)
    | st.builds(lambda a: a.is_null(), numbers),
    lambda inner: (
        st.builds(lambda a, b: a & b, inner, inner)
        | st.builds(lambda a, b: a | b, inner, inner)
        | st.builds(lambda a: ~a, inner)
    ),
    max_leaves=4,
)
steps = st.dictionaries(st.sampled_from(["f", "maybe"]), numbers, max_size=2).flatmap(
    lambda values: st.dictionaries(st.sampled_from(["b", "perhaps"]), conditions, max_size=2).map(
        lambda flags: values | flags
    )
)
tables = st.integers(1, 5).flatmap(
    lambda count: st.fixed_dictionaries(
        {name: st.lists(values, min_size=count, max_size=count) for name, values in VALUES.items()}
    )
)


def table_of(columns):
    return pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})


ROWS = table_of({name: [True, False] if kind == pa.bool_() else [2, 0] for name, kind in TYPES.items()})


def bits(rows):
    """Spell rows by type, validity and bits, so that -0.0 is not 0.0 and a NaN is the one that it is."""
    spelled = {}
    for name in rows.column_names:
        array = rows.column(name).combine_chunks()
        values = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
        spelled[name] = (array.type, array.is_valid().to_pylist(), np.asarray(values).tobytes())
    return spelled


def plain(rows):
    configure_daft()
    return daft.from_arrow(rows)


def extended(rows):
    configure_daft()
    return ExtendedFrame.of(rows)


def every(frame):
    return {name: col(name) for name in frame.column_names}


@settings(max_examples=150)
@given(tables, st.lists(steps, min_size=1, max_size=3))
def test_columns_evaluated_in_place_have_the_bits_that_a_query_gives_them(columns, given_steps):
    rows = table_of(columns)
    known, frame = extended(rows).with_columns(CONSTANTS), plain(rows).with_columns(CONSTANTS)
    for step in given_steps:
        try:
            known, frame = known.with_columns(step), frame.with_columns(step)
        except daft.exceptions.DaftCoreException:
            continue  # types that do not go together, for either
    in_place = known.evaluated(every(known)) if isinstance(known, ExtendedFrame) else None
    if in_place is not None:
        assert bits(in_place) == bits(frame.collect().to_arrow())


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param(col("f") + col("i"), id="arithmetic"),
        pytest.param(2 - col("f") / 3, id="numbers"),
        pytest.param(when((col("f") > 0) & ~col("b"), col("f")).otherwise(lit(None)), id="condition"),
        pytest.param(sqrt(abs(col("f"))).cast(daft.DataType.float32()), id="mathematics"),
        pytest.param(lit(0.0), id="constant"),
        pytest.param(col("f") < col("tick"), id="comparison-with-a-constant"),
    ],
)
def test_expressions_of_each_row_are_evaluated_without_a_query(expression, monkeypatch):
    frame = extended(ROWS).with_columns(CONSTANTS)
    want = plain(ROWS).with_columns(CONSTANTS).with_column("out", expression).select("out").collect()
    monkeypatch.setattr(DataFrame, "collect", no_query)
    got = selected(frame.with_column("out", expression), {"out": col("out")})
    monkeypatch.undo()
    assert bits(got) == bits(want.to_arrow())


def no_query(*_args, **_named):
    raise AssertionError("a query was run")


@daft.func
def halved(value: float) -> float:
    return value / 2


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param(col("f") + 0, id="plus-0"),
        pytest.param(0.0 + col("f"), id="0-plus"),
        pytest.param(col("f") - 0, id="minus-0"),
        pytest.param(col("f") * 1, id="times-1"),
        pytest.param(col("f") / 1.0, id="by-1"),
        pytest.param(col("f") + col("tick"), id="plus-a-column-of-zeros"),
        pytest.param(col("f") * lit(0.4).cast(daft.DataType.int64()), id="a-constant-that-was-cast"),
        pytest.param(col("b") & True, id="and-true"),
        pytest.param(when(col("is_active"), col("f")).otherwise(lit(None)), id="a-condition-that-holds"),
        pytest.param(lit(2) + lit(3), id="constants"),
        pytest.param(halved(col("f")), id="function-of-the-user"),
        pytest.param(monotonically_increasing_id(), id="number-of-the-row"),
        pytest.param(col("f").is_in([1.0]), id="what-no-visitor-knows"),
        pytest.param(col("f").fill_null(2.0), id="another-function"),
    ],
)
def test_what_an_optimiser_may_change_is_left_to_a_query(expression):
    frame = extended(ROWS).with_columns(CONSTANTS)
    assert not isinstance(frame.with_column("out", expression), ExtendedFrame)
    assert frame.evaluated({"out": expression}) is None
    assert selected(frame, {"out": expression}).num_rows == 2


def test_minus_zero_stays_what_the_optimiser_makes_of_it():
    rows = pa.table({"f": [-0.0]})
    got = selected(extended(rows), {"out": col("f") + 0.0}).column("out").to_pylist()
    want = plain(rows).select((col("f") + 0.0).alias("out")).to_pydict()["out"]
    assert math.copysign(1, got[0]) == math.copysign(1, want[0])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda df: df.where(col("f") > 1), id="where"),
        pytest.param(lambda df: df.sort("f"), id="sort"),
        pytest.param(lambda df: df.select("f", "i"), id="select"),
        pytest.param(lambda df: df.union_all(df), id="union"),
        pytest.param(lambda df: df.with_column_renamed("f", "h"), id="renamed"),
    ],
)
def test_a_frame_made_in_another_way_does_not_know_how(make):
    made = make(extended(ROWS))
    assert not isinstance(made, ExtendedFrame)
    assert not isinstance(
        made.with_column("g", col("f") if "f" in made.column_names else col("h")), ExtendedFrame
    )


def test_it_is_a_frame_like_any_other():
    known, frame = extended(ROWS), plain(ROWS)
    given_columns = {"f": col("f") * 2, "i": col("i") - 3}
    assert isinstance(known.with_columns(given_columns), ExtendedFrame)
    assert known.with_columns(given_columns).to_pydict() == frame.with_columns(given_columns).to_pydict()
    assert known.with_columns(given_columns).schema() == frame.with_columns(given_columns).schema()
    collected = known.with_column("f", known["f"] * 2).collect()
    assert collected.with_column("f", col("f") * 2).to_pydict()["f"] == [8, 0]


def test_what_becomes_of_the_mapping_afterwards_does_not_reach_the_frame():
    columns = {"f": col("f") * 2}
    frame = extended(ROWS).with_columns(columns)
    columns["f"] = col("f") * 3
    assert selected(frame, {"f": col("f")}).to_pydict() == {"f": [4.0, 0.0]}


def test_rows_that_are_not_in_this_process_are_left_to_queries(monkeypatch):
    monkeypatch.setattr(DataFrame, "iter_partitions", lambda _frame: iter(["elsewhere"]))
    frame = extended(ROWS)
    assert not isinstance(frame, ExtendedFrame)
    assert frame.select("f").to_pydict() == {"f": [2.0, 0.0]}


class ExtPos(Component):
    x: float = 0.0


class ExtVel(Component):
    dx: float = 0.0


def world():
    return state_of([ExtPos(x=-0.0), ExtVel(dx=0.0)], [ExtPos(x=1.5), ExtVel(dx=-2.0)])


def moved(df):
    return df.with_column("extpos__x", col("extpos__x") + col("extvel__dx"))


def stopped(df):
    return df.with_column("is_active", col("extpos__x") > -1)


MOVES = frame_processor(moved, name="ExtMoves")
MOVES_ON = frame_processor(moved, name="ExtMovesOn")
STOPS = frame_processor(stopped, name="ExtStops")


async def column(*processors):
    ran = await run_processors(world(), processors, context(tick=0))
    (table,) = ran.state
    return table.array("extpos__x").to_pylist()


async def test_processors_that_extend_their_frame_take_no_query(monkeypatch):
    monkeypatch.setattr(DataFrame, "collect", no_query)
    assert await column(MOVES, MOVES_ON) == [0.0, -2.5]
    assert await column(MOVES_ON, MOVES, STOPS) == [0.0]


@pytest.mark.parametrize("knows", [True, False], ids=["in-place", "by-query"])
async def test_with_and_without_queries_a_tick_comes_to_the_same(knows, monkeypatch):
    if not knows:
        monkeypatch.setattr(ExtendedFrame, "of", plain)
    assert await column(MOVES, MOVES_ON, STOPS) == [0.0]


async def test_what_cannot_be_evaluated_in_place_is_asked_of_a_query(monkeypatch):
    def broken(*_args):
        raise RuntimeError("another release of Daft")

    monkeypatch.setattr("daft.recordbatch.MicroPartition.eval_expression_list", broken)
    assert await column(MOVES) == [0.0, -0.5]


async def test_an_error_names_the_processor_whichever_way_it_was_met():
    def loses(df):
        kept = when(col("extpos__x") > 1, lit(None)).otherwise(col("extpos__x"))
        return df.with_column("extpos__x", kept)

    with pytest.raises(ProcessorError, match=r"Processor ExtFails failed on .*1 nulls in extpos__x"):
        await column(frame_processor(loses, name="ExtFails"))
