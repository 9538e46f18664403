"""The access object: how a system reads and writes entities one by one."""

from __future__ import annotations

from archetype.core.context import TickContext
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.writes import Operation
from archetype.core.state import WorldState

__all__ = ["Access"]


class Access:
    """One processor's view of its group's state, and the writes it asks for.

    `name` tells the processor apart in messages; `index` is its place in registration, `ordinal` its place
    among those of its plain name. `operations` are its writes so far, in order.
    """

    def __init__(
        self,
        state: WorldState,
        *,
        name: str,
        index: int,
        ordinal: int,
        rights: Rights,
        context: TickContext,
    ) -> None:
        self._state = state
        self._name = name
        self._index = index
        self._ordinal = ordinal
        self._rights = rights
        self._context = context
        self.operations: list[Operation] = []
