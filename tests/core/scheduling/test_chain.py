import asyncio
import math
import random
import threading

import numpy as np
import pyarrow as pa
import pytest
from daft import DataType, col, lit
from daft.functions import when
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from archetype.core.apply import apply_changes
from archetype.core.bulk import check_spawn_batch
from archetype.core.changes import Despawn, Spawn, SpawnBatch
from archetype.core.combine import Delta
from archetype.core.component import Component
from archetype.core.context import Timers, rng_for
from archetype.core.frame_rows import same_memory
from archetype.core.processor import AsyncProcessor
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.frames import Frames
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.state import WorldState
from archetype.core.tick import compute_tick, snapshot_rows
from archetype.errors import ProcessorError
from ticks import column, context, outcome, rows_of, run, spelled, state_of


class ExPos(Component):
    x: float
    y: float = 0.0


class ExVel(Component):
    d: float


class ExOther(Component):
    name: str | None = None
    raw: bytes = b"r"
    tags: list[int] = Field(default_factory=lambda: [1, 2])
    flag: bool = True


def movers(n=3):
    return state_of(*[[ExPos(x=float(i)), ExVel(d=1.0)] for i in range(1, n + 1)])


def processor(fn, *, on=(), priority=10, deterministic=True, name="ExProcessor"):
    body = {"process": fn, "components": on, "priority": priority, "deterministic": deterministic}
    return type(name, (AsyncProcessor,), body)()


def adds(amount, **options):
    async def process(self, df):
        return df.with_column("expos__x", col("expos__x") * 10 + amount)

    return processor(process, **options)


async def test_order_is_by_priority_then_registration():
    run = [adds(1, priority=20), adds(2, priority=5), adds(3, priority=20), adds(4, priority=5)]
    result = await run_processors(state_of([ExPos(x=0.0)]), run, context())
    assert column(result.state, "expos__x") == {1: 2413.0}


async def test_processors_see_the_archetypes_that_have_their_components():
    state = state_of([ExPos(x=0.0)], [ExPos(x=0.0), ExVel(d=1.0)], [ExOther()])
    seen = []

    async def process(self, df, **_):
        seen.append(set(df.column_names))
        return df

    result = await run_processors(state, [adds(1, on=(ExPos, ExVel))], context())
    assert column(result.state, "expos__x") == {1: 0.0, 2: 1.0}
    same = {i for i, table in state.tables.items() if result.state.tables[i] is table}
    assert len(same) == 2
    result = await run_processors(state, [processor(process)], context())
    assert len(seen) == 3
    assert {"entity_id", "world_id", "run_id", "tick", "is_active"} <= set.intersection(*seen)
    assert all(result.state.tables[i] is table for i, table in state.tables.items())


async def test_no_match_is_the_same_state():
    state = movers()
    assert (await run_processors(state, [adds(1, on=(ExOther,))], context())).state is state
    assert (await run_processors(state, [], context())).state is state


async def test_keywords_go_by_the_signature():
    got = {}

    async def some(self, df, tick, *, gravity, debug):
        got["some"] = (tick, gravity, debug)
        return df

    async def every(self, df, **kwargs):
        got["every"] = kwargs
        return df

    async def none(self, df):
        return df

    here = context(inputs={"gravity": 9.8, "tick": 99}, debug=True)
    await run_processors(movers(), [processor(some), processor(every), processor(none)], here)
    assert got["some"] == (3, 9.8, True)
    assert set(got["every"]) == {
        "tick",
        "world_id",
        "run_id",
        "resources",
        "messages",
        "rng",
        "debug",
        "gravity",
    }
    assert got["every"]["resources"] is here.resources
    assert got["every"]["tick"] == 3


async def test_base_columns_hold_the_tick():
    async def process(self, df):
        return df.with_column("expos__x", col("tick").cast(DataType.float64()) + col("world_id").length())

    result = await run_processors(state_of([ExPos(x=0.0)]), [processor(process)], context())
    assert column(result.state, "expos__x") == {1: 39.0}


