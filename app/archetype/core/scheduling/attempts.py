"""Trying a processor as often as its policy says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_incrementing,
    wait_none,
    wait_random,
)
from tenacity.wait import wait_base

from archetype.core.context import Timers
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.records import Attempt
from archetype.errors import (
    AccessViolationError,
    ArchetypeError,
    CodeChangedError,
    CodeNotLoadedError,
    ConflictError,
    PlanError,
)

__all__ = ["Attempted", "failures_of", "run_attempts"]

T = TypeVar("T")

_FINAL = (AccessViolationError, ConflictError, PlanError, CodeNotLoadedError, CodeChangedError)
"""Errors of the program, not of the moment: to try again changes nothing, and to skip would hide them."""

_KEPT = "_archetype_failures"


@dataclass(frozen=True, slots=True)
class Attempted(Generic[T]):
    """How a processor went: its result (None if skipped), its failed attempts, the last one's duration."""

    result: T | None
    failures: tuple[Attempt, ...] = ()
    duration_ms: float = 0.0
    is_skipped: bool = False


async def run_attempts(
    once: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    slots: asyncio.Semaphore | None,
    timers: Timers,
) -> Attempted[T]:
    """Await `once()` until it succeeds, at most as often as the policy says; each attempt begins anew.

    A slot is held during an attempt, and its timeout runs from there; neither covers the wait before the
    next one. A processor that works in a thread cannot be stopped there: its timeout ends the wait for it.

    Exhausted, it is skipped, or the last error is raised as it is; `failures_of` gives the attempts that
    led to it. Errors of the program (an access violation, a conflict, a plan, code that is not the
    recorded one), also inside an exception group, and what is no Exception, as cancellation, are raised
    at once.
    """
    tries = _Tries(once, policy.timeout, slots, timers)
    try:
        try:
            result = await tries.run()
        except Exception as exc:
            if policy.max_attempts == 1 or not _is_of_the_moment(exc):
                raise
            result = await _retrying(policy, timers)(_resumed(exc, tries.run))
    except Exception as exc:
        if policy.on_exhausted == "skip" and _is_of_the_moment(exc):
            return Attempted(None, tuple(tries.failures), tries.duration_ms, is_skipped=True)
        vars(exc)[_KEPT] = tuple(tries.failures)
        raise
    return Attempted(result, tuple(tries.failures), tries.duration_ms)


def failures_of(error: BaseException) -> tuple[Attempt, ...]:
    """Give the failed attempts, in order, that ended in an error which `run_attempts` raised."""
    return vars(error).get(_KEPT, ())


class _Tries(Generic[T]):
    """The attempts of one processor: each in a slot, measured, and recorded if it fails."""

    __slots__ = ("_now", "_once", "_slots", "_timeout", "duration_ms", "failures")

    def __init__(
        self,
        once: Callable[[], Awaitable[T]],
        timeout_s: float | None,
        slots: asyncio.Semaphore | None,
        timers: Timers,
    ) -> None:
        self._once = once
        self._timeout = timeout_s
        self._slots = slots
        self._now = timers.now
        self.failures: list[Attempt] = []
        self.duration_ms = 0.0

    async def run(self) -> T:
        """Make one attempt."""
        if self._slots is None:
            return await self._measured()
        async with self._slots:
            return await self._measured()

    async def _measured(self) -> T:
        started = self._now()
        try:
            result = await (self._once() if self._timeout is None else self._in_time(self._timeout))
        except Exception as exc:
            self.duration_ms = (self._now() - started) * 1000
            self.failures.append(Attempt(self.duration_ms, _said(exc)))
            raise
        self.duration_ms = (self._now() - started) * 1000
        return result

    async def _in_time(self, timeout_s: float) -> T:
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                result = await self._once()
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise _too_long(timeout_s) from exc
        if limit.expired():  # it caught the cancellation, and gave something all the same
            raise _too_long(timeout_s)
        return result


def _said(exc: Exception) -> str:
    """Say what an attempt failed of; what becomes of the tick is not known yet."""
    what = exc.details.get("what") if isinstance(exc, ArchetypeError) else None
    said = str(exc)
    return what or (f"{type(exc).__name__}: {said}" if said else type(exc).__name__)


def _too_long(timeout_s: float) -> TimeoutError:
    return TimeoutError(f"The attempt took longer than its timeout of {timeout_s:g} s.")


def _is_of_the_moment(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return isinstance(exc, ExceptionGroup) and exc.subgroup(_FINAL) is None
    return isinstance(exc, Exception) and not isinstance(exc, _FINAL)


def _resumed(failure: Exception, run: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Give `run` with a first call that fails as one before it did, so that this one is counted."""
    failures = [failure]

    async def once() -> T:
        if failures:
            raise failures.pop()
        return await run()

    return once


def _retrying(policy: RetryPolicy, timers: Timers) -> AsyncRetrying:
    return AsyncRetrying(
        sleep=timers.sleep,
        stop=stop_after_attempt(policy.max_attempts),
        wait=_wait(policy),
        retry=retry_if_exception(_is_of_the_moment),
        reraise=True,
    )


def _wait(policy: RetryPolicy) -> wait_base:
    base = policy.base_delay
    cap = float("inf") if policy.max_delay is None else policy.max_delay
    backoff: wait_base
    match policy.backoff:
        case "none":
            backoff = wait_none()
        case "linear":
            backoff = wait_incrementing(start=base, increment=base, max=cap)
        case "exponential":
            backoff = wait_exponential(multiplier=base, max=cap)
    return backoff + wait_random(0, policy.jitter) if policy.jitter else backoff
