import asyncio
import dataclasses
from typing import Annotated

import pytest
from daft import col, lit
from daft.functions import when
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from archetype.core.changes import Despawn, Spawn
from archetype.core.combine import Combine, Delta
from archetype.core.component import Component
from archetype.core.scheduling.builders import FrequencyGroupBuilder, PriorityGroupBuilder
from archetype.core.scheduling.executor import plan_tick, run_processors
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.scheduling.system import system
from archetype.core.tick import compute_tick
from archetype.errors import AccessViolationError, PlanError, ProcessorError
from ticks import (
    RUN_AT_ONCE,
    Grouped,
    Planned,
    column,
    context,
    frame_processor,
    id_source,
    outcome,
    rows_of,
    run,
    spelled,
    state_of,
)


class ExeCell(Component):
    v: float = 0.0
    n: int = 0


class ExeSum(Component):
    points: Annotated[int, Combine("sum")] = 0
    best: Annotated[float, Combine("max")] = 0.0


class ExeText(Component):
    merge_unit = "component"
    s: str = ""
    other: int = 0


class ExeList(Component):
    items: list[int] = Field(default_factory=list)

    def __combine__(self, other):
        return ExeList(items=[*self.items, *other.items])


def named(function, name, **options):
    function.__name__ = function.__qualname__ = name
    return system(**options)(function)


def cells(*values):
    return state_of(*[[ExeCell(v=float(value))] for value in values])


def adds(amount, name="exeadds", **options):
    def add(access):
        for entity_id, cell in access(ExeCell):
            access[entity_id, ExeCell] = ExeCell(v=cell.v * 10 + amount, n=cell.n)

    return named(add, name, **options)


async def test_groups_run_in_order_each_on_what_the_one_before_left():
    processors = [adds(1), adds(2), adds(3)]
    ran = await run(cells(0), processors, [2], [0], [1])
    assert column(ran.state, "execell__v") == {1: 312.0}
    assert [(each.group, each.index) for each in ran.report.executions] == [(0, 2), (1, 0), (2, 1)]
    ran = await run(cells(0), processors, [1, 2], [0])
    assert column(ran.state, "execell__v") == {1: 31.0}


async def test_fused_and_isolated_groups_follow_each_other_in_the_plans_order():
    def scales(df):
        return {"execell__v": col("execell__v") * 2}

    fused = [frame_processor(scales, name="ExeTwice") for _ in range(4)]
    processors = [fused[0], fused[1], adds(1), fused[2], adds(5), fused[3]]
    ran = await run(cells(1), processors, [0], [1], [2], [3], [4], [5])
    assert column(ran.state, "execell__v") == {1: (((1 * 4) * 10 + 1) * 2 * 10 + 5) * 2}
    figures = [(each.group, each.index, each.cell_count) for each in ran.report.executions]
    assert figures == [(0, 0, None), (1, 1, 1), (2, 2, 2), (3, 3, 1), (4, 4, 2), (5, 5, 1)]


async def test_without_processors_nothing_is_planned():
    class Refuses:
        def build(self, systems, context):
            raise AssertionError("not to be called")

    state = cells(1)
    processed = await run_processors(state, [], context(), Planned(Refuses()))
    assert processed.state is state
    assert outcome(processed)["executions"] == []


async def test_a_failure_in_the_third_group_gives_nothing():
    def fail(access):
        raise RuntimeError("third")

    state, ran = cells(1), []

    @system()
    async def exelater(access):
        ran.append("later")

    processors = [adds(1), adds(2), named(fail, "exefails"), exelater]
    scheduler = Planned(Grouped([0], [1], [2], [3]))
    with pytest.raises(ProcessorError, match="third"):
        await compute_tick(state, [Despawn(1, 1)], processors, context(), scheduler)
    assert (column(state, "execell__v"), ran) == ({1: 1.0}, [])


async def test_who_is_not_due_does_not_run_and_has_no_execution():
    processors = [adds(1), adds(2, "exeseldom", every=2)]
    scheduler = SimpleScheduler(group_builder=FrequencyGroupBuilder(PriorityGroupBuilder()))
    plan = plan_tick(cells(0), processors, context(tick=3), scheduler)
    assert [each.name for each in plan.not_due] == ["exeseldom"]
    ran = await run_processors(cells(0), processors, context(tick=3), scheduler)
    assert [each.processor for each in ran.report.executions] == ["exeadds"]
    ran = await run_processors(cells(0), processors, context(tick=4), scheduler)
    assert [each.processor for each in ran.report.executions] == ["exeadds", "exeseldom"]


