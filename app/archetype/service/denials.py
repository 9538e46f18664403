"""Denials are noted at once and written behind the scenes: who knocks can neither slow nor fill anything."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.clock import new_id, utc_now
from archetype.errors import ArchetypeError
from archetype.limits import DENIALS_KEPT_MAX, NAME_CHARACTERS_MAX
from archetype.store import denials as store
from archetype.store.database import Database
from archetype.store.denials import DenialRow

__all__ = ["FLUSH_S", "Denials"]

FLUSH_S = 1.0
"""How long a denial waits for others before all are written together; a crash loses as much."""
_TOGETHER = timedelta(seconds=60)
_BLOCKS = 100


class _Same(NamedTuple):
    """What makes one denial like another."""

    code: str
    reason: str
    actor_id: UUID | None = None
    key_id: str | None = None
    address: str | None = None
    action: str | None = None
    world: str | None = None


@dataclass(slots=True)
class _Counted:
    denial_id: UUID
    same: _Same
    first_at: datetime
    last_at: datetime
    count: int = 1

    def once_more(self, at: datetime) -> None:
        """Count one more; a clock that was set back moves no end before its beginning."""
        self.count += 1
        self.last_at = max(self.last_at, at)

    def row(self) -> DenialRow:
        return DenialRow(
            self.denial_id, *self.same, count=self.count, first_at=self.first_at, last_at=self.last_at
        )


class Denials:
    """Records denials in a table of their own of `rows_max` rows: the oldest make room for new ones."""

    def __init__(self, database: Database, *, rows_max: int) -> None:
        self._database = database
        self._rows_max = rows_max
        self._open: dict[_Same, _Counted] = {}
        self._unwritten: dict[UUID, _Counted] = {}
        self._dropped: _Counted | None = None
        self._stored_count: int | None = None
        self._closing = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None

    def record(
        self,
        code: str,
        reason: str,
        *,
        actor_id: UUID | None = None,
        key_id: str | None = None,
        address: str | None = None,
        action: str | None = None,
        world: str | UUID | None = None,
    ) -> None:
        """Note a denial: no I/O, and the database hears of it a second later.

        `code` is the error's, `reason` a few fixed words with nothing in them that the caller sent: what is
        the same in all of this within a minute is one row, counted. `key_id` must be of a key that exists.
        """
        self._count(_Same(code, reason, actor_id, key_id, address, action, _spelled(world)), utc_now())
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_until_quiet(), name="archetype-denials")

    async def close(self) -> None:
        """Write what is noted, if the database answers."""
        self._closing.set()
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        self._closing.clear()

    async def flush(self) -> None:
        """Write what is noted now, in one transaction; raises what the database raises, and keeps it then."""
        now = utc_now()
        self._open = {same: each for same, each in self._open.items() if now - each.first_at < _TOGETHER}
        unwritten, self._unwritten = self._unwritten, {}
        dropped, self._dropped = self._dropped, None
        if dropped is not None:
            unwritten[dropped.denial_id] = dropped
        rows = [each.row() for each in unwritten.values()]
        if not rows:
            return
        try:
            self._stored_count = await self._database.write(lambda connection: self._write(connection, rows))
        except BaseException:
            self._unwritten = unwritten | self._unwritten
            raise

    def _write(self, connection: Connection, rows: list[DenialRow]) -> int:
        """Write rows, let the oldest go in blocks, and return how many there are at most."""
        store.write_denials(connection, rows)
        known = None if self._stored_count is None else self._stored_count + len(rows)
        if known is not None and known <= self._rows_max:
            return known
        # Counting is slow, so it is done when there may be too many: others write here too.
        stored = store.count_denials(connection)
        if stored <= self._rows_max:
            return stored
        excess = stored - self._rows_max + self._rows_max // _BLOCKS
        store.evict_denials(connection, excess)
        return stored - excess

    def _count(self, same: _Same, at: datetime) -> None:
        counted = self._open.get(same)
        if counted is not None and at - counted.first_at < _TOGETHER:
            counted.once_more(at)
        elif max(len(self._open), len(self._unwritten)) < DENIALS_KEPT_MAX:
            counted = self._open[same] = _Counted(new_id(), same, at, at)
        else:
            self._drop(at)
            return
        self._unwritten[counted.denial_id] = counted

    def _drop(self, at: datetime) -> None:
        if self._dropped is None:
            same = _Same("dropped", "too many that differ at once: only counted")
            self._dropped = _Counted(new_id(), same, at, at)
        else:
            self._dropped.once_more(at)

    async def _flush_until_quiet(self) -> None:
        while self._unwritten or self._dropped is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), FLUSH_S)
            # Where the database does not answer, what is noted waits for it, as far as there is room.
            with suppress(ArchetypeError):
                await self.flush()
            if self._closing.is_set():
                return


def _spelled(world: str | UUID | None) -> str | None:
    """Spell the name that a caller gave, as far as any database can hold it."""
    if world is None or isinstance(world, UUID):
        return None if world is None else str(world)
    cut = world[:NAME_CHARACTERS_MAX]
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut)
