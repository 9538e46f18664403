"""What clients asked and were answered, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

__all__ = ["Entry", "Journal", "Operation", "lasting"]


@dataclass(frozen=True)
class Operation:
    """One request that changes something; `ids` are the commands that it puts into the log of `world_id`."""

    kind: str
    world_id: UUID
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    ids: tuple[UUID, ...]
    tick_count: int = 0


@dataclass
class Entry:
    """An operation with the moments of its first sending and first answer, and that answer."""

    operation: Operation
    sent_at: int
    answered_at: int | None = None
    answer: Any = None

    @property
    def receipts(self) -> list[dict[str, Any]]:
        """What the log said of each command, where the answer tells that."""
        match self.operation.kind:
            case "command":
                return [self.answer]
            case "batch":
                return self.answer
            case _:
                return []


@dataclass
class Journal:
    """The record of all clients. A moment is a number that grows with whatever happens."""

    entries: dict[UUID, Entry] = field(default_factory=dict)
    now: int = 0
    retried_count: int = 0
    _counts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "answered": 0})
    _alarm: tuple[str, int, Callable[[], None]] | None = None

    def sent(self, operation: Operation) -> None:
        """Note that a request goes out; a second time it is a retry."""
        self.now += 1
        if operation.ids[0] not in self.entries:
            self.entries[operation.ids[0]] = Entry(operation, self.now)
        self._count("sent")

    def answered(self, operation: Operation, answer: Any) -> None:
        """Note an answer; one to a retry must be that of the first time."""
        self.now += 1
        entry = self.entries[operation.ids[0]]
        if entry.answered_at is None:
            entry.answered_at, entry.answer = self.now, answer
        else:
            self.retried_count += 1
            assert lasting(operation.kind, answer) == lasting(operation.kind, entry.answer), (
                f"{operation} was answered first with {entry.answer}, and now with {answer}"
            )
        self._count("answered")

    def tell(self) -> int:
        """Return a moment of its own, for what is no operation."""
        self.now += 1
        return self.now

    def at(self, what: str, count: int, do: Callable[[], None]) -> None:
        """Have something done with the `count`-th `sent` or `answered` from now on."""
        self._alarm = (what, self._counts[what] + count, do)

    def _count(self, what: str) -> None:
        self._counts[what] += 1
        if self._alarm is not None and self._alarm[:2] == (what, self._counts[what]):
            (_, _, do), self._alarm = self._alarm, None
            do()

    @property
    def acknowledged(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.answered_at is not None]


_LASTING = {
    "create": ("world_id", "name", "seed"),
    "fork": ("world_id", "name", "parent_id", "fork_tick", "seed"),
    "start": ("run_id", "world_id", "command_id", "ticks_requested"),
}


def lasting(kind: str, answer: Any) -> Any:
    """Return what of an answer must be the same whenever it is asked for again."""
    if isinstance(answer, list):
        return [lasting(kind, each) for each in answer]
    names = _LASTING.get(kind, answer.keys() - {"is_duplicate"})
    return {name: answer[name] for name in names}