async def test_a_builder_sees_the_state_that_the_tick_begins_with_and_cannot_write():
    seen = []

    class Looks(Grouped):
        def build(self, systems, looked):
            seen.append([(looked.tick, entity_id, cell.v) for entity_id, cell in looked.world(ExeCell)])
            with pytest.raises(AccessViolationError):
                looked.world[1, ExeCell] = ExeCell(v=9.0)
            return super().build(systems, looked)

    await run_processors(cells(7), [adds(1)], context(), Planned(Looks()))
    assert seen == [[(3, 1, 7.0)]]


async def test_a_plan_that_drops_a_processor_is_refused_before_anything_runs():
    calls = []

    @system()
    async def execalled(access):
        calls.append(1)

    with pytest.raises(PlanError, match="drops exeadds"):
        await run(cells(1), [execalled, adds(1)], [0])
    assert calls == []


async def test_rows_that_end_in_several_groups_and_by_commands_are_all_kept():
    def ends(entity_id):
        return frame_processor(lambda df: {"is_active": col("entity_id") != entity_id}, name="ExeEnds")

    @system()
    async def exedestroys(access):
        access.destroy(5)
        access.destroy(access.spawn(ExeCell()))

    state = cells(1, 2, 3, 4, 5, 6)
    changes = [Despawn(1, 1), Spawn(2, 9, [{"type": "ExeCell", "v": 9.0, "n": 0}])]
    processors = [ends(2), ends(3), exedestroys, ends(4), ends(9)]
    scheduler = Planned(Grouped([0], [1], [2, 3], [4]))
    computed = await compute_tick(state, changes, processors, context(), scheduler)
    assert column(computed.state, "execell__v") == {6: 6.0}
    [ended] = computed.tombstones.values()
    assert ended.rows.column("entity_id").to_pylist() == [1, 2, 3, 4, 5, 9]
    assert ended.rows.column("execell__v").to_pylist() == [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    assert [each.ended_count for each in computed.report.executions] == [1, 1, 2, 1, 1]


async def test_what_a_group_spawned_is_there_for_the_next_one_under_its_real_id():
    seen = []

    @system()
    def exespawns(access):
        made = access.spawn(ExeCell(v=1.0), ExeSum())
        seen.append(made)

    @system()
    def exeseeks(access):
        seen.extend(access(ExeSum).entities())
        access.destroy(seen[-1])

    reserve, _ = id_source(70)
    ran = await run(cells(1), [exespawns, exeseeks], [0], [1], here=context(reserve_ids=reserve))
    assert seen[0] < 0
    assert seen[1] == 70
    assert column(ran.state, "execell__v") == {1: 1.0}
    assert [table.entity_ids.tolist() for table in ran.tombstones.values()] == [[70]]


async def test_slots_are_those_of_the_whole_tick_and_free_again_after_a_group():
    running = []

    @system()
    async def exeholds(access):
        running.append(1)
        await asyncio.sleep(0)
        assert len(running) == 1
        running.pop()

    await run(cells(1), [exeholds] * 4, [0, 1], [2, 3], max_concurrent=1)


def scored(access, entity_id, amount):
    old = access.get(entity_id, ExeSum)
    access.update(entity_id, ExeSum(points=(0 if old is None else old.points) + amount, best=0.5))


def spawned(access, entity_id, amount):
    made = access.spawn(ExeCell(v=float(amount)), ExeSum(points=amount))
    access[made, ExeCell] = ExeCell(v=float(amount), n=made)
    access.update(entity_id, ExeCell(n=made))


def deltas(access, entity_id, amount):
    if access.has(entity_id, ExeSum):
        access.update(entity_id, Delta(ExeSum(points=amount, best=amount * 1.0)))


ACTS = {
    "write": lambda access, entity_id, amount: access.update(entity_id, ExeCell(v=amount * 0.1)),
    "score": scored,
    "delta": deltas,
    "text": lambda access, entity_id, amount: access.update(
        entity_id, ExeText(s=access.processor, other=access.count(ExeText) + amount)
    ),
    "list": lambda access, entity_id, amount: access.update(entity_id, ExeList(items=[amount])),
    "draw": lambda access, entity_id, amount: access.insert(entity_id, ExeCell(v=access.rng.random())),
    "remove": lambda access, entity_id, amount: access.remove(
        entity_id, (ExeSum, ExeText, ExeList)[amount % 3]
    ),
    "destroy": lambda access, entity_id, amount: access.destroy(entity_id),
    "spawn": spawned,
    "link": lambda access, entity_id, amount: access.update(entity_id, ExeCell(n=access.entities()[-1])),
}
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTS)), st.integers(1, 5), st.integers(-3, 3)), max_size=5
)


