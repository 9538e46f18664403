"""Listings of the log that take several pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from archetype.limits import PAGE_ENTRIES_MAX

__all__ = ["newest"]


def newest(read: Callable[..., Sequence[Any]], limit: int) -> Iterable[Any]:
    """Return the newest `limit` entries, the newest last, from as many pages as it takes.

    `read` gives a page below a log position: `read(limit=…, before=…)`.
    """
    pages: list[Sequence[Any]] = []
    before: int | None = None
    while limit > 0:
        page = read(limit=min(limit, PAGE_ENTRIES_MAX), before=before)
        if not page:
            break
        pages.append(page)
        limit -= len(page)
        before = page[0]["position"]
    return chain.from_iterable(reversed(pages))
