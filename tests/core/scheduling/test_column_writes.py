import datetime as dt
import enum
import uuid
from typing import Annotated, Literal

import daft
import numpy as np
import pyarrow as pa
import pytest
from daft import DataType, Window, col, lit
from daft.functions import when
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from archetype.core.combine import Combine, Delta
from archetype.core.component import Component
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.system import system
from archetype.errors import AccessViolationError, ProcessorError, TickFailedError
from ticks import column, context, frame_processor, outcome, run, spelled, state_of


class ColNum(Component):
    x: float = 0.0
    n: int = 0
    maybe: float | None = None
    score: Annotated[int, Combine("max")] = 0


class ColText(Component):
    s: str = "a"
    tags: list[int] = Field(default_factory=list)
    at: dt.datetime = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    flag: bool = True


class ColOther(Component):
    y: float = 0.0


@system()
async def colnothing(access):
    pass


def three():
    return state_of(*[[ColNum(x=float(i), n=i), ColText(s="abc"[i - 1], tags=[i])] for i in (1, 2, 3)])


async def wrote(process, state=None, **declared):
    """Run a frame processor in a group with another, which keeps it from being fused and does nothing."""
    state = three() if state is None else state
    return await run(state, [frame_processor(process, name="ColSut", **declared), colnothing])


async def test_a_column_carried_along_is_no_write():
    def carries(df):
        return df.with_columns({"colnum__x": col("colnum__x"), "coltext__s": col("coltext__s") + ""})

    state = three()
    ran = await wrote(carries, state)
    assert ran.report.executions[0].cell_count == 0
    assert ran.state is state


async def test_only_the_cells_that_differ_are_written():
    def second(df):
        value = when(col("entity_id") == 2, lit(20.0)).otherwise(col("colnum__x"))
        return df.with_columns({"colnum__x": value, "coltext__s": lit("b")})

    def third(df):
        return df.with_column("colnum__x", when(col("entity_id") == 3, lit(30.0)).otherwise(col("colnum__x")))

    both = [frame_processor(second, name="ColSecond"), frame_processor(third, name="ColThird")]
    ran = await run(three(), both, conflicts="error")
    assert column(ran.state, "colnum__x") == {1: 1.0, 2: 20.0, 3: 30.0}
    assert [each.cell_count for each in ran.report.executions] == [3, 1]


async def test_negative_zero_is_a_write_and_nan_over_nan_is_none():
    state = state_of([ColNum(x=0.0)], [ColNum(x=float("nan"))], [ColNum(x=1.0)])

    def process(df):
        value = when(col("entity_id") == 1, lit(-0.0)).when(col("entity_id") == 2, lit(float("nan")))
        return df.with_column("colnum__x", value.otherwise(col("colnum__x")))

    ran = await wrote(process, state)
    assert ran.report.executions[0].cell_count == 1
    assert spelled(list(column(ran.state, "colnum__x").values())) == spelled([-0.0, float("nan"), 1.0])


async def test_a_changed_column_outside_of_writes_is_a_violation():
    def process(df):
        return df.with_columns({"colnum__x": lit(1.0), "coltext__s": lit("z")})

    with pytest.raises(AccessViolationError, match="ColSut may not write ColText") as caught:
        await wrote(process, reads=(ColText,), writes=(ColNum,))
    assert caught.value.details["processor"] == "ColSut"
    assert caught.value.details["component"] == "ColText"


async def test_a_column_that_may_only_be_read_may_be_carried_along():
    ran = await wrote(lambda df: df.with_column("colnum__x", lit(5.0)), reads=(ColText,), writes=(ColNum,))
    assert set(column(ran.state, "colnum__x").values()) == {5.0}
    assert set(column(ran.state, "coltext__s").values()) == {"a", "b", "c"}


NAMING_HIDDEN = {
    "frame": lambda df: df.with_column("colnum__x", col("coltext__s").length()),
    "item": lambda df: {"colnum__x": df["coltext__s"].length()},
    "mapping": lambda df: {"colnum__x": col("coltext__s").length()},
    "mapping name": lambda df: {"coltext__s": lit("z")},
    "select": lambda df: df.select("entity_id", "coltext__s"),
}


