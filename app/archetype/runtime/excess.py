"""Verbs that tell the record of denials where their actor went beyond a quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from archetype.errors import QuotaExceededError

__all__ = ["telling_excess"]

Tell = Callable[[Any, QuotaExceededError], Awaitable[None]]


def telling_excess(verb: Callable[..., Awaitable[Any]], tell: Tell) -> Callable[..., Awaitable[Any]]:
    """Return a verb of a handle that hands such an error to `tell` with the handle, and raises it."""

    @wraps(verb)
    async def told(handle: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await verb(handle, *arguments, **options)
        except QuotaExceededError as error:
            await tell(handle, error)
            raise

    return told