def systematic(operations, yields, *, is_async):
    """Give a system that does what is listed, as far as the entities it sees let it."""

    def act(access, operation, entity_id, amount):
        if access.exists(entity_id):
            ACTS[operation](access, entity_id, amount)

    def exesync(access):
        for each in operations:
            act(access, *each)

    async def exeasync(access):
        for each in operations:
            act(access, *each)
            for _ in range(yields):
                await asyncio.sleep(0)

    return system()(exeasync if is_async else exesync)


V, N = col("execell__v"), col("execell__n")
FRAMES = {
    "add": (lambda df: df.with_column("execell__v", V + 0.1)),
    "some": lambda df: df.with_column("execell__v", when(N > 0, V * -1.0).otherwise(V)),
    "mapping": lambda df: {"execell__v": V / 3.0, "execell__n": 4},
    "deltas": lambda df: {"execell__v": Delta(V), "execell__n": Delta(lit(2))},
    "ends": lambda df: df.with_column("is_active", V >= 0),
    "ends some": lambda df: {"is_active": N == 0, "execell__v": -0.0},
    "nothing": lambda df: df,
}


def framing(kind, yields):
    async def later(df):
        for _ in range(yields):
            await asyncio.sleep(0)
        return FRAMES[kind](df)

    return frame_processor(later, name="ExeFrames", components=(ExeCell,))


processors_and_groups = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("system"), OPERATIONS, st.booleans()),
            st.tuples(st.just("frame"), st.sampled_from(sorted(FRAMES)), st.none()),
        ),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=5,
)

states = st.lists(
    st.tuples(
        st.sampled_from([0.0, -0.0, 0.1, -2.0, float("nan")]),
        st.sets(st.sampled_from([ExeSum, ExeText, ExeList])),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(states, processors_and_groups, st.data())
async def test_the_same_comes_out_whatever_runs_at_once_finishes_first_or_is_listed_first(rows, listed, data):
    state = state_of(*[[ExeCell(v=v), *[kind() for kind in sorted(kinds, key=str)]] for v, kinds in rows])
    groups = [[place for place, (_, group) in enumerate(listed) if group == number] for number in (0, 1)]
    outcomes = []
    for at_once in (None, *RUN_AT_ONCE.values()):
        yields = data.draw(st.lists(st.integers(0, 4), min_size=len(listed), max_size=len(listed)))
        processors = [
            systematic(what, count, is_async=is_async) if kind == "system" else framing(what, count)
            for place, (((kind, what, is_async), _), count) in enumerate(zip(listed, yields, strict=True))
        ]
        order = {each: data.draw(st.permutations(each)) for each in {tuple(group) for group in groups}}
        permuted = Grouped(*[order[tuple(group)] for group in groups])
        reserve, _ = id_source()
        here = context(reserve_ids=reserve)
        outcomes.append(
            outcome(await run_processors(state, processors, here, Planned(permuted, max_concurrent=at_once)))
        )
    assert outcomes == [outcomes[0]] * len(outcomes)


@dataclasses.dataclass
class Model:
    """A plain model of a group: entities with the values of ExeCell and ExeSum, and who wrote them."""

    entities: dict
    written: dict = dataclasses.field(default_factory=dict)
    next_id: int = 50

    def spawn(self, fields):
        self.entities[self.next_id] = fields
        self.next_id += 1

    def write(self, entity_id, field, value):
        if entity_id in self.entities:
            self.written[entity_id, field] = self.entities[entity_id][field] = value

    def score(self, entity_id, points, *, is_delta):
        if entity_id not in self.entities:
            return
        known = (entity_id, "points") in self.written or is_delta
        base = self.entities[entity_id]["points"] if known else 0
        self.write(entity_id, "points", base + points)


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["v", "n", "points", "delta", "destroy", "spawn"]),
        st.integers(1, 4),
        st.integers(-9, 9),
    ),
    max_size=6,
)