async def test_random_numbers_are_keyed_and_repeat():
    async def process(self, df, rng):
        return df.with_column("expos__x", lit(float(rng.random())))

    async def draw(count=1, **changes):
        twins = [processor(process, name="ExRng") for _ in range(count)]
        return column(
            (await run_processors(state_of([ExPos(x=0.0)]), twins, context(**changes))).state, "expos__x"
        )[1]

    assert await draw() == await draw()
    assert len({await draw(), await draw(tick=4), await draw(seed=5), await draw(count=2)}) == 4


def test_the_key_is_unambiguous():
    keys = [
        (context(), "A", 0, b"x"),
        (context(), "A", 1, b"x"),
        (context(), "B", 0, b"x"),
        (context(), "A", 0, b"y"),
    ]
    assert len({rng_for(*key).integers(2**62) for key in keys}) == 4
    assert rng_for(*keys[0]).integers(2**62) == rng_for(*keys[0]).integers(2**62)


def bad(change):
    async def process(self, df):
        return change(df)

    return process


FAILURES = {
    "lost": (lambda df: df.where(col("entity_id") != 2), "lost 1 \\(2\\)"),
    "lost all": (lambda df: df.where(col("entity_id") > 99), "lost 3"),
    "added": (lambda df: df.concat(df.with_column("entity_id", col("entity_id") + 50)), "added 3 \\(51"),
    "repeated": (lambda df: df.concat(df), "repeated 3"),
    "extra": (lambda df: df.with_column("more", lit(1)), "added the column 'more'"),
    "dropped": (lambda df: df.exclude("exvel__d"), "dropped the column 'exvel__d'"),
    "dropped active": (lambda df: df.exclude("is_active"), "dropped the column 'is_active'"),
    "type": (lambda df: df.with_column("expos__x", lit("a")), "changed 'expos__x' from Float64 to String"),
    "nulls": (
        lambda df: df.with_column(
            "expos__x", when(col("entity_id") == 1, lit(None)).otherwise(col("expos__x"))
        ),
        "1 nulls in expos__x",
    ),
    "null active": (
        lambda df: df.with_column(
            "is_active", when(col("entity_id") == 1, lit(None)).otherwise(col("is_active"))
        ),
        "null is_active",
    ),
    "not a frame": (lambda df: None, "returned NoneType, not a Daft DataFrame"),
    "raises": (lambda df: df.where(1 / 0), "ZeroDivisionError"),
    "unknown column": (lambda df: df.with_column("expos__x", col("nope")), "nope"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("deterministic", [True, False])
async def test_a_failing_processor_is_named_among_good_ones(name, deterministic):
    change, message = FAILURES[name]
    state = movers()
    culprit = processor(bad(change), name="ExCulprit", deterministic=deterministic)
    with pytest.raises(ProcessorError, match=message) as caught:
        await run_processors(state, [adds(1), culprit, adds(2)], context())
    assert caught.value.details.pop("what") in caught.value.message
    assert caught.value.details == {"processor": "ExCulprit", "archetype": "ExPos+ExVel", "tick": 3}
    assert column(state, "expos__x") == {1: 1.0, 2: 2.0, 3: 3.0}


async def test_a_row_function_that_raises_is_named_with_its_cause():
    def blow(df):
        return df.with_column(
            "expos__x", col("expos__x").apply(lambda x: 1 / 0, return_dtype=DataType.float64())
        )

    with pytest.raises(ProcessorError, match="division by zero") as caught:
        await run_processors(movers(), [adds(1), processor(bad(blow), name="ExCulprit"), adds(2)], context())
    assert caught.value.details["processor"] == "ExCulprit"
    assert caught.value.__cause__ is not None


async def test_a_processor_that_is_not_deterministic_is_never_run_twice():
    calls = []

    async def once(self, df):
        calls.append(1)
        return df

    culprit = processor(bad(FAILURES["lost"][0]), name="ExCulprit")
    run = [processor(once, deterministic=False), adds(1), culprit]
    with pytest.raises(ProcessorError) as caught:
        await run_processors(movers(), run, context())
    assert caught.value.details["processor"] == "ExCulprit"
    assert calls == [1]


async def test_what_it_drew_is_fixed_before_the_next_one_runs():
    def draw(df):
        fn = col("expos__x").apply(lambda x: random.random(), return_dtype=DataType.float64())
        return df.with_column("expos__x", fn)

    def same(df):
        return df.with_column("expos__y", col("expos__x"))

    run = [processor(bad(draw), deterministic=False), processor(bad(same))]
    result = await run_processors(movers(), run, context())
    assert column(result.state, "expos__x") == column(result.state, "expos__y")


async def test_rows_that_come_back_inactive_end_with_their_last_values():
    def end(df):
        return df.with_columns({"expos__x": col("expos__x") + 100, "is_active": col("entity_id") != 2})

    state = movers()
    result = await run_processors(state, [processor(bad(end))], context())
    assert column(result.state, "expos__x") == {1: 101.0, 3: 103.0}
    [ended] = result.tombstones.values()
    assert ended.rows.column("expos__x").to_pylist() == [102.0]
    everyone = await run_processors(
        state, [processor(bad(lambda df: df.with_column("is_active", lit(False))))], context()
    )
    assert everyone.state.tables == {}


async def test_order_of_rows_is_put_right():
    result = await run_processors(
        movers(), [processor(bad(lambda df: df.sort("entity_id", desc=True)))], context()
    )
    assert list(column(result.state, "expos__x").items()) == [(1, 1.0), (2, 2.0), (3, 3.0)]


async def test_columns_that_pass_through_stay_the_same_objects():
    rows = [[ExPos(x=1.0), ExOther(name=None if i % 2 else "né", raw=b"x" * i)] for i in range(5)]
    state = state_of(*rows)
    [before], [after] = state, (await run_processors(state, [adds(1)], context())).state
    changed = [n for n in before.rows.column_names if before.array(n) is not after.array(n)]
    assert changed == ["expos__x"]
    assert after.rows.schema == before.rows.schema


async def test_a_permuted_column_is_not_taken_for_the_old_one():
    def swap(df):
        return df.with_columns(
            {"expos__x": col("expos__y"), "expos__y": col("expos__x"), "exother__name": lit("ab")}
        )

    state = state_of([ExPos(x=1.0, y=2.0), ExOther(name="cd")])
    result = await run_processors(state, [processor(bad(swap))], context())
    assert result.state.find(1)[1] | {"exother__name": "ab"} == result.state.find(1)[1]
    assert (column(result.state, "expos__x"), column(result.state, "expos__y")) == ({1: 2.0}, {1: 1.0})


async def test_archetypes_run_at_once_and_off_the_loop():
    threads, together = set(), asyncio.Barrier(2)

    async def process(self, df):
        await together.wait()
        threads.add(threading.current_thread() is threading.main_thread())
        return df

    await run_processors(state_of([ExPos(x=0.0)], [ExVel(d=0.0)]), [processor(process)], context())
    assert threads == {True}


async def test_a_failure_cancels_the_other_archetypes():
    cancelled = asyncio.Event()

    async def process(self, df):
        if "exvel__d" in df.column_names:
            raise RuntimeError("first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(ProcessorError, match="first"):
        await run_processors(state_of([ExPos(x=0.0)], [ExVel(d=0.0)]), [processor(process)], context())
    assert cancelled.is_set()


async def test_float_aggregation_over_many_rows_repeats():
    n = 700_000  # more than four of Daft's own morsels, so that partial sums could meet in any order
    random_numbers = np.random.Generator(np.random.PCG64(1))
    batch = check_spawn_batch(
        pa.table({"expos__x": random_numbers.normal(size=n) * 1e6, "expos__y": np.arange(n) % 7.0})
    )
    state = apply_changes(WorldState.empty(), [SpawnBatch(0, 1, batch)]).state

    def share(df):
        total = df.groupby("expos__y").agg(col("expos__x").sum().alias("total"))
        return df.join(total, on="expos__y").with_column("expos__x", col("total")).exclude("total")

    results = [await run_processors(state, [processor(bad(share))], context()) for _ in range(6)]
    first, *rest = [next(iter(result.state)).rows for result in results]
    assert all(other.equals(first) for other in rest)


async def test_a_tick_applies_changes_and_then_runs_processors():
    changes = [Spawn(1, 9, [{"type": "ExPos", "x": 5.0, "y": 0.0}]), Despawn(2, 1), Despawn(3, 77)]
    end = processor(bad(lambda df: df.with_column("is_active", col("entity_id") != 2)))
    computed = await compute_tick(movers(), changes, [adds(1), end], context())
    assert column(computed.state, "expos__x") == {3: 31.0, 9: 51.0}
    [ended] = computed.tombstones.values()
    assert ended.rows.column("entity_id").to_pylist() == [1, 2]
    assert ended.rows.column("expos__x").to_pylist() == [1.0, 21.0]
    assert [r.version for r in computed.rejections] == [3]
    rows = snapshot_rows(computed.state.tables[ended.archetype.archetype_id], ended)
    assert rows.column_names[:2] == ["entity_id", "is_active"]
    assert rows.select(["entity_id", "is_active"]).to_pydict() == {
        "entity_id": [1, 2, 3],
        "is_active": [False, False, True],
    }
    assert snapshot_rows(None, ended).column("is_active").to_pylist() == [False, False]
    table = next(iter(movers()))
    assert snapshot_rows(table, None) is table.rows


async def test_a_tick_with_nothing_to_do_is_the_same_state():
    state = movers()
    assert (await compute_tick(state, [], [], context())).state is state


def test_same_memory_is_told_from_same_buffers():
    text = pa.array(["ab", "c"])
    other = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 3], pa.int32()).buffers()[1], text.buffers()[2]]
    )
    assert other.to_pylist() == ["a", "bc"]
    assert same_memory(text, text.cast(pa.large_string()))
    assert not same_memory(text, other)
    numbers = pa.array([1, 1, 1])
    assert same_memory(numbers.slice(1, 2), numbers.slice(1, 2))
    assert not same_memory(numbers.slice(0, 2), numbers.slice(1, 2))
    nulled = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), numbers.buffers()[1]])
    moved = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x06"), numbers.buffers()[1]])
    assert not same_memory(nulled, numbers)
    assert not same_memory(nulled, moved)


