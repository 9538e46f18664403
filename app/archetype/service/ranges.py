"""Ranges of a world's committed ticks, as callers ask for them."""

from __future__ import annotations

from archetype.errors import FieldFault, InvalidInputError, LimitExceededError, TickNotFoundError
from archetype.limits import RANGE_TICKS_MAX
from archetype.store.worlds import WorldRow

__all__ = ["committed_range", "require_order"]


def require_order(from_tick: int | None, to_tick: int | None) -> None:
    """Raise `InvalidInputError` where a range of ticks ends before it begins; None bounds nothing."""
    if from_tick is not None and to_tick is not None and to_tick < from_tick:
        msg = f"to_tick {to_tick} lies before from_tick {from_tick}"
        raise InvalidInputError(msg, faults=[FieldFault("to_tick", msg)])


def committed_range(
    world: WorldRow,
    from_tick: int | None = None,
    to_tick: int | None = None,
    *,
    is_limited: bool = True,
) -> range:
    """Return the ticks `from_tick` <= t < `to_tick`, by default all that are committed.

    Raises `TickNotFoundError` where they go beyond the committed ones, `InvalidInputError` where they end
    before they begin, and `LimitExceededError` for more than `RANGE_TICKS_MAX`, unless it is not limited.
    """
    ticks = range(0 if from_tick is None else from_tick, world.tick if to_tick is None else to_tick)
    for name, tick in (("from_tick", ticks.start), ("to_tick", ticks.stop)):
        if not 0 <= tick <= world.tick:
            msg = f"{name} {tick} lies outside the committed ticks of world {world.name!r}: 0 to {world.tick}"
            raise TickNotFoundError(msg, tick=tick, committed_tick=world.committed_tick)
    require_order(ticks.start, ticks.stop)
    if is_limited and len(ticks) > RANGE_TICKS_MAX:
        msg = f"{len(ticks)} ticks are asked for, at most {RANGE_TICKS_MAX} are given: set from_tick, to_tick"
        raise LimitExceededError(msg, limit=RANGE_TICKS_MAX, actual=len(ticks))
    return ticks