def by_columns(writes):
    """Give a frame processor that writes single cells; where it writes one cell twice, the last."""

    def process(df):
        for field, kind in (("v", "execell__v"), ("n", "execell__n")):
            for name, entity_id, amount in writes:
                if name == field:
                    value = lit(float(amount) + 0.5 if field == "v" else amount + 100 * entity_id)
                    df = df.with_column(kind, when(col("entity_id") == entity_id, value).otherwise(col(kind)))
        ends = [entity_id for name, entity_id, _ in writes if name == "destroy"]
        return df.with_column("is_active", ~col("entity_id").is_in(ends)) if ends else df

    return frame_processor(process, name="ExeByColumns", components=(ExeCell, ExeSum))


def by_objects(writes):
    def exebyobjects(access):
        for name, entity_id, amount in writes:
            if name == "spawn":
                access.spawn(ExeCell(v=float(amount)), ExeSum(points=entity_id))
            elif not access.exists(entity_id):
                continue
            elif name == "destroy":
                access.destroy(entity_id)
            elif name == "points":
                access.update(entity_id, ExeSum(points=amount))
            elif name == "delta":
                access.update(entity_id, Delta(ExeSum(points=amount)))
            else:
                access.update(entity_id, ExeCell(v=float(amount) + 0.5, n=amount))

    return system()(exebyobjects)


def model_columns(model, writes):
    for name, entity_id, amount in writes:
        if name == "v":
            model.write(entity_id, "v", amount + 0.5)
        elif name == "n":
            model.write(entity_id, "n", amount + 100 * entity_id)
    for name, entity_id, _ in writes:
        if name == "destroy":
            model.entities.pop(entity_id, None)


def model_objects(model, writes):
    for name, entity_id, amount in writes:
        match name:
            case "points" | "delta":
                model.score(entity_id, amount, is_delta=name == "delta")
            case "destroy":
                model.entities.pop(entity_id, None)
            case "spawn":
                model.spawn({"v": float(amount), "n": 0, "points": entity_id})
            case _:
                model.write(entity_id, "v", amount + 0.5)
                model.write(entity_id, "n", amount)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), WRITES), min_size=2, max_size=4))
async def test_a_group_comes_to_what_a_plain_model_of_it_says(listed):
    state = state_of(*[[ExeCell(v=0.25, n=-1), ExeSum(points=10)] for _ in range(4)])
    processors = [by_columns(writes) if is_frame else by_objects(writes) for is_frame, writes in listed]
    reserve, _ = id_source(50)
    ran = await run(state, processors, here=context(reserve_ids=reserve))
    model = Model({entity_id: {"v": 0.25, "n": -1, "points": 10} for entity_id in range(1, 5)})
    for is_frame, writes in listed:
        (model_columns if is_frame else model_objects)(model, writes)
    found = {
        row["entity_id"]: {"v": row["execell__v"], "n": row["execell__n"], "points": row["exesum__points"]}
        for table in ran.state
        for row in table.rows.to_pylist()
    }
    assert spelled(found) == spelled(model.entities)


async def test_a_tick_computed_twice_is_the_same():
    processors = [systematic([("draw", 1, 0), ("spawn", 2, 1)], 0, is_async=True), framing("add", 0)]
    first, again = [await run(cells(1, 2), processors) for _ in range(2)]
    assert outcome(first) == outcome(again)


async def test_groups_of_one_that_are_tried_again_come_to_what_a_chain_does():
    processors = [framing("add", 0), framing("some", 0), framing("ends", 0)]
    fused = await run_processors(cells(1, -3), processors, context())
    alone = await run(cells(1, -3), processors, [0], [1], [2], retry_policy=RetryPolicy(max_attempts=2))
    assert rows_of(fused.state) == rows_of(alone.state)
    assert outcome(fused)["ended"] == outcome(alone)["ended"]
