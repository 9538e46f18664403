"""Which commands of a history are wanted, as callers say it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import TICK_MAX
from archetype.log.command import CommandStatus, CommandType
from archetype.service.ranges import require_order
from archetype.store.history import HistoryFilter

__all__ = ["history_filter"]


def history_filter(
    types: Sequence[str] | None = None,
    actor_id: UUID | None = None,
    *,
    from_tick: int | None = None,
    to_tick: int | None = None,
    status: str | None = None,
) -> HistoryFilter:
    """Return the filter for commands of these types, of this actor, in these ticks, that became this.

    None does not restrict. Raises `InvalidInputError` on a type or status that does not exist, with those
    that do, on a tick below 0, and on ticks that end before they begin.
    """
    if types is not None:
        for name in types:
            _check("types", name, CommandType)
    if status is not None:
        _check("status", status, CommandStatus)
    for name, tick in (("from_tick", from_tick), ("to_tick", to_tick)):
        if tick is not None and not 0 <= tick <= TICK_MAX:
            msg = f"must be a tick from 0 to {TICK_MAX}, not {tick}"
            raise InvalidInputError(f"{name} {msg}", faults=[FieldFault(name, msg)])
    require_order(from_tick, to_tick)
    wanted = None if status is None else CommandStatus(status)
    return HistoryFilter(types, actor_id, from_tick, to_tick, wanted)


def _check(field: str, name: str, known: type[CommandStatus | CommandType]) -> None:
    if name not in list(known):
        msg = f"{name!r} is unknown; known are {', '.join(known)}"
        raise InvalidInputError(f"{field}: {msg}", faults=[FieldFault(field, msg)])