def framed(change, name="ExFramed", **options):
    return processor(bad(change), name=name, **options)


async def apart(state, processors, here=None):
    """Run each processor in a group of its own, not fused with the next one."""
    groups = [[index] for index in range(len(processors))]
    return await run(state, processors, *groups, here=here, retry_policy=RetryPolicy(max_attempts=2))


async def test_an_entity_that_ended_cannot_come_back():
    run_in = [
        framed(lambda df: df.with_column("is_active", col("entity_id") != 2)),
        framed(lambda df: df.with_column("is_active", col("expos__x") > 0)),
        framed(lambda df: {"is_active": lit(True)}),
        framed(lambda df: {"expos__y": lit(5.0)}),
    ]
    for result in (await run_processors(movers(), run_in, context()), await apart(movers(), run_in)):
        assert column(result.state, "expos__y") == {1: 5.0, 3: 5.0}
        [ended] = result.tombstones.values()
        assert ended.rows.select(["entity_id", "expos__y"]).to_pylist() == [{"entity_id": 2, "expos__y": 0.0}]


async def test_a_processor_does_not_see_who_ended_before_it():
    def refuse(x):
        assert x < 3
        return x

    def total(df):
        seen.append(sorted(df.to_pydict()["entity_id"]))
        return df.with_column("expos__y", lit(float(sum(df.to_pydict()["expos__x"]))))

    seen = []
    run_in = [
        framed(lambda df: df.with_column("is_active", col("expos__x") < 3)),
        framed(
            lambda df: df.with_column("expos__x", col("expos__x").apply(refuse, DataType.float64())),
            name="ExRefuses",
        ),
        framed(total),
    ]
    result = await run_processors(movers(), run_in, context())
    assert column(result.state, "expos__y") == {1: 3.0, 2: 3.0}
    assert seen[-1] == [1, 2]


