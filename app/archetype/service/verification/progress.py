"""How far a check has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress"]


@dataclass(slots=True)
class Progress:
    """The events and pages that are checked, of how many; `page_count` is None where nobody knows yet."""

    listener: OnProgress | None = None
    events: int = 0
    event_count: int = 0
    pages: int = 0
    page_count: int | None = None

    def advance(self, *, events: int = 0, pages: int = 0) -> None:
        """Count what was checked, and tell whoever listens."""
        self.events += events
        self.pages += pages
        if self.listener is not None:
            self.listener(self)


OnProgress = Callable[[Progress], None]
