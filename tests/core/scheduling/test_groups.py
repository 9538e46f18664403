import asyncio
import logging
import threading
from typing import Annotated

import pytest
from daft import col, lit
from pydantic import Field

from archetype.core.combine import Combine, Delta
from archetype.core.component import Component
from archetype.core.context import Timers
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.records import Conflict, IdRange
from archetype.core.scheduling.system import system
from archetype.errors import ConflictError, ProcessorError, TickFailedError
from ticks import column, context, frame_processor, id_source, outcome, rows_of, run, state_of


class GroCell(Component):
    v: float = 0.0


class GroPair(Component):
    a: int = 0
    b: int = 0


class GroSum(Component):
    points: Annotated[int, Combine("sum")] = 0


class GroLines(Component):
    lines: list[str] = Field(default_factory=list)

    def __combine__(self, other):
        return GroLines(lines=self.lines + other.lines)


class GroBroken(Component):
    v: int = 0

    def __combine__(self, other):
        raise ZeroDivisionError("no sum of broken things")


class GroLink(Component):
    to: int = 0


def named(function, name, **options):
    function.__name__ = function.__qualname__ = name
    return system(**options)(function)


def writer(value, name="growrites", *, entity_id=1, **options):
    async def write(access):
        access[entity_id, GroCell] = GroCell(v=float(value))

    return named(write, name, **options)


def failing(times, value=1.0, name="grofails", error=RuntimeError, **options):
    """Give a system that writes, then fails so many times, and then writes a value."""
    calls = []

    async def fail(access):
        calls.append(len(calls))
        access[2, GroCell] = GroCell(v=-1.0)
        access.spawn(GroCell(v=-2.0))
        if len(calls) <= times:
            raise error(f"failure {len(calls)}")
        access.remove(2, GroCell)
        access[1, GroCell] = GroCell(v=value)

    return named(fail, name, **options), calls


def cells(*values):
    return state_of(*[[GroCell(v=float(value))] for value in values])


async def test_all_see_the_state_before_the_group_whatever_finished_first():
    seen, done = [], [asyncio.Event() for _ in range(3)]

    def sees(place, waits_for):
        async def see(access):
            if waits_for is not None:
                await done[waits_for].wait()
            for entity_id, cell in access(GroCell):
                seen.append(cell.v)
                access[entity_id, GroCell] = GroCell(v=cell.v + 10.0**place)
            done[place].set()

        return named(see, f"grosees{place}")

    ran = await run(cells(5), [sees(0, 1), sees(1, 2), sees(2, None)])
    assert seen == [5.0, 5.0, 5.0]
    assert column(ran.state, "grocell__v") == {1: 105.0}
    [conflict] = ran.report.conflicts
    assert conflict.writers == ("grosees0", "grosees1", "grosees2")


async def test_a_frame_and_a_system_of_a_group_see_the_same_state():
    frame = frame_processor(lambda df: {"grocell__v": col("grocell__v") + 1.0}, components=(GroCell,))

    @system()
    def groadds(access):
        access[1, GroCell] = GroCell(v=access[1, GroCell].v + 100.0)

    assert column((await run(cells(5, 6), [groadds, frame])).state, "grocell__v") == {1: 6.0, 2: 7.0}
    assert column((await run(cells(5, 6), [frame, groadds])).state, "grocell__v") == {1: 105.0, 2: 7.0}


@pytest.mark.parametrize("order", [list, lambda group: group[::-1]], ids=["as registered", "reversed"])
async def test_results_apply_in_registration_order_however_a_builder_orders_them(order):
    ran = await run(cells(0), [writer(1), writer(2), writer(3)], order=order)
    assert column(ran.state, "grocell__v") == {1: 3.0}
    assert [each.index for each in ran.report.executions] == [0, 1, 2]


async def test_the_writes_of_an_attempt_that_failed_are_discarded_with_it():
    reserve, asked = id_source()
    culprit, calls = failing(2)
    state = cells(7, 8)
    ran = await run(
        state, [culprit], retry_policy=RetryPolicy(max_attempts=3), here=context(reserve_ids=reserve)
    )
    assert column(ran.state, "grocell__v") == {1: 1.0, 1000: -2.0}
    assert (len(calls), asked) == (3, [1])
    [done] = ran.report.executions
    assert (done.status, done.attempt_count, done.spawned_count) == ("done", 3, 1)
    assert [each.error for each in done.failures] == [
        f"raised RuntimeError: failure {count}" for count in (1, 2)
    ]


