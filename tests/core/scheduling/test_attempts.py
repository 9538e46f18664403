import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.context import Timers
from archetype.core.scheduling import attempts
from archetype.core.scheduling.attempts import failures_of, run_attempts
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.records import Attempt
from archetype.errors import (
    AccessViolationError,
    CodeChangedError,
    CodeNotLoadedError,
    ConflictError,
    PlanError,
    ProcessorError,
)


class Clock:
    """A clock that only its own sleep moves, and that says what was slept."""

    def __init__(self):
        self.time = 0.0
        self.slept = []
        self.timers = Timers(now=lambda: self.time, sleep=self.sleep)

    async def sleep(self, seconds):
        self.slept.append(float(seconds))
        self.time += seconds
        await asyncio.sleep(0)


def tries(clock, *outcomes, takes_s=0.25):
    left = iter(outcomes)

    async def once():
        clock.time += takes_s
        outcome = next(left)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return once


async def run(once, clock, slots=None, **policy):
    return await run_attempts(once, policy=RetryPolicy(**policy), slots=slots, timers=clock.timers)


async def test_a_success_is_measured():
    clock = Clock()
    attempted = await run(tries(clock, "given"), clock)
    assert (attempted.result, attempted.failures, attempted.duration_ms) == ("given", (), 250)
    assert not attempted.is_skipped


async def test_a_plain_policy_needs_no_retrying_at_all(monkeypatch):
    monkeypatch.setattr(attempts, "_retrying", lambda *_: pytest.fail("was asked for"))
    clock = Clock()
    assert (await run(tries(clock, 1), clock)).result == 1


async def test_it_is_tried_until_it_succeeds_and_every_failure_is_recorded():
    clock = Clock()
    once = tries(clock, ValueError("one"), KeyError(), None)
    attempted = await run(once, clock, max_attempts=5, on_exhausted="skip")
    assert attempted.failures == (Attempt(250, "ValueError: one"), Attempt(250, "KeyError"))
    assert attempted.result is None
    assert not attempted.is_skipped
    assert attempted.duration_ms == 250


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_exhausted_it_fails_with_its_own_last_error_which_knows_the_attempts(max_attempts):
    clock = Clock()
    errors = [ValueError(str(index)) for index in range(max_attempts)]
    with pytest.raises(ValueError, match=str(max_attempts - 1)) as caught:
        await run(tries(clock, *errors), clock, max_attempts=max_attempts)
    assert caught.value is errors[-1]
    assert failures_of(caught.value) == tuple(Attempt(250, f"ValueError: {i}") for i in range(max_attempts))
    assert failures_of(ValueError()) == ()


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_exhausted_it_is_skipped_if_the_policy_says_so(max_attempts):
    clock = Clock()
    once = tries(clock, *[OSError("down")] * max_attempts)
    attempted = await run(once, clock, max_attempts=max_attempts, on_exhausted="skip")
    assert attempted.is_skipped
    assert attempted.result is None
    assert attempted.failures == (Attempt(250, "OSError: down"),) * max_attempts
    assert attempted.duration_ms == 250