@pytest.mark.parametrize("how", NAMING_HIDDEN)
@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_naming_a_column_that_is_hidden_is_a_violation(how, max_attempts):
    calls = []

    def process(df):
        calls.append(set(df.column_names))
        return NAMING_HIDDEN[how](df)

    policy = RetryPolicy(max_attempts=max_attempts, on_exhausted="skip" if max_attempts > 1 else "fail")
    culprit = frame_processor(process, name="ColSut", writes=(ColNum,), retry_policy=policy)
    sibling = frame_processor(lambda df: {"colnum__n": lit(1)}, name="ColSibling", writes=(ColNum,))
    with pytest.raises(AccessViolationError, match=r"ColSut may not .* ColText") as caught:
        await run(three(), [sibling, culprit])
    assert caught.value.details["component"] == "ColText"
    assert [any("coltext" in name for name in names) for names in calls] == [False]


async def test_a_frame_without_rights_reads_what_it_runs_on_only_if_it_declares_writes():
    seen = []

    def process(df):
        seen.append({name.split("__")[0] for name in df.column_names if name.startswith("col")})
        return df

    await wrote(process, components=(ColText,), writes=(ColNum,))
    await wrote(process, components=(ColNum,), writes=())
    await wrote(process, reads=())
    await wrote(process)
    assert seen == [{"colnum", "coltext"}, {"colnum"}, set(), {"colnum", "coltext"}]


@pytest.mark.parametrize("shape", ["frame", "mapping"])
async def test_to_end_an_entity_takes_rights_to_write_all_that_it_has(shape):
    def process(df):
        flags = col("entity_id") != 2
        return {"is_active": flags} if shape == "mapping" else df.with_column("is_active", flags)

    with pytest.raises(AccessViolationError, match="ColSut may not write ColText"):
        await wrote(process, reads=(ColText,), writes=(ColNum,))
    with pytest.raises(AccessViolationError, match="ColSut may not write ColText"):
        await wrote(process, writes=(ColNum,))
    ran = await wrote(process, writes=(ColNum, ColText))
    assert set(column(ran.state, "colnum__x")) == {1, 3}
    [ended] = ran.tombstones.values()
    assert ended.rows.column("entity_id").to_pylist() == [2]
    assert ran.report.executions[0].ended_count == 1


async def test_an_ended_row_keeps_what_was_written_to_it():
    ran = await wrote(lambda df: {"colnum__x": col("colnum__x") * 10, "is_active": col("entity_id") == 1})
    [ended] = ran.tombstones.values()
    assert ended.rows.column("colnum__x").to_pylist() == [20.0, 30.0]


ROW_FAULTS = {
    "lost": (lambda df: df.where(col("entity_id") != 2), "lost 1 \\(2\\) of 3"),
    "added": (lambda df: df.concat(df.with_column("entity_id", col("entity_id") + 50)), "added 3 \\(51"),
    "repeated": (lambda df: df.concat(df), "repeated 3"),
    "replaced": (lambda df: df.with_column("entity_id", col("entity_id") + 1), "lost 1 \\(1\\) and added"),
    "null id": (lambda df: df.with_column("entity_id", lit(None).cast(DataType.int64())), "null entity_id"),
    "extra": (lambda df: df.with_column("more", lit(1)), "added the column 'more'"),
    "dropped": (lambda df: df.exclude("colnum__x"), "dropped the column 'colnum__x'"),
    "null": (lambda df: df.with_column("colnum__x", lit(None).cast(DataType.float64())), "3 nulls"),
    "null active": (
        lambda df: df.with_column("is_active", lit(None).cast(DataType.bool())),
        "null is_active",
    ),
}


@pytest.mark.parametrize("fault", ROW_FAULTS)
async def test_a_frame_that_cannot_be_believed_is_refused(fault):
    change, message = ROW_FAULTS[fault]
    with pytest.raises(ProcessorError, match=message) as caught:
        await wrote(change)
    assert caught.value.details["processor"] == "ColSut"