async def test_an_attempt_sees_the_groups_state_though_siblings_have_finished():
    seen, sibling_done = [], asyncio.Event()

    @system()
    async def groretries(access):
        seen.append(access[1, GroCell].v)
        if len(seen) == 1:
            await sibling_done.wait()
            raise RuntimeError("again")

    @system()
    async def grosibling(access):
        access[1, GroCell] = GroCell(v=99.0)
        sibling_done.set()

    await run(cells(5), [grosibling, groretries], retry_policy=RetryPolicy(max_attempts=2))
    assert seen == [5.0, 5.0]


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_exhausted_with_skip_the_tick_goes_on_and_records_it(max_attempts):
    policy = RetryPolicy(max_attempts=max_attempts, on_exhausted="skip")
    culprit, calls = failing(99, retry_policy=policy)
    ran = await run(cells(1, 2), [writer(4), culprit, writer(6, entity_id=2)])
    assert column(ran.state, "grocell__v") == {1: 4.0, 2: 6.0}
    assert len(calls) == max_attempts
    skipped = ran.report.executions[1]
    assert (skipped.status, skipped.attempt_count) == ("skipped", max_attempts)
    assert (skipped.cell_count, skipped.spawned_count, ran.report.spawned) == (0, 0, ())
    assert "failure 1" in skipped.failures[0].error
    assert skipped.to_json()["failures"][0]["error"] == skipped.failures[0].error


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_exhausted_with_fail_the_error_has_every_attempt(max_attempts):
    culprit, calls = failing(99)
    with pytest.raises(ProcessorError, match=f"failure {max_attempts}") as caught:
        await run(cells(1, 2), [writer(4), culprit], retry_policy=RetryPolicy(max_attempts=max_attempts))
    attempts = caught.value.details["attempts"]
    assert [f"failure {place}" in each["error"] for place, each in enumerate(attempts, 1)] == [
        True
    ] * max_attempts
    assert len(calls) == max_attempts


async def test_a_faulty_frame_is_an_attempt_too():
    fault = frame_processor(lambda df: df.where(col("entity_id") > 1), name="GroLoses")
    with pytest.raises(ProcessorError, match="lost 1") as caught:
        await run(cells(1, 2), [fault, writer(1)], retry_policy=RetryPolicy(max_attempts=2))
    assert len(caught.value.details["attempts"]) == 2


async def test_a_processors_own_policy_goes_before_the_schedulers():
    own, calls = failing(99, retry_policy=RetryPolicy())
    with pytest.raises(ProcessorError):
        await run(cells(1, 2), [own], retry_policy=RetryPolicy(max_attempts=5, on_exhausted="skip"))
    assert len(calls) == 1


async def test_a_timeout_is_named_and_has_its_attempts():
    @system(retry_policy=RetryPolicy(timeout=0.001, max_attempts=2))
    async def groforever(access):
        await asyncio.Event().wait()

    with pytest.raises(ProcessorError, match=r"groforever .* timeout of 0\.001 s") as caught:
        await run(cells(1), [groforever])
    assert caught.value.details["processor"] == "groforever"
    assert len(caught.value.details["attempts"]) == 2
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_a_backoff_holds_no_slot():
    waiting, may_go, log = asyncio.Event(), asyncio.Event(), []

    async def sleep(seconds):
        log.append(f"waits {seconds}")
        waiting.set()
        await may_go.wait()

    @system()
    async def grobacksoff(access):
        log.append("tries")
        if log.count("tries") == 1:
            raise RuntimeError("again")

    @system()
    async def groruns(access):
        await waiting.wait()
        log.append("runs")
        may_go.set()

    policy = RetryPolicy(max_attempts=2, backoff="linear", base_delay=5.0)
    here = context(timers=Timers(sleep=sleep))
    await run(cells(1), [grobacksoff, groruns], retry_policy=policy, max_concurrent=1, here=here)
    assert log == ["tries", "waits 5.0", "runs", "tries"]


@pytest.mark.parametrize("limit", [1, 2, None])
async def test_no_more_run_at_once_than_the_scheduler_says(limit):
    running, most = 0, 0

    @system()
    async def grocounts(access):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    await run(cells(1), [grocounts] * 6, max_concurrent=limit)
    assert most == (limit or 6)


def half(name, field, value):
    return frame_processor(lambda df: {f"gropair__{field}": lit(value)}, name=name, components=(GroPair,))


async def test_fields_of_one_component_are_no_conflict():
    ran = await run(state_of([GroPair()]), [half("GroA", "a", 1), half("GroB", "b", 2)], conflicts="error")
    assert ran.state.find(1)[1] == {"entity_id": 1, "gropair__a": 1, "gropair__b": 2}
    assert ran.report.conflicts == ()


