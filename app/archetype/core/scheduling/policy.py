"""How a scheduler runs its groups: how many at once, what is tried again, and what becomes of conflicts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from archetype.limits import POLICY_ATTEMPTS_MAX, POLICY_CONCURRENT_MAX, POLICY_S_MAX

__all__ = ["RetryPolicy", "SchedulerConfig"]

Seconds = Annotated[float, Field(ge=0, le=POLICY_S_MAX, allow_inf_nan=False, strict=True)]


class RetryPolicy(BaseModel):
    """What becomes of a processor that raises: it is tried `max_attempts` times in all.

    After the k-th failed attempt it waits for nothing ("none"), base_delay * k ("linear") or
    base_delay * 2**(k - 1) ("exponential") seconds, at most `max_delay`, and up to `jitter` seconds more,
    drawn evenly. An attempt that takes longer than `timeout` seconds has failed. With "fail" the tick fails
    after the last attempt; with "skip" it goes on without the processor's writes, and records the skip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: Annotated[int, Field(ge=1, le=POLICY_ATTEMPTS_MAX, strict=True)] = 1
    backoff: Literal["none", "linear", "exponential"] = "none"
    base_delay: Seconds = 0.1
    max_delay: Seconds | None = None
    jitter: Seconds = 0.0
    timeout: Annotated[float, Field(gt=0, le=POLICY_S_MAX, allow_inf_nan=False, strict=True)] | None = None
    on_exhausted: Literal["fail", "skip"] = "fail"

    @property
    def is_plain(self) -> bool:
        """Whether a processor is run once, for as long as it takes, and fails the tick if it raises."""
        return self.max_attempts == 1 and self.timeout is None and self.on_exhausted == "fail"


class SchedulerConfig(BaseModel):
    """At most `max_concurrent` processors run at once (None: all of a group), under one retry policy.

    `conflicts` says what becomes of a cell that two processors of a group wrote and that no rule combines:
    the last registered writer wins ("resolve"), with a warning ("warn"), or the tick fails ("error").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_concurrent: Annotated[int, Field(ge=1, le=POLICY_CONCURRENT_MAX, strict=True)] | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    conflicts: Literal["resolve", "warn", "error"] = "resolve"