async def test_one_that_raises_on_rows_that_ended_before_it_is_not_at_fault():
    def strict(df):
        if 3 in df.to_pydict()["entity_id"]:
            raise ValueError("entity 3 is no more")
        return df.with_column("expos__y", lit(1.0))

    run_in = [framed(lambda df: df.with_column("is_active", col("entity_id") < 3)), framed(strict)]
    result = await run_processors(movers(), run_in, context())
    assert column(result.state, "expos__y") == {1: 1.0, 2: 1.0}


async def test_when_all_have_ended_nobody_runs_on_them():
    calls = []

    def process(df):
        calls.append(df.count_rows())
        return df.with_column("expos__y", lit(1.0))

    run_in = [
        framed(lambda df: df.with_column("is_active", lit(False)), deterministic=False),
        framed(process, deterministic=False),
    ]
    result = await run_processors(movers(), run_in, context())
    assert (result.state.tables, calls) == ({}, [])
    [ended] = result.tombstones.values()
    assert ended.row_count == 3


async def test_processors_in_a_row_are_one_query(monkeypatch):
    queries, evaluated = [], Frames.evaluated

    def counting(self, *given):
        queries.append(1)
        return evaluated(self, *given)

    monkeypatch.setattr(Frames, "evaluated", counting)
    mapped = framed(lambda df: {"expos__y": col("expos__x")})
    result = await run_processors(movers(1), [adds(1), framed(lambda df: df), mapped, adds(2)], context())
    assert column(result.state, "expos__x") == {1: 112.0}
    assert column(result.state, "expos__y") == {1: 11.0}
    assert len(queries) == 1
    figures = [(each.cell_count, each.duration_ms) for each in result.report.executions]
    assert figures == [(None, None)] * 3 + [(2, 0.0)]


