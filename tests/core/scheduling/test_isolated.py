import asyncio
import threading

import pytest
from daft import col, lit

from archetype.core.component import Component
from archetype.core.processor import AsyncProcessor
from archetype.core.scheduling import threads
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.frames import Frames
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.results import SystemResult
from archetype.core.scheduling.system import system
from archetype.core.scheduling.threads import SYNC_SYSTEMS_MAX
from archetype.errors import AccessViolationError, ProcessorError
from ticks import column, context, frame_processor, id_source, run, state_of


class IsoCell(Component):
    v: float = 0.0


class IsoSecret(Component):
    w: float = 0.0


def cells(*values):
    return state_of(*[[IsoCell(v=float(value))] for value in values])


async def test_a_sync_system_does_not_hold_up_the_loop():
    may_go, order = threading.Event(), []

    @system()
    def isosync(access):
        order.append("sync begins")
        assert may_go.wait(30)
        order.append("sync ends")

    @system()
    async def isoasync(access):
        while "sync begins" not in order:
            await asyncio.sleep(0)
        order.append("async went on")
        may_go.set()

    await run(cells(1), [isosync, isoasync])
    assert order == ["sync begins", "async went on", "sync ends"]


async def test_sync_systems_of_a_group_run_at_once():
    together = threading.Barrier(5)

    @system()
    def isomeets(access):
        together.wait(30)

    await run(cells(1), [isomeets] * 5)


async def test_a_sync_system_sees_the_context_of_its_caller():
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    seen = []

    @system()
    def isoreads(access):
        seen.append(variable.get())
        variable.set("changed")

    await run(cells(1), [isoreads])
    assert (seen, variable.get()) == (["set"], "set")


def two_results(access):
    result = SystemResult()
    made = result.record_spawn(IsoCell(v=5.0))
    result.record_update(made, IsoSecret(w=6.0))
    result.record_update(1, IsoCell(v=9.0))
    result.record_remove(2, IsoCell)
    return result


RETURNED = {
    "nothing": (lambda access: None, {1: 1.0, 2: 2.0}),
    "by type": (lambda access: {1: {IsoCell: IsoCell(v=9.0)}}, {1: 9.0, 2: 2.0}),
    "by entity": (lambda access: {1: IsoCell(v=9.0)}, {1: 9.0, 2: 2.0}),
    "listed by entity": (lambda access: {1: [IsoCell(v=9.0)]}, {1: 9.0, 2: 2.0}),
    "pairs": (lambda access: [(1, IsoCell(v=9.0)), (2, IsoCell(v=8.0))], {1: 9.0, 2: 8.0}),
    "result": (two_results, {1: 9.0, 1000: 5.0}),
}


@pytest.mark.parametrize("shape", RETURNED)
@pytest.mark.parametrize("kind", ["sync", "async", "awaitable"])
async def test_what_a_system_returns_is_written(shape, kind):
    give, expected = RETURNED[shape]

    async def later(access):
        await asyncio.sleep(0)
        return give(access)

    def isoreturns(access):
        return give(access) if kind == "sync" else later(access)

    if kind == "async":

        async def isoreturns(access):
            return await later(access)

    ran = await run(cells(1, 2), [system()(isoreturns)])
    assert column(ran.state, "isocell__v") == expected


async def test_returned_writes_come_after_those_through_the_access_object():
    @system()
    def isoboth(access):
        access[1, IsoCell] = IsoCell(v=3.0)
        return {1: IsoCell(v=4.0)}

    assert column((await run(cells(1), [isoboth])).state, "isocell__v") == {1: 4.0}


