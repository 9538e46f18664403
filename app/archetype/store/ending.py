"""Work that is seen to its end whoever asked for it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["to_end"]

T = TypeVar("T")

_left: set[asyncio.Task[None]] = set()
"""What callers left who were cancelled again while they waited: the loop itself keeps no task alive."""


async def to_end(work: Awaitable[T], *, undone: Callable[[T], Coroutine[Any, Any, None]] | None = None) -> T:
    """Await something to its end, also when the caller is cancelled meanwhile; then it is `undone`.

    Who is cancelled once waits for that end. Who is cancelled again, as the tasks of a server's stream are,
    leaves at once, and the end comes without them. An error behind a caller who is gone is nobody's.
    """
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        ending = asyncio.create_task(_end(future, undone))
        _left.add(ending)
        ending.add_done_callback(_left.discard)
        await asyncio.shield(ending)
        raise


async def _end(future: asyncio.Future[T], undone: Callable[[T], Coroutine[Any, Any, None]] | None) -> None:
    await asyncio.wait([future])
    if not future.cancelled() and future.exception() is None and undone is not None:
        await undone(future.result())