async def test_the_processor_that_closes_a_query_has_its_figures():
    seconds = iter(range(100))
    here = context(timers=Timers(now=lambda: float(next(seconds))))
    drawn = framed(lambda df: {"expos__x": lit(7.0)}, name="ExDrawn", deterministic=False)
    end = framed(lambda df: df.with_column("is_active", col("entity_id") != 2), name="ExEnds")
    result = await run_processors(movers(), [adds(1), drawn, adds(0), end], here)
    spelled = [each.to_json() for each in result.report.executions]
    base = {"status": "done", "archetypes": 1, "rows": 3, "attempts": 1}
    assert spelled == [
        base | {"group": 0, "index": 0, "processor": "ExProcessor", "cells": 3, "ms": 1000.0},
        base | {"group": 1, "index": 1, "processor": "ExDrawn", "cells": 3, "ms": 1000.0},
        base | {"group": 2, "index": 2, "processor": "ExProcessor#2", "cells": 3, "ms": 1000.0},
        base | {"group": 3, "index": 3, "processor": "ExEnds", "cells": 0, "ms": 1000.0, "ended": 1},
    ]


class ExSpot(BaseModel):
    at: float
    name: str | None = None


class ExBits(Component):
    f: float = 0.0
    maybe: float | None = None
    s: str = ""
    tags: list[int] = Field(default_factory=list)
    spot: ExSpot = ExSpot(at=0.0)


class ExTag(Component):
    g: float = 0.0


def some(condition, value, name):
    return when(condition, value).otherwise(col(name))


def scaled(df):
    factor = len(df.to_pydict()["entity_id"])
    return df.with_column("exbits__f", col("exbits__f") * factor)


def summed(df):
    totals = df.groupby("exbits__s").agg(col("exbits__f").sum().alias("total"))
    return df.join(totals, on="exbits__s").with_column("exbits__f", col("total")).exclude("total")