async def test_conflicts_are_resolved_and_recorded_with_their_group():
    ran = await run(cells(0, 0), [writer(9), writer(1), writer(2), writer(3, entity_id=2)], [0], [1, 2, 3])
    assert ran.report.conflicts == (
        Conflict(
            group=1,
            component="GroCell",
            field=None,
            writers=("growrites#2", "growrites#3"),
            resolution="last",
            winners=("growrites#3",),
            entity_count=1,
            entity_ids=(1,),
        ),
    )
    assert column(ran.state, "grocell__v") == {1: 2.0, 2: 3.0}


async def test_a_warning_names_who_wrote_what(caplog):
    with caplog.at_level(logging.WARNING):
        await run(cells(0), [writer(1), writer(2)], conflicts="warn")
    [record] = caplog.records
    assert record.name.startswith("archetype")
    assert "growrites and growrites#2 wrote GroCell of 1 entity (1)" in record.getMessage()
    caplog.clear()
    await run(cells(0), [writer(1), writer(2)])
    await run(cells(0), [writer(1), writer(2)], conflicts="warn", here=context(skipped=frozenset()))
    assert caplog.records == []


async def test_a_conflict_can_fail_the_tick():
    state = cells(0)
    with pytest.raises(ConflictError, match="growrites#2 and growrites#3 wrote GroCell") as caught:
        await run(state, [writer(5), writer(1), writer(2)], [0], [1, 2], conflicts="error")
    assert caught.value.details["tick"] == 3
    [conflict] = caught.value.details["conflicts"]
    assert (conflict["group"], conflict["writers"]) == (1, ["growrites#2", "growrites#3"])
    assert column(state, "grocell__v") == {1: 0.0}


async def test_what_a_component_says_how_to_combine_never_fails(caplog):
    @system()
    async def groscores(access):
        access[1, GroSum] = GroSum(points=2)
        access[1, GroLines] = GroLines(lines=[access.processor])

    state = state_of([GroSum(points=100), GroLines()])
    for conflicts in ("error", "warn"):
        ran = await run(state, [groscores, groscores], conflicts=conflicts)
        assert ran.state.find(1)[1]["grosum__points"] == 4
        assert ran.state.find(1)[1]["grolines__lines"] == ["groscores", "groscores#2"]
        assert {each.resolution for each in ran.report.conflicts} == {"sum", "combine"}
    assert caplog.records == []


async def test_a_combine_that_raises_fails_the_tick_and_names_the_writers():
    @system()
    async def grobreaks(access):
        access[1, GroBroken] = GroBroken(v=2)

    with pytest.raises(TickFailedError, match=r"grobreaks, grobreaks#2 wrote .* no sum of broken") as caught:
        await run(state_of([GroBroken()]), [grobreaks, grobreaks])
    assert caught.value.details["processors"] == ["grobreaks", "grobreaks#2"]


async def test_a_condition_is_seen_at_its_groups_boundary():
    def is_high(view):
        return view[1, GroCell].v > 5

    late = writer(100, "grolate", entity_id=2, condition=is_high)
    ran = await run(cells(0, 0), [late, writer(9)], [0], [1], checks_conditions=True)
    assert column(ran.state, "grocell__v") == {1: 9.0, 2: 0.0}
    assert [each.status for each in ran.report.executions] == ["condition_false", "done"]
    assert ran.report.executions[0].attempt_count == 0
    ran = await run(cells(0, 0), [late, writer(9)], [1], [0], checks_conditions=True)
    assert column(ran.state, "grocell__v") == {1: 9.0, 2: 100.0}
    assert [each.status for each in ran.report.executions] == ["done", "done"]


@pytest.mark.parametrize("error", [KeyError("odd"), StopIteration("odd")], ids=["error", "stop"])
async def test_a_condition_that_raises_names_its_processor(error):
    def breaks(view):
        raise error

    with pytest.raises(ProcessorError, match=r"growrites has a condition that raised .*odd") as caught:
        await asyncio.wait_for(
            run(cells(0), [writer(1, condition=breaks)], [0], checks_conditions=True), timeout=30
        )
    assert caught.value.details["processor"] == "growrites"


async def test_a_condition_cannot_write():
    def meddles(view):
        view[1, GroCell] = GroCell(v=66.0)
        return True

    with pytest.raises(ProcessorError, match="condition that raised AccessViolationError"):
        await run(cells(0), [writer(1, condition=meddles)], [0], checks_conditions=True)


def spawner(count, name="grospawns"):
    async def spawn(access):
        made = [access.spawn(GroCell(v=float(place)), GroLink()) for place in range(count)]
        if made:
            access[1, GroCell] = GroCell(v=float(count))
            access[made[0], GroLink] = GroLink(to=made[-1])

    return named(spawn, name)


