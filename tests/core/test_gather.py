import asyncio

import pytest

from archetype.core.gather import gather_or_cancel


def gives(value, *, after=0):
    async def run():
        for _ in range(after):
            await asyncio.sleep(0)
        if isinstance(value, BaseException):
            raise value
        return value

    return run


def waits(log, name, *, cleaning=0, then=None):
    async def run():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append(f"{name} stops")
            for _ in range(cleaning):
                await asyncio.sleep(0)
            log.append(f"{name} stopped")
            if then is not None:
                raise then from None
            raise

    return run


async def test_results_are_in_the_order_given_whatever_finishes_first():
    assert await gather_or_cancel([gives(1, after=3), gives(2), gives(3, after=1)]) == [1, 2, 3]
    assert await gather_or_cancel([]) == []
    assert await gather_or_cancel([gives(7)]) == [7]


@pytest.mark.parametrize(
    "error", [ValueError("first"), asyncio.CancelledError("first")], ids=["error", "cancelled"]
)
async def test_at_an_error_the_others_are_cancelled_and_awaited(error):
    log = []
    runs = [waits(log, "a", cleaning=5), gives(error, after=2), waits(log, "b", then=KeyError("later"))]
    with pytest.raises(type(error), match="first"):
        await gather_or_cancel(runs)
    assert sorted(log) == ["a stopped", "a stops", "b stopped", "b stops"]


async def test_a_cancelled_caller_waits_for_what_it_started_and_interrupts_no_cleaning_up():
    log = []
    task = asyncio.create_task(gather_or_cancel([waits(log, "a", cleaning=5), waits(log, "b")]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(log) == ["a stopped", "a stops", "b stopped", "b stops"]


async def test_one_alone_runs_in_its_callers_task():
    async def run():
        return asyncio.current_task()

    assert await gather_or_cancel([run]) == [asyncio.current_task()]