EVEN = col("entity_id") % 2 == 0
STEPS = {
    "adds": lambda df: df.with_column("exbits__f", col("exbits__f") + 1),
    "negates": lambda df: {"exbits__f": col("exbits__f") * -1.0},
    "divides": lambda df: df.with_column("exbits__f", col("exbits__f") / col("exbits__f")),
    "nulls": lambda df: {"exbits__maybe": some(EVEN, lit(None), "exbits__maybe")},
    "fills": lambda df: {"exbits__maybe": col("exbits__f")},
    "constant": lambda df: {"exbits__maybe": -0.0},
    "integer": lambda df: {"exbits__f": col("entity_id")},
    "delta": lambda df: {"exbits__f": Delta(col("exbits__f"))},
    "renames": lambda df: df.with_column("exbits__s", some(EVEN, lit("é"), "exbits__s") + "!"),
    "lists": lambda df: {"exbits__tags": [[entity_id] * 2 for entity_id in df.to_pydict()["entity_id"]]},
    "structs": lambda df: {"exbits__spot": pa.scalar({"at": -0.0, "name": None}, SPOT)},
    "ends low": lambda df: df.with_column("is_active", col("exbits__f") > 0),
    "ends even": lambda df: {"is_active": ~EVEN},
    "ends marked": lambda df: df.where(col("entity_id") > 0).with_column("is_active", col("exbits__s") != ""),
    "revives": lambda df: df.with_column("is_active", lit(True)),
    "sorts": lambda df: df.sort("exbits__s", desc=True),
    "sums": summed,
    "counts": scaled,
    "nothing": lambda df: df,
    "carries": lambda df: {"exbits__f": col("exbits__f")},
}
SPOT = ExBits.get_prefixed_schema().field("exbits__spot").type

entities = st.lists(
    st.tuples(
        st.builds(
            ExBits,
            f=st.sampled_from([0.0, -0.0, 1.0, -2.5, math.nan, math.inf, 1e308]),
            maybe=st.sampled_from([None, -0.0, math.nan, 3.0]),
            s=st.sampled_from(["", "a", "é"]),
            tags=st.lists(st.integers(-2, 2), max_size=2),
            spot=st.builds(ExSpot, at=st.sampled_from([-0.0, math.nan]), name=st.sampled_from([None, "n"])),
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(entities, st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans()), min_size=1, max_size=5))
async def test_fused_or_each_in_a_group_of_its_own_the_same_comes_out(rows, steps):
    state = state_of(*[[bits, ExTag()] if tagged else [bits] for bits, tagged in rows])
    run_in = [framed(STEPS[step], name=f"Ex{step}", deterministic=each) for step, each in steps]
    fused, alone = await run_processors(state, run_in, context()), await apart(state, run_in)
    assert outcome(fused)["rows"] == outcome(alone)["rows"]
    assert outcome(fused)["ended"] == outcome(alone)["ended"]


@pytest.mark.parametrize("step", STEPS)
async def test_each_step_of_the_law_does_something_else(step):
    bits = ExBits(f=3.0, maybe=2.0, s="", tags=[7], spot=ExSpot(at=1.0, name="n"))
    state = state_of([bits], [bits.model_copy(update={"f": -1.0, "s": "b"})])
    ran = await run_processors(state, [framed(STEPS[step])], context())
    assert (rows_of(ran.state) == rows_of(state)) == (
        step in {"nothing", "revives", "sorts", "carries", "sums"}
    )


async def test_processors_that_name_all_they_touch_come_to_what_fused_ones_do():
    changes = [lambda df: df.with_column("expos__x", col("expos__x") * 3), lambda df: {"expos__x": Delta(1)}]
    fused = await run_processors(movers(), [framed(each) for each in changes], context())
    named = {"reads": (ExPos, ExVel), "writes": (ExPos, ExVel)}
    isolated = await run_processors(movers(), [declared(each, **named) for each in changes], context())
    assert spelled(column(fused.state, "expos__x")) == spelled(column(isolated.state, "expos__x"))
    assert [each.cell_count for each in isolated.report.executions] == [3, 3]


def declared(change, **rights):
    body = {"process": bad(change), **rights}
    return type("ExDeclared", (AsyncProcessor,), body)()