FAULTS = {
    "shape": (lambda access: 7, "TypeError: System isofails returned int"),
    "error": (lambda access: 1 / 0, "raised ZeroDivisionError: division by zero"),
    "stop": (lambda access: next(iter(())), "raised StopIteration"),
    "unknown": (lambda access: access[77, IsoCell], "Entity 77 is not active"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_sync_system_is_named(fault):
    fail, message = FAULTS[fault]

    def isofails(access):
        return fail(access)

    with pytest.raises(ProcessorError, match=message) as caught:
        await asyncio.wait_for(run(cells(1), [system()(isofails)]), 30)
    assert caught.value.details["processor"] == "isofails"
    assert caught.value.details["tick"] == 3
    assert caught.value.__cause__ is not None


async def test_random_numbers_are_the_same_in_each_attempt_and_others_for_others():
    drawn = {}

    def drawing(name):
        @system()
        def isodraws(access):
            drawn.setdefault(name, []).append(access.rng.random())
            if len(drawn[name]) < 3:
                raise RuntimeError("again")

        return isodraws

    twins = [drawing("first"), drawing("second")]
    await run(cells(1), twins, retry_policy=RetryPolicy(max_attempts=3))
    assert [len(set(each)) for each in drawn.values()] == [1, 1]
    assert drawn["first"][0] != drawn["second"][0]


VIOLATIONS = {
    "read": (lambda access: access[1, IsoSecret], "read"),
    "query": (lambda access: access(IsoCell, IsoSecret), "read"),
    "write": (lambda access: access.update(1, IsoCell(v=1.0)), "write"),
    "spawn": (lambda access: access.spawn(IsoSecret()), "write"),
    "remove": (lambda access: access.remove(1, IsoCell), "write"),
    "destroy": (lambda access: access.destroy(1), "write"),
    "returned": (lambda access: {1: IsoCell(v=1.0)}, "write"),
}


@pytest.mark.parametrize("what", VIOLATIONS)
@pytest.mark.parametrize("swallows", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_violation_ends_the_tick_and_is_neither_retried_nor_skipped(what, swallows, is_async):
    violate, access_kind = VIOLATIONS[what]
    went = []

    def isoviolates(access):
        went.append("begins")
        try:
            return violate(access)
        except AccessViolationError:
            went.append("raised at the access")
            if not swallows:
                raise

    async def later(access):
        return isoviolates(access)

    declared = system(
        reads=(IsoCell,), writes=(), retry_policy=RetryPolicy(max_attempts=3, on_exhausted="skip")
    )
    culprit = declared(later if is_async else isoviolates)
    with pytest.raises(AccessViolationError) as caught:
        await run(state_of([IsoCell(), IsoSecret()]), [culprit])
    component = "IsoSecret" if what in {"read", "query", "spawn"} else "IsoCell"
    assert caught.value.details["component"] == component
    assert (caught.value.details["processor"], caught.value.details["access"]) == (culprit.name, access_kind)
    assert len(caught.value.details["attempts"]) == 1
    assert went == ["begins"] + ["raised at the access"] * (what != "returned")


async def test_a_violation_counts_even_where_another_error_follows_it():
    @system(reads=(IsoCell,), retry_policy=RetryPolicy(max_attempts=3, on_exhausted="skip"))
    def isohides(access):
        try:
            access[1, IsoSecret]
        except AccessViolationError:
            raise ValueError("something else") from None

    with pytest.raises(AccessViolationError, match="isohides may not read IsoSecret"):
        await run(state_of([IsoCell(), IsoSecret()]), [isohides])


async def test_a_sync_sibling_of_one_that_fails_is_waited_for():
    begun, may_end, ended = threading.Event(), threading.Event(), []

    @system()
    def isolasts(access):
        begun.set()
        may_end.wait(30)
        ended.append(True)

    @system()
    async def isobreaks(access):
        while not begun.is_set():
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(may_end.set)
        raise RuntimeError("broken")

    with pytest.raises(ProcessorError, match="broken"):
        await run(cells(1), [isolasts, isobreaks])
    assert ended == [True]


async def test_an_async_sibling_of_one_that_fails_is_cancelled_and_awaited():
    log = []

    @system()
    async def isowaits(access):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("cleaned up")

    @system()
    async def isobreaks(access):
        raise RuntimeError("broken")

    with pytest.raises(ProcessorError, match="broken"):
        await run(cells(1), [isowaits, isobreaks])
    assert log == ["cleaned up"]


async def test_cancelled_a_tick_waits_for_its_threads():
    begun, may_end, ended = threading.Event(), threading.Event(), []

    @system()
    def isolasts(access):
        begun.set()
        may_end.wait(30)
        ended.append(True)

    task = asyncio.create_task(run(cells(1), [isolasts]))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_system_with_a_timeout_may_be_left_running_and_what_it_writes_then_is_nobodys():
    may_end, ended = threading.Event(), threading.Event()

    @system(retry_policy=RetryPolicy(timeout=0.001, on_exhausted="skip"))
    def isolate(access):
        may_end.wait(30)
        access[1, IsoCell] = IsoCell(v=99.0)
        ended.set()

    ran = await run(cells(1), [isolate])
    assert not ended.is_set()
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 30)
    assert column(ran.state, "isocell__v") == {1: 1.0}
    assert ran.report.executions[0].status == "skipped"


@pytest.fixture
def hanging():
    """A system that hangs until the test ends, what ends it, and whether it has begun."""
    may_end, begun = threading.Event(), []

    @system(retry_policy=RetryPolicy(timeout=0.001, on_exhausted="skip"))
    def isohangs(access):
        begun.append(True)
        may_end.wait(30)

    yield isohangs, may_end, begun
    may_end.set()


async def test_systems_that_hang_hold_up_no_other(hanging):
    """Whoever gave up on one has given its place back, for sync systems and conditions of the process."""
    isohangs, may_end, _ = hanging

    @system(condition=lambda view: True)
    def isofine(access):
        access[1, IsoCell] = IsoCell(v=2.0)

    ran = await run(cells(1), [isohangs] * (2 * SYNC_SYSTEMS_MAX))
    assert {each.status for each in ran.report.executions} == {"skipped"}
    ran = await run(cells(1), [isofine], checks_conditions=True)
    assert column(ran.state, "isocell__v") == {1: 2.0}
    assert not may_end.is_set()


async def test_too_many_systems_that_hang_are_refused(hanging, monkeypatch):
    isohangs, _, begun = hanging
    monkeypatch.setattr(threads, "SYSTEMS_LEFT_MAX", 0)
    ran = await run(cells(1), [isohangs])
    (failure,) = ran.report.executions[0].failures
    assert "took longer than their timeouts still run" in failure.error
    assert not begun


async def test_a_system_that_waits_for_a_thread_is_cancelled_without_having_begun():
    may_end, begun, ended = threading.Event(), [], []

    @system()
    def isoholds(access):
        begun.append(True)
        may_end.wait(30)
        ended.append(True)

    @system()
    def isowaits(access):
        raise AssertionError("it has begun")

    holding = asyncio.create_task(run(cells(1), [isoholds] * SYNC_SYSTEMS_MAX))
    while len(begun) < SYNC_SYSTEMS_MAX:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(run(cells(1), [isowaits]))
    for _ in range(100):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not ended
    may_end.set()
    await holding
    assert len(ended) == SYNC_SYSTEMS_MAX


async def test_more_systems_than_there_are_threads_all_run():
    numbers = []

    @system()
    def isocounts(access):
        numbers.append(len(numbers))

    await run(cells(1), [isocounts] * (3 * SYNC_SYSTEMS_MAX))
    assert len(numbers) == 3 * SYNC_SYSTEMS_MAX


ENDS = {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("where", ["sync", "async", "frame", "condition"])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_what_ends_a_process_elsewhere_fails_a_tick_and_is_named(how, where, is_alone):
    def ends(_):
        raise ENDS[how]

    @system()
    def isoends(access):
        ends(access)

    if where == "async":

        @system()
        async def isoends(access):
            ends(access)

    elif where == "condition":

        @system(condition=ends)
        def isoends(access):
            pass

    culprit = frame_processor(ends, name="isoends") if where == "frame" else isoends
    if is_alone and where == "frame":
        runs = run_processors(cells(1), [culprit], context())
    else:
        runs = run(cells(1), [culprit] if is_alone else [culprit, adding(1)], checks_conditions=True)
    with pytest.raises(ProcessorError, match=rf"isoends .*raised {type(ENDS[how]).__name__}") as caught:
        await runs
    assert caught.value.details["processor"] == "isoends"


def counted_queries(monkeypatch):
    """Count the queries by which expressions are evaluated, by how many each evaluates."""
    counts, evaluated = [], Frames.evaluated

    def counting(self, df, columns, use):
        counts.append(len(columns.keys() - {"entity_id"}))
        return evaluated(self, df, columns, use)

    monkeypatch.setattr(Frames, "evaluated", counting)
    return counts


def adding(amount, name="IsoAdds", **declared):
    declared = {"components": (IsoCell,)} | declared
    return frame_processor(lambda df: {"isocell__v": col("isocell__v") + amount}, name=name, **declared)


async def test_expressions_of_a_group_are_evaluated_in_one_query_for_each_archetype(monkeypatch):
    counts = counted_queries(monkeypatch)
    state = state_of([IsoCell(v=1.0)], [IsoCell(v=2.0), IsoSecret()])
    ran = await run(state, [adding(amount) for amount in (1, 10, 100)])
    assert counts == [3, 3]
    assert column(ran.state, "isocell__v") == {1: 101.0, 2: 102.0}


async def test_those_who_see_other_components_have_a_query_of_their_own(monkeypatch):
    counts = counted_queries(monkeypatch)
    narrow = adding(100, reads=(IsoCell,), writes=(IsoCell,))
    ran = await run(state_of([IsoCell(v=1.0), IsoSecret()]), [adding(1), narrow, adding(10)])
    assert sorted(counts) == [1, 2]
    assert column(ran.state, "isocell__v") == {1: 11.0}


async def test_with_a_retry_each_processor_evaluates_its_own(monkeypatch):
    counts = counted_queries(monkeypatch)
    await run(cells(1), [adding(1), adding(2)], retry_policy=RetryPolicy(max_attempts=2))
    assert counts == [1, 1]


async def test_a_failing_expression_is_named_among_good_ones():
    culprit = frame_processor(lambda df: {"isocell__v": col("nowhere")}, name="IsoCulprit")
    with pytest.raises(ProcessorError, match="nowhere") as caught:
        await run(cells(1), [adding(1), culprit, adding(2)])
    assert caught.value.details["processor"] == "IsoCulprit"
    assert caught.value.details["archetype"] == "IsoCell"
    [attempt] = caught.value.details["attempts"]
    assert attempt["error"].startswith("ProcessorError: Processor IsoCulprit failed on IsoCell at tick 3")


async def test_a_hidden_column_in_an_expression_is_an_attempt_too():
    rights = {"reads": (), "writes": (IsoCell,)}
    peeks = frame_processor(lambda df: {"isocell__v": col("isosecret__w")}, name="IsoPeeks", **rights)
    with pytest.raises(AccessViolationError, match="IsoPeeks may not read IsoSecret") as caught:
        await run(state_of([IsoCell(), IsoSecret()]), [peeks, peeks])
    assert len(caught.value.details["attempts"]) == 1


async def test_a_failing_expression_is_tried_again_where_the_policy_says_so():
    calls = []

    def process(df):
        calls.append(1)
        return {"isocell__v": col("nowhere") if len(calls) < 3 else lit(7.0)}

    ran = await run(cells(1), [frame_processor(process)], retry_policy=RetryPolicy(max_attempts=3))
    assert column(ran.state, "isocell__v") == {1: 7.0}
    assert len(ran.report.executions[0].failures) == 2


async def test_a_frame_processor_runs_on_the_archetypes_that_have_its_components():
    seen = []

    class IsoMatches(AsyncProcessor):
        components = (IsoSecret,)

        async def process(self, df, *, tick, factor):
            seen.append((df.column_names, tick, factor))
            return {"isosecret__w": col("isosecret__w") + factor}

    state = state_of([IsoCell()], [IsoCell(), IsoSecret(w=1.0)], [IsoSecret(w=2.0)])
    ran = await run(state, [IsoMatches(), adding(1)], here=context(inputs={"factor": 5.0}))
    assert column(ran.state, "isosecret__w") == {2: 6.0, 3: 7.0}
    assert [each[1:] for each in seen] == [(3, 5.0)] * 2
    assert ran.report.executions[0].archetype_count == 2
    assert ran.report.executions[0].row_count == 2


async def test_what_a_frame_returns_must_be_a_frame_or_a_mapping():
    with pytest.raises(ProcessorError, match="returned int, not a Daft DataFrame nor a mapping"):
        await run(cells(1), [frame_processor(lambda df: 7), adding(1)])


async def test_spawns_of_a_system_are_known_by_their_real_ids():
    reserve, asked = id_source(50)

    @system()
    def isospawns(access):
        made = access.spawn(IsoCell(v=1.0))
        access[made, IsoCell] = IsoCell(v=2.0)
        access.destroy(access.spawn(IsoCell(v=3.0)))

    ran = await run(cells(), [isospawns], here=context(reserve_ids=reserve))
    assert (column(ran.state, "isocell__v"), asked) == ({50: 2.0}, [2])