@pytest.mark.parametrize(
    "error",
    [
        *(
            kind("no")
            for kind in (AccessViolationError, ConflictError, PlanError, CodeNotLoadedError, CodeChangedError)
        ),
        ExceptionGroup("of tasks", [ValueError(), ExceptionGroup("deeper", [AccessViolationError("no")])]),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        BaseExceptionGroup("of tasks", [KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_errors_of_the_program_are_neither_tried_again_nor_skipped(error, max_attempts):
    clock = Clock()
    once = tries(clock, error, "never")

    with pytest.raises(type(error)) as caught:
        await run(once, clock, max_attempts=max_attempts, on_exhausted="skip")
    assert caught.value is error
    assert clock.slept == []


async def test_other_errors_of_a_tick_and_groups_of_them_are_tried_again():
    clock = Clock()
    once = tries(clock, ProcessorError("down"), ExceptionGroup("of tasks", [ValueError()]), "up")
    assert (await run(once, clock, max_attempts=3)).result == "up"


def delay(policy, failed_count):
    factor = {"none": 0, "linear": failed_count, "exponential": 2 ** (failed_count - 1)}[policy.backoff]
    cap = float("inf") if policy.max_delay is None else policy.max_delay
    return min(policy.base_delay * factor, cap)


policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(2, 12),
    backoff=st.sampled_from(["none", "linear", "exponential"]),
    base_delay=st.sampled_from([0, 0.1, 0.25, 3]),
    max_delay=st.sampled_from([None, 0, 0.5, 7]),
    jitter=st.sampled_from([0, 0.5]),
    on_exhausted=st.just("skip"),
)


@given(policies)
def test_delays_follow_the_formulas(policy):
    clock = Clock()
    once = tries(clock, *[ValueError()] * policy.max_attempts)
    attempted = asyncio.run(run_attempts(once, policy=policy, slots=None, timers=clock.timers))
    assert len(attempted.failures) == policy.max_attempts
    assert len(clock.slept) == policy.max_attempts - 1
    for failed_count, slept in enumerate(clock.slept, start=1):
        least = delay(policy, failed_count)
        assert least - 1e-9 <= slept <= least + policy.jitter + 1e-9


async def test_a_slot_is_held_during_an_attempt_but_not_between_two():
    clock, slots = Clock(), asyncio.Semaphore(1)
    log = []

    async def sleep(seconds):
        log.append(f"backoff, slot free: {not slots.locked()}")
        await other_done.wait()

    async def failing():
        log.append(f"attempt, slot free: {not slots.locked()}")
        if len(log) == 1:
            raise ValueError

    async def other():
        log.append("other")
        other_done.set()

    other_done = asyncio.Event()
    timers = Timers(now=lambda: clock.time, sleep=sleep)
    retried = RetryPolicy(max_attempts=2)
    await asyncio.gather(
        run_attempts(failing, policy=retried, slots=slots, timers=timers),
        run_attempts(other, policy=RetryPolicy(), slots=slots, timers=timers),
    )
    assert log[0] == "attempt, slot free: False"
    assert sorted(log[1:3]) == ["backoff, slot free: True", "other"]
    assert log[3:] == ["attempt, slot free: False"]


async def test_no_more_run_at_once_than_there_are_slots():
    clock, slots = Clock(), asyncio.Semaphore(3)
    running, most = set(), []

    def runs(name):
        async def once():
            running.add(name)
            most.append(len(running))
            await asyncio.sleep(0)
            running.discard(name)
            if name % 2:
                raise ValueError

        return once

    policy = RetryPolicy(max_attempts=2, on_exhausted="skip")
    await asyncio.gather(
        *(run_attempts(runs(name), policy=policy, slots=slots, timers=clock.timers) for name in range(10))
    )
    assert max(most) == 3


async def forever():
    await asyncio.Event().wait()


async def stubborn():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "late"


@pytest.mark.parametrize("slow", [forever, stubborn], ids=["stops", "answers late"])
async def test_an_attempt_that_takes_too_long_has_failed(slow):
    clock = Clock()
    turns = itertools.chain([slow], itertools.repeat(tries(clock, "in time")))

    async def once():
        return await next(turns)()

    attempted = await run(once, clock, max_attempts=2, timeout=1e-9)
    assert attempted.result == "in time"
    (failure,) = attempted.failures
    assert failure.error == "TimeoutError: The attempt took longer than its timeout of 1e-09 s."


async def test_a_timeout_error_of_its_own_is_kept():
    clock = Clock()
    error = TimeoutError("from afar")
    with pytest.raises(TimeoutError, match="from afar") as caught:
        await run(tries(clock, error), clock, timeout=1000)
    assert caught.value is error


async def test_cancelled_between_attempts_it_ends_there():
    clock = Clock()
    sleeping = asyncio.Event()

    async def sleep(seconds):
        sleeping.set()
        await asyncio.Event().wait()

    timers = Timers(sleep=sleep)
    policy = RetryPolicy(max_attempts=3, on_exhausted="skip")
    once = tries(clock, ValueError(), "never")
    task = asyncio.create_task(run_attempts(once, policy=policy, slots=None, timers=timers))
    await sleeping.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