async def test_the_order_of_rows_is_put_right():
    def process(df):
        return df.with_column("colnum__x", col("colnum__x") * 10).sort("entity_id", desc=True)

    assert column((await wrote(process)).state, "colnum__x") == {1: 10.0, 2: 20.0, 3: 30.0}


YEAR = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
YEARS = pa.array([YEAR] * 3, pa.timestamp("us", "UTC")).to_pylist()


VALUES = {
    "expression": ("colnum__x", lambda df: col("colnum__x") * 2, [2.0, 4.0, 6.0]),
    "expression of the frame": ("colnum__x", lambda df: df["colnum__n"] * 0.5, [0.5, 1.0, 1.5]),
    "expression of another type": ("colnum__x", lambda df: col("colnum__n") + 1, [2.0, 3.0, 4.0]),
    "literal": ("colnum__n", lambda df: lit(7), [7, 7, 7]),
    "pyarrow": ("colnum__x", lambda df: pa.array([1.5, 2.5, 3.5]), [1.5, 2.5, 3.5]),
    "pyarrow chunks": ("colnum__x", lambda df: pa.chunked_array([[1.5], [2.5, 3.5]]), [1.5, 2.5, 3.5]),
    "pyarrow of another type": ("colnum__n", lambda df: pa.array([1, 2, 3], pa.int8()), [1, 2, 3]),
    "pyarrow scalar": ("colnum__x", lambda df: pa.scalar(2.5), [2.5, 2.5, 2.5]),
    "numpy": ("colnum__x", lambda df: np.array([1.0, -0.0, np.nan]), [1.0, -0.0, float("nan")]),
    "numpy integers": ("colnum__x", lambda df: np.array([1, 2, 3], dtype=np.int32), [1.0, 2.0, 3.0]),
    "numpy scalar": ("colnum__n", lambda df: np.int64(4), [4, 4, 4]),
    "list": ("colnum__n", lambda df: [3, 2, 1], [3, 2, 1]),
    "whole floats": ("colnum__n", lambda df: [3.0, 2, 1.0], [3, 2, 1]),
    "whole float": ("colnum__n", lambda df: 4.0, [4, 4, 4]),
    "tuple": ("coltext__s", lambda df: ("x", "y", "z"), ["x", "y", "z"]),
    "series": ("colnum__x", lambda df: daft.Series.from_pylist([1.0, 2.0, 3.5]), [1.0, 2.0, 3.5]),
    "lists": ("coltext__tags", lambda df: [[], [1, 2], [3]], [[], [1, 2], [3]]),
    "one list": ("coltext__tags", lambda df: pa.scalar([1, 2], pa.list_(pa.int64())), [[1, 2]] * 3),
    "times": (
        "coltext__at",
        lambda df: [YEAR] * 3,
        YEARS,
    ),
    "number": ("colnum__x", lambda df: 4, [4.0, 4.0, 4.0]),
    "text": ("coltext__s", lambda df: "héllo", ["héllo"] * 3),
    "bool": ("coltext__flag", lambda df: False, [False] * 3),
    "none": ("colnum__maybe", lambda df: None, [None] * 3),
    "nulls": ("colnum__maybe", lambda df: [1.0, None, 3.0], [1.0, None, 3.0]),
    "delta": ("colnum__n", lambda df: Delta(col("colnum__n") * 10), [11, 22, 33]),
    "delta of an array": ("colnum__n", lambda df: Delta(np.array([1, 2, 3])), [2, 4, 6]),
    "delta of a number": ("colnum__x", lambda df: Delta(0.5), [1.5, 2.5, 3.5]),
    "delta by its rule": ("colnum__score", lambda df: Delta([-1, 0, 5]), [0, 0, 5]),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("chain", ["group", "chain"])
async def test_a_mapping_gives_values_of_every_kind(kind, chain):
    name, give, expected = VALUES[kind]
    processor = frame_processor(lambda df: {name: give(df)}, name="ColSut")
    if chain == "chain":
        ran = await run_processors(three(), [processor], context())
    else:
        ran = await run(three(), [processor, colnothing])
    assert spelled(list(column(ran.state, name).values())) == spelled(expected)
    assert {table.rows.schema for table in ran.state} == {table.rows.schema for table in three()}


FAULTY_VALUES = {
    "no column": ({"colnum__z": 1.0}, "'colnum__z', which is no component column of it \\(.*colnum__x"),
    "entity_id": ({"entity_id": 1}, "'entity_id', which is no component column"),
    "base column": ({"tick": lit(1)}, "'tick', which is no component column"),
    "entity_id expression": ({"entity_id": col("entity_id")}, "'entity_id', which is no component column"),
    "too few": ({"colnum__x": [1.0, 2.0]}, "gave 2 values for colnum__x, which has 3 rows"),
    "too many": ({"colnum__x": np.zeros(4)}, "gave 4 values for colnum__x, which has 3 rows"),
    "one of many": ({"colnum__x": col("colnum__x").sum()}, "colnum__x"),
    "text for numbers": ({"colnum__x": ["a", "b", "c"]}, "colnum__x that are none of double"),
    "text array": ({"colnum__x": pa.array(["a", "b", "c"])}, "colnum__x that do not fit double"),
    "text scalar": ({"colnum__x": "a"}, "colnum__x that are none of double"),
    "fractions": ({"colnum__n": np.array([1.0, 2.5, 3.0])}, "colnum__n that do not fit int64"),
    "fraction": ({"colnum__n": 1.5}, "colnum__n that do not fit int64"),
    "fraction of numpy": ({"colnum__n": np.float64(1.5)}, "colnum__n that do not fit int64"),
    "listed fractions": ({"colnum__n": [1, 2.5, 3]}, "colnum__n that do not fit int64"),
    "fractions in lists": ({"coltext__tags": [[1], [2.5], []]}, "coltext__tags that do not fit list"),
    "too big": ({"colnum__n": 2**70}, "colnum__n that are none of int64"),
    "two dimensions": ({"colnum__x": np.zeros((3, 2))}, "colnum__x that are none of double"),
    "object": ({"colnum__x": object()}, "colnum__x that are none of double"),
    "null": ({"colnum__x": None}, "3 nulls in colnum__x, which is not Optional"),
    "null item": ({"coltext__tags": [[1], [None], []]}, "1 null items in coltext__tags"),
    "null expression": ({"colnum__x": lit(None)}, "3 nulls in colnum__x, which is not Optional"),
    "unknown name": ({"colnum__x": col("nowhere")}, "nowhere"),
    "activity": ({"is_active": [1, 0, 1]}, "is_active"),
    "activity null": ({"is_active": [True, None, True]}, "is_active"),
    "activity number": ({"is_active": col("colnum__x")}, "is_active that are not all true or false"),
    "raising": (
        {"colnum__x": col("colnum__x").apply(lambda x: 1 / 0, return_dtype=DataType.float64())},
        "division by zero",
    ),
}


RUN_IN = {"group": {}, "chain": {"context": context()}, "middle of a chain": {"context": context()}}


@pytest.mark.parametrize("kind", FAULTY_VALUES)
@pytest.mark.parametrize("chain", RUN_IN)
async def test_a_faulty_mapping_is_refused_by_column(kind, chain):
    returned, message = FAULTY_VALUES[kind]
    culprit = frame_processor(lambda df: returned, name="ColCulprit")
    good = frame_processor(lambda df: {"colnum__n": lit(1)}, name="ColGood")
    processors = [culprit] if chain == "chain" else [good, culprit, good]
    with pytest.raises(ProcessorError, match=message) as caught:
        await (run if chain == "group" else run_processors)(three(), processors, **RUN_IN[chain])
    assert caught.value.details["processor"] == "ColCulprit"
    assert caught.value.details["archetype"] == "ColNum+ColText"


async def test_each_cell_of_a_mapping_is_written_whatever_it_held():
    ran = await wrote(lambda df: {"colnum__x": col("colnum__x"), "coltext__s": lit("b")})
    assert ran.report.executions[0].cell_count == 6


async def test_a_delta_that_cannot_be_summed_fails_the_tick_and_names_the_field():
    with pytest.raises(TickFailedError, match=r"What ColSut wrote .* ColText\.s takes no Delta") as caught:
        await wrote(lambda df: {"coltext__s": Delta(lit("z"))})
    assert caught.value.details["processors"] == ["ColSut"]


class ColStrict(Component):
    v: int = 0

    def __combine__(self, other):
        raise ZeroDivisionError("nothing combines")


UNFOLDABLE = {
    "delta of a text": ({"coltext__s": Delta(lit("z"))}, r"ColText\.s takes no Delta"),
    "overflow": ({"colnum__n": Delta(2**63 - 1)}, "overflow"),
    "combine": ({"colstrict__v": Delta(1)}, "nothing combines"),
}


@pytest.mark.parametrize("kind", UNFOLDABLE)
async def test_what_cannot_be_folded_fails_a_chain_too_and_names_the_processor(kind):
    returned, message = UNFOLDABLE[kind]
    state = state_of([ColNum(n=5), ColText(), ColStrict()])
    with pytest.raises(ProcessorError, match=message) as caught:
        await run_processors(state, [frame_processor(lambda df: returned, name="ColSut")], context())
    assert caught.value.details["processor"] == "ColSut"
    with pytest.raises(TickFailedError, match=message):
        await wrote(lambda df: returned, state)


async def test_an_empty_mapping_writes_nothing():
    state = three()
    assert (await wrote(lambda df: {}, state)).state is state
    assert (await run_processors(state, [frame_processor(lambda df: {})], context())).state is state


async def test_deltas_of_a_group_fold_onto_the_base():
    adds = frame_processor(lambda df: {"colnum__n": Delta(1)}, name="ColAdds")
    ran = await run(state_of([ColNum(n=10)]), [adds, adds], conflicts="error")
    assert column(ran.state, "colnum__n") == {1: 12}
    assert [(c.field, c.resolution) for c in ran.report.conflicts] == [("n", "sum")]


async def test_a_mapping_means_the_same_in_a_chain_and_in_groups_of_one():
    def first(df):
        return {"colnum__x": col("colnum__n"), "colnum__n": Delta(2)}

    def second(df):
        return {"colnum__x": col("colnum__x") + col("colnum__n"), "is_active": col("entity_id") != 3}

    processors = [frame_processor(first, name="ColFirst"), frame_processor(second, name="ColAfter")]
    fused = await run_processors(three(), processors, context())
    apart = await run(three(), processors, [0], [1], retry_policy=RetryPolicy(max_attempts=2))
    assert outcome(fused)["rows"] == outcome(apart)["rows"]
    assert outcome(fused)["ended"] == outcome(apart)["ended"]
    assert column(fused.state, "colnum__x") == {1: 4.0, 2: 6.0}


class ColOwned(Component):
    x: int = 0
    s: str = ""
    maybe: float | None = None
    tags: list[str] = Field(default_factory=list)
    flag: bool = False


def in_memory_of(memory, table):
    """Give a table whose columns lie in a bytearray, which anybody may write to."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    memory[:] = sink.getvalue().to_pybytes()
    return pa.ipc.open_stream(pa.py_buffer(memory)).read_all()


def as_series(array):
    return daft.Series.from_arrow(array)


def as_numpy(array):
    return array.to_numpy(zero_copy_only=False)


HANDED_IN = {
    "pyarrow": lambda df, new: dict(zip(new.column_names, _arrays(new), strict=True)),
    "series": lambda df, new: dict(zip(new.column_names, map(as_series, _arrays(new)), strict=True)),
    "numpy": lambda df, new: {"colowned__x": as_numpy(new.column("colowned__x"))},
    "frame": lambda df, new: daft.from_arrow(_replaced(df.to_arrow(), new)),
    "frame of a frame": lambda df, new: daft.from_arrow(_replaced(df.to_arrow(), new)).sort("entity_id"),
}


def _arrays(table):
    return [each.chunk(0) for each in table.columns]


def _replaced(rows, new):
    for name in new.column_names:
        rows = rows.set_column(rows.column_names.index(name), name, new.column(name))
    return rows


owned_values = st.builds(
    ColOwned,
    x=st.integers(-9, 9),
    s=st.text(max_size=3),
    maybe=st.none() | st.floats(allow_nan=False),
    tags=st.lists(st.text(max_size=2), max_size=3),
    flag=st.booleans(),
)


@pytest.mark.parametrize("how", HANDED_IN)
@pytest.mark.parametrize("chain", ["group", "chain"])
@settings(max_examples=20)
@given(values=st.lists(owned_values, min_size=1, max_size=9))
async def test_a_state_keeps_its_values_whatever_becomes_of_what_was_handed_in(how, chain, values):
    """A processor may write again to the memory that it handed in, as soon as its tick is over."""
    state = state_of(*[[ColOwned(x=100)] for _ in values])
    (table,) = state_of(*[[each] for each in values])
    memory = bytearray()
    new = in_memory_of(memory, table.rows.drop_columns(["entity_id"]))
    hands_in = frame_processor(lambda df: HANDED_IN[how](df, new), name="ColSut")
    if chain == "chain":
        ran = await run_processors(state, [hands_in], context())
    else:
        ran = await run(state, [hands_in, colnothing])
    before = outcome(ran)["rows"]
    memory[:] = bytes(len(memory))
    assert outcome(ran)["rows"] == before


@pytest.mark.parametrize("shape", ["mapping", "frame", "function"])
async def test_a_buffer_that_is_used_again_gives_each_tick_its_own_values(shape):
    buffer = np.zeros(3, dtype=np.int64)

    @daft.func.batch(return_dtype=DataType.int64())
    def increased(numbers):
        return np.add(numbers.to_arrow().to_numpy(), 1, out=buffer)

    def process(df):
        if shape == "function":
            return {"colnum__n": increased(col("colnum__n"))}
        rows = df.to_arrow()
        np.add(rows.column("colnum__n").to_numpy(), 1, out=buffer)
        if shape == "mapping":
            return {"colnum__n": buffer}
        place = rows.column_names.index("colnum__n")
        return daft.from_arrow(rows.set_column(place, "colnum__n", pa.array(buffer)))

    follows = frame_processor(lambda df: {"colnum__score": col("colnum__n")}, name="ColFollows")
    states = [three()]
    for _ in range(3):
        ran = await run(states[-1], [frame_processor(process, name="ColSut"), follows])
        states.append(ran.state)
    assert [list(column(state, "colnum__n").values()) for state in states] == [
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
        [4, 5, 6],
    ]
    assert list(column(states[-1], "colnum__score").values()) == [3, 4, 5]


class ColTeam(Component):
    team: int = 0
    v: int = 0
    total: int = 0
    me: int = 0


def team_total():
    return col("colteam__v").sum().over(Window().partition_by("colteam__team"))


WINDOWED = {
    "in a chain": {"is_chain": True, "declared": {}},
    "declared": {"is_chain": True, "declared": {"writes": (ColTeam,)}},
    "in a group": {"is_chain": False, "declared": {}},
}


@pytest.mark.parametrize("how", WINDOWED)
@settings(max_examples=30)
@given(teams=st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), min_size=1, max_size=12))
async def test_values_of_a_window_go_to_the_entities_they_are_of(how, teams):
    """A window gives rows in an order of its own; those who share its query get theirs too."""
    state = state_of(*[[ColTeam(team=team, v=v)] for team, v in teams])
    declared = WINDOWED[how]["declared"]
    sums = frame_processor(lambda df: {"colteam__total": team_total()}, name="ColSums", **declared)
    marks = frame_processor(lambda df: {"colteam__me": col("entity_id")}, name="ColMarks", **declared)
    if WINDOWED[how]["is_chain"]:
        ran = await run_processors(state, [sums, marks], context())
    else:
        ran = await run(state, [sums, marks])
    expected = {
        number: sum(v for other, v in teams if other == team) for number, (team, _) in enumerate(teams, 1)
    }
    assert column(ran.state, "colteam__total") == expected
    assert column(ran.state, "colteam__me") == {number: number for number in expected}


async def test_an_aggregate_is_a_value_where_there_is_one_row():
    ran = await wrote(lambda df: {"colnum__x": col("colnum__x").sum()}, state_of([ColNum(x=2.0)]))
    assert column(ran.state, "colnum__x") == {1: 2.0}


class ColMood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


class ColMarked(Component):
    mood: ColMood = ColMood.GLAD
    pick: Literal["a", "b"] = "a"
    uid: uuid.UUID = uuid.UUID(int=0)
    points: Annotated[int, Field(ge=0)] = 0
    many: list[Annotated[int, Field(le=9)]] = Field(default_factory=list)
    at: dt.datetime = YEAR


def only_second(column, value):
    return when(col("entity_id") == 2, value).otherwise(col(column))


REFUSED = {
    "mood": (lit("bored"), "'bored' to ColMarked.mood of entity 2, which is none of ['glad', 'sad']"),
    "pick": (lit("c"), "'c' to ColMarked.pick of entity 2, which is none of ['a', 'b']"),
    "uid": (lit("nope"), "'nope' to ColMarked.uid of entity 2, which is not a lower-case UUID"),
    "points": (lit(-5), "-5 to ColMarked.points of entity 2, which breaks ge=0"),
    "many": (lit([1, 10]), "[1, 10] to ColMarked.many of entity 2, which breaks le=9"),
    "at": (
        lit(pa.scalar(2**62, pa.timestamp("us", "UTC")).value).cast(DataType.timestamp("us", "UTC")),
        "a time to ColMarked.at of entity 2, which is outside of the years 1 to 9999",
    ),
}
GIVEN_AS = {
    "frame": lambda column, value: lambda df: df.with_column(column, only_second(column, value)),
    "mapping": lambda column, value: lambda df: {column: only_second(column, value)},
    "lost": lambda column, value: (
        lambda df: df.with_columns({column: only_second(column, value), "is_active": col("entity_id") != 2})
    ),
}


@pytest.mark.parametrize("field", REFUSED)
@pytest.mark.parametrize("how", GIVEN_AS)
@pytest.mark.parametrize("chain", RUN_IN)
async def test_a_value_that_its_class_refuses_fails_the_tick(field, how, chain):
    """As it would where a system or a command wrote it; the processor, the entity and the value are named."""
    value, message = REFUSED[field]
    state = state_of(*[[ColMarked()] for _ in range(3)])
    culprit = frame_processor(GIVEN_AS[how](f"colmarked__{field}", value), name="ColCulprit")
    good = frame_processor(lambda df: {"colmarked__points": lit(1)}, name="ColGood")
    processors = [culprit] if chain == "chain" else [good, culprit]
    with pytest.raises(ProcessorError) as caught:
        await (run if chain == "group" else run_processors)(state, processors, **RUN_IN[chain])
    assert f"wrote {message}" in caught.value.message
    assert caught.value.details["processor"] == "ColCulprit"


@pytest.mark.parametrize("chain", ["group", "chain"])
async def test_values_that_nobody_changed_are_nobodys_fault(chain):
    """A state may hold some from before its class refused them; what is computed again stays as it was."""
    refused = frame_processor(lambda df: df.with_column("colmarked__points", lit(-5)), name="ColRefused")
    carries = frame_processor(
        lambda df: df.with_column(
            "colmarked__points", when(col("entity_id") == 1, lit(1)).otherwise(col("colmarked__points"))
        ),
        name="ColCarries",
    )
    state, again = state_of([ColMarked()], [ColMarked()]), context(skipped=frozenset())
    state = (await run_processors(state, [refused], again)).state
    if chain == "chain":
        state = (await run_processors(state, [carries], context())).state
    else:
        state = (await run(state, [carries, colnothing])).state
    assert column(state, "colmarked__points") == {1: 1, 2: -5}
