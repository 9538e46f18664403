import pyarrow as pa
import pytest
from daft import col, lit
from daft.functions import when

from archetype.core.component import Component
from archetype.core.context import rng_for
from archetype.core.processor import AsyncProcessor
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.frames import Frames, GroupFrames
from archetype.core.scheduling.plan import describe
from archetype.core.scheduling.rights import Rights
from archetype.errors import AccessViolationError, ProcessorError
from ticks import column, context, frame_processor, run, state_of


class FraCell(Component):
    v: float = 0.0


class FraSecret(Component):
    code: str = "s"


def state():
    return state_of([FraCell(v=1.0), FraSecret()], [FraCell(v=2.0), FraSecret()])


def table():
    return next(iter(state()))


def described(process, **declared):
    return describe([frame_processor(process, name="FraSut", **declared)])[0]


READS_CELLS = Rights.declared((FraCell,), None)


def test_a_frame_has_ids_activity_columns_and_the_ticks_constants():
    rows = Frames(table(), context(tick=9)).first.to_pydict()
    assert rows == {
        "entity_id": [1, 2],
        "fracell__v": [1.0, 2.0],
        "frasecret__code": ["s", "s"],
        "world_id": ["00000000-0000-0000-0000-000000000001"] * 2,
        "run_id": ["00000000-0000-0000-0000-000000000002"] * 2,
        "tick": [9, 9],
        "is_active": [True, True],
    }


def test_those_who_see_the_same_components_share_one_frame():
    frames = GroupFrames(state(), context())
    own = table()
    whole, narrow = frames.of(own, Rights()), frames.of(own, READS_CELLS)
    assert frames.of(own, Rights.declared((FraCell, FraSecret), ())) is whole
    assert frames.of(own, Rights.declared((), (FraCell,))) is narrow
    assert whole.first is whole.first
    assert (whole.shown is whole.table, narrow.shown is narrow.table) == (True, False)


def test_hidden_components_are_absent_and_the_columns_shown_are_the_tables_own():
    own = table()
    frames = GroupFrames(state(), context()).of(own, READS_CELLS)
    assert [name for name in frames.first.column_names if "__" in name] == ["fracell__v"]
    assert frames.names == ["entity_id", "is_active", "fracell__v"]
    assert frames.shown.array("fracell__v") is own.array("fracell__v")


async def test_a_processor_that_may_read_nothing_still_has_the_ids():
    seen = []

    def process(df):
        seen.append(df.select("entity_id", "tick").to_pydict())
        return df

    await run(state(), [frame_processor(process, reads=())])
    assert seen == [{"entity_id": [1, 2], "tick": [3, 3]}]


async def test_what_a_processor_raises_is_told_with_its_first_cause():
    def process(df):
        try:
            raise ValueError("the reason")
        except ValueError as exc:
            raise RuntimeError("the outcome") from exc

    with pytest.raises(ProcessorError) as caught:
        await Frames(table(), context()).call(described(process), Frames(table(), context()).first)
    assert caught.value.message == (
        "Processor FraSut failed on FraCell+FraSecret at tick 3: raised RuntimeError: the outcome (because "
        "of ValueError: the reason). Nothing of this tick was kept; mend the processor and step again."
    )
    assert caught.value.details == {
        "what": "raised RuntimeError: the outcome (because of ValueError: the reason)",
        "processor": "FraSut",
        "archetype": "FraCell+FraSecret",
        "tick": 3,
    }


async def test_an_error_that_names_a_hidden_column_is_a_violation_another_is_not():
    frames = GroupFrames(state(), context()).of(table(), READS_CELLS)

    def mistypes(df):
        return df.with_column("fracell__v", col("fracell__w"))

    def peeks(df):
        return df.with_column("fracell__v", col("frasecret__code").length())

    with pytest.raises(ProcessorError, match="fracell__w"):
        await frames.call(described(mistypes, reads=(FraCell,)), frames.first)
    with pytest.raises(AccessViolationError, match="FraSut may not read FraSecret") as caught:
        await frames.call(described(peeks, reads=(FraCell,)), frames.first)
    assert caught.value.details["access"] == "read"


async def test_a_dropped_constant_comes_back():
    def process(df):
        return df.select("entity_id", "is_active", "fracell__v", "frasecret__code").with_column(
            "fracell__v", lit(5.0)
        )

    frames = Frames(table(), context())
    returned = await frames.call(described(process), frames.first)
    assert frames.has_dtypes(returned)
    assert returned.to_pydict()["tick"] == [3, 3]


@pytest.mark.parametrize("amount", [1, 2], ids=["by-query", "in-place"])
async def test_a_collected_frame_gives_what_is_made_of_its_rows(amount):
    frames = Frames(table(), context())
    changed = frames.first.with_column("fracell__v", col("fracell__v") * amount)
    rows = await frames.collected(described(lambda df: df), changed, lambda rows: rows)
    assert isinstance(rows, pa.Table)
    assert rows.column_names == frames.names
    assert rows.column("fracell__v").to_pylist() == [1.0 * amount, 2.0 * amount]


@pytest.mark.parametrize("amount", [1, 2], ids=["by-query", "in-place"])
async def test_what_is_wrong_with_collected_rows_is_the_processors_error(amount):
    def refuse(rows):
        raise ValueError(f"{rows.num_rows} rows are too many")

    frames = Frames(table(), context())
    changed = frames.first.with_column("fracell__v", col("fracell__v") * amount)
    with pytest.raises(
        ProcessorError, match=r"FraSut failed on .* at tick 3: ValueError: 2 rows are too many"
    ):
        await frames.collected(described(lambda df: df), changed, refuse)


def test_rows_that_ended_lose_their_ids():
    frames = Frames(table(), context())
    ended = frames.first.with_column("is_active", col("entity_id") != 2)
    marked = frames.handed_on(ended)
    assert frames.has_dtypes(marked)
    assert marked.to_pydict()["entity_id"] == [1, None]
    assert frames.handed_on(frames.first).to_pydict()["entity_id"] == [1, 2]


@pytest.mark.parametrize("by", [lit(99), col("tick") + 99, lit(5)], ids=["constant", "computed", "plain"])
@pytest.mark.parametrize("is_fused", [True, False], ids=["chain", "groups of one"])
async def test_base_columns_are_the_ticks_own_for_each_processor(by, is_fused):
    """What the one before it made of them is gone, fused or not."""

    class FraMakes(AsyncProcessor):
        async def process(self, df):
            other = lit("x")
            return df.with_columns({"tick": by.cast("int64"), "world_id": other, "run_id": other})

    class FraReads(AsyncProcessor):
        async def process(self, df):
            whole = (col("tick") == 3) & (col("world_id") != "x") & (col("run_id") != "x")
            return df.with_column("fracell__v", when(whole, lit(1.0)).otherwise(lit(0.0)))

    both = [FraMakes(), FraReads()]
    ran = await (run_processors(state(), both, context()) if is_fused else run(state(), both, [0], [1]))
    assert set(column(ran.state, "fracell__v").values()) == {1.0}


@pytest.mark.parametrize("is_fused", [True, False], ids=["chain", "group"])
async def test_random_numbers_are_by_processor_ordinal_and_archetype(is_fused):
    drawn = []

    class FraDraws(AsyncProcessor):
        async def process(self, df, rng):
            drawn.append(rng.random())
            return df

    both, here = [FraDraws(), FraDraws()], context()
    await (run_processors(state(), both, here) if is_fused else run(state(), both, here=here))
    archetype_id = table().archetype.archetype_id
    assert drawn == [rng_for(here, "FraDraws", ordinal, archetype_id).random() for ordinal in (0, 1)]
