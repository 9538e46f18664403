"""Is it one log? Checks what concurrent clients were told, by its own rules: order, visibility, time.

The log is a list that is only appended to, so a history of it is easy to judge: what was answered before
something else was sent stands before it, every reading is a beginning of the final list, holds all that was
answered before it was asked for, and nothing that was sent after it was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

__all__ = ["Append", "Reading", "check_history"]


@dataclass(frozen=True)
class Append:
    """Something that was put into the list of a world, where its answer says that it stands in the log."""

    world_id: UUID
    id: UUID
    sent_at: int
    answered_at: int
    position: int


@dataclass(frozen=True)
class Reading:
    """A reading of a world's whole list."""

    world_id: UUID
    ids: tuple[UUID, ...]
    sent_at: int
    answered_at: int


def check_history(
    appends: Sequence[Append],
    readings: Sequence[Reading],
    final: dict[UUID, list[UUID]],
    sent_at: dict[UUID, int],
) -> None:
    """Raise `AssertionError` where a history is none of one list.

    `final` is each world's list in the end, `sent_at` when each id was first sent, also of those that were
    never answered.
    """
    _check_real_time(appends)
    for world_id, ids in final.items():
        acknowledged = sorted((each for each in appends if each.world_id == world_id), key=_position)
        known = {each.id for each in acknowledged}
        assert [each.id for each in acknowledged] == [each for each in ids if each in known]
    for reading in readings:
        _check_reading(reading, appends, final[reading.world_id], sent_at)


def _position(append: Append) -> int:
    return append.position


def _check_real_time(appends: Sequence[Append]) -> None:
    """What was answered before another was sent stands before it, in the log of all worlds."""
    answered = sorted(appends, key=lambda each: each.answered_at)
    last, index = 0, 0
    for append in sorted(appends, key=lambda each: each.sent_at):
        while index < len(answered) and answered[index].answered_at < append.sent_at:
            last = max(last, answered[index].position)
            index += 1
        assert append.position > last, f"{append} stands before what was answered earlier, at {last}"


def _check_reading(
    reading: Reading, appends: Sequence[Append], final: list[UUID], sent_at: dict[UUID, int]
) -> None:
    count = len(reading.ids)
    assert list(reading.ids) == final[:count], f"not a beginning of the list: {reading}"
    seen = set(reading.ids)
    for append in appends:
        if append.world_id == reading.world_id and append.answered_at < reading.sent_at:
            assert append.id in seen, f"a reading of {reading.sent_at} misses {append}"
    for each in seen:
        assert sent_at[each] < reading.answered_at, f"{each} was read before it was sent"
