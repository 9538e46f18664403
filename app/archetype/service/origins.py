"""From where actors send commands: known before the first of them is accepted, written once a minute."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from archetype.clock import monotonic_s, new_id
from archetype.errors import UnavailableError
from archetype.limits import ORIGINS_KEPT_MAX
from archetype.store import denials as store
from archetype.store.database import Database
from archetype.store.denials import Origin

__all__ = ["NOTED_S", "Origins"]

NOTED_S = 60.0
"""How often an origin that is still in use is written; the view believes it for twice as long."""


class _Noted(NamedTuple):
    origin_id: UUID
    at_s: float


class Origins:
    """Notes each origin durably before a command of it can be accepted, and then once a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[Origin, _Noted] = OrderedDict()
        self._writing = asyncio.Lock()

    async def note(self, origin: Origin) -> None:
        """Note that a command comes from somewhere: a look into a dictionary, and a write once a minute."""
        if self._is_fresh(origin):
            return
        async with self._writing:
            if not self._is_fresh(origin):
                # A database that does not answer accepts no command either.
                with suppress(UnavailableError):
                    await self._write(origin)

    def _is_fresh(self, origin: Origin) -> bool:
        noted = self._known.get(origin)
        return noted is not None and monotonic_s() - noted.at_s < NOTED_S

    async def _write(self, origin: Origin) -> None:
        now_s = monotonic_s()
        noted = self._known.get(origin)
        goes_on = noted is not None and now_s - noted.at_s < 2 * NOTED_S
        origin_id = noted.origin_id if noted is not None and goes_on else new_id()
        await self._database.write(lambda connection: store.note_origin(connection, origin_id, origin))
        self._known[origin] = _Noted(origin_id, now_s)
        self._known.move_to_end(origin)
        while len(self._known) > ORIGINS_KEPT_MAX:
            self._known.popitem(last=False)
