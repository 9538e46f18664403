"""Running several coroutines at once, so that none is left behind when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

__all__ = ["gather_or_cancel"]

T = TypeVar("T")


async def gather_or_cancel(runs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Run all at once, and give their results in the order of `runs`.

    At the first error the others are cancelled and awaited, then that error is raised; what they raise
    meanwhile is dropped. The same happens when the caller is cancelled. One alone runs in the caller's task.
    """
    if len(runs) == 1:
        return [await runs[0]()]
    tasks = [asyncio.create_task(run()) for run in runs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            # A second request would interrupt what a task does to clean up after the first.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