async def test_ids_of_spawns_are_asked_once_a_group_and_given_in_registration_order():
    reserve, asked = id_source(100)
    seen = []

    @system()
    def grosees(access):
        seen.extend(access.entities())

    ran = await run(
        cells(0),
        [spawner(2), spawner(0), spawner(3), grosees, spawner(1)],
        [4],
        [3, 0, 1, 2],
        [],
        here=context(reserve_ids=reserve),
        order=lambda group: group[::-1],
    )
    assert asked == [1, 5]
    assert ran.report.spawned == (IdRange(100, 1), IdRange(101, 5))
    assert ran.report.next_entity_id == 106
    assert column(ran.state, "grocell__v") == {1: 3.0, 100: 0.0} | dict(
        zip(range(101, 106), [0.0, 1.0, 0.0, 1.0, 2.0], strict=True)
    )
    assert column(ran.state, "grolink__to") == {100: 100, 101: 102, 102: 0, 103: 105, 104: 0, 105: 0}
    assert seen == [1, 100]


async def test_a_group_that_spawns_nothing_asks_for_no_ids():
    async def refuse(count):
        raise AssertionError(count)

    await run(cells(0), [writer(1), spawner(0)], here=context(reserve_ids=refuse))


async def test_a_replay_gives_the_same_and_runs_nobody_who_was_skipped():
    culprit, calls = failing(99, retry_policy=RetryPolicy(on_exhausted="skip"))
    processors = [spawner(2), culprit, spawner(1)]
    reserve, _ = id_source(40)
    first = await run(cells(0, 1), processors, [0, 1], [2], here=context(reserve_ids=reserve))
    ranges = iter(first.report.spawned)
    calls.clear()

    async def recorded(count):
        given = next(ranges)
        assert given.count == count
        return given.first

    skipped = frozenset({1})
    again = await run(
        cells(0, 1), processors, [0, 1], [2], here=context(reserve_ids=recorded, skipped=skipped)
    )
    assert rows_of(again.state) == rows_of(first.state)
    assert again.report.spawned == first.report.spawned
    assert calls == []
    assert [each.status for each in again.report.executions] == ["done", "skipped", "done"]


async def test_a_replay_does_not_skip_what_was_not_skipped_then():
    culprit, _ = failing(99, retry_policy=RetryPolicy(on_exhausted="skip"))
    with pytest.raises(ProcessorError, match="failure 1"):
        await run(cells(0, 1), [culprit], here=context(skipped=frozenset()))


async def test_executions_say_what_each_processor_did():
    @system()
    def grobusy(access):
        access.destroy(1)
        access[2, GroCell] = GroCell(v=5.0)
        access.spawn(GroCell())
        access.spawn(GroCell())

    frame = frame_processor(lambda df: {"grocell__v": lit(1.0)}, name="GroFrame", components=(GroPair,))
    ends = frame_processor(lambda df: {"is_active": col("entity_id") != 3}, name="GroEnds")
    late = writer(1, "grolate")
    state = state_of([GroCell()], [GroCell()], [GroCell()], [GroCell(), GroPair()])
    ran = await run(state, [frame, grobusy, late, ends])
    spelled = outcome(ran)["executions"]
    base = {"group": 0, "status": "done", "attempts": 1, "archetypes": 2, "rows": 4, "cells": 0}
    assert spelled == [
        base | {"index": 0, "processor": "GroFrame", "archetypes": 1, "rows": 1, "cells": 1},
        base | {"index": 1, "processor": "grobusy", "cells": 1, "spawned": 2, "ended": 1},
        base | {"index": 2, "processor": "grolate", "dropped": 1},
        base | {"index": 3, "processor": "GroEnds", "ended": 1},
    ]


async def test_durations_are_by_the_contexts_clock():
    seconds = iter(range(100))
    here = context(timers=Timers(now=lambda: float(next(seconds))))
    ran = await run(cells(0), [writer(1)], here=here)
    assert ran.report.executions[0].to_json()["ms"] == 1000.0


async def test_a_table_that_nobody_wrote_to_stays_the_same_object():
    state = state_of([GroCell()], [GroCell(), GroPair()])
    ran = await run(state, [writer(1), spawner(0)])
    kept = [any(each is before for before in state) for each in ran.state]
    assert sorted(kept) == [False, True]
    assert (await run(state, [spawner(0)] * 2)).state is state


async def test_deltas_of_systems_fold_onto_the_base():
    @system()
    def grodelta(access):
        access.update(1, Delta(GroSum(points=1)))

    ran = await run(state_of([GroSum(points=10)]), [grodelta, grodelta], conflicts="error")
    assert column(ran.state, "grosum__points") == {1: 12}


async def test_sync_ones_hold_slots_too():
    running, most, lock = 0, 0, threading.Lock()

    @system()
    def grocounts(access):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    await run(cells(1), [grocounts] * 6, max_concurrent=1)
    assert most == 1
