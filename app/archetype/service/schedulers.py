"""The scheduler of a world: what its settings say, and what is built from them."""

from __future__ import annotations

import json
from functools import lru_cache

from archetype.core.scheduling.executor import DEFAULT_SCHEDULER
from archetype.core.scheduling.scheduler import SimpleScheduler, scheduler_from
from archetype.core.scheduling.settings import SchedulerSettings

__all__ = ["build_scheduler", "scheduler_settings"]


@lru_cache(maxsize=256)
def scheduler_settings(config: str) -> SchedulerSettings | None:
    """Read a world's scheduler from its config; None is the default one."""
    recorded = json.loads(config).get("scheduler")
    return None if recorded is None else SchedulerSettings.model_validate(recorded)


def build_scheduler(settings: SchedulerSettings | None) -> SimpleScheduler:
    """Build a recorded scheduler.

    Raises `CodeNotLoadedError` where a custom builder's class is missing, and `CodeChangedError` where its
    code is not the recorded one.
    """
    return DEFAULT_SCHEDULER if settings is None else scheduler_from(settings)
