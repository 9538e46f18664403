"""Waking readers when the log has grown, whichever process it was that wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self
from uuid import UUID

from archetype.store.database import Database
from archetype.store.feed import moved_since
from archetype.store.listening import counting, listening

__all__ = ["Bell", "Watch"]

SQLITE_POLL_S = 0.25
"""How often a SQLite file is asked whether another process wrote: the only way to know it."""

POSTGRES_POLL_S = 2.0
"""How often PostgreSQL is asked although it sends notices, since a connection may be lost unnoticed."""

RETRY_S = 1.0


class Bell:
    """What one reader waits at; it rings for its world's rows, or for any without a world."""

    def __init__(self, watch: Watch, world_id: UUID | None) -> None:
        self._watch = watch
        self._rung = asyncio.Event()
        self.world_id = world_id
        self.is_closed = False

    def ring(self) -> None:
        """Wake the reader, now or as soon as it waits."""
        self._rung.set()

    def silence(self) -> None:
        """Forget what rang so far; a reader does so before it reads, so that it misses nothing."""
        if not self.is_closed:
            self._rung.clear()

    async def wait(self) -> None:
        """Return once the log may hold more than when `silence` was called."""
        await self._rung.wait()

    def close(self) -> None:
        """Leave the watch, and let nobody wait any more; closing it twice does no harm."""
        self.is_closed = True
        self._rung.set()
        self._watch.leave(self)


class Watch:
    """Rings the bells of those who wait for the log. Without a bell it does nothing.

    One task reads how far the log has come whenever there is reason to: a write of this process, a notice
    of PostgreSQL, a SQLite file that was changed, or the poll's time. However many commits there are
    meanwhile, they are one reading; only the bells of worlds with new rows ring, however many there are.
    A `poll_s` of None is never.
    """

    def __init__(self, database: Database, *, poll_s: float | None, retry_s: float = RETRY_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._bells: set[Bell] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._reason = asyncio.Event()
        self._position: int | None = None
        database.on_write(self._look_again)

    @classmethod
    def over(cls, database: Database) -> Self:
        """Watch a database in the way of its kind."""
        return cls(database, poll_s=SQLITE_POLL_S if database.is_sqlite else POSTGRES_POLL_S)

    @property
    def position(self) -> int | None:
        """How far the log had come when it was last looked at; None while nobody waits."""
        return self._position if self._bells else None

    def join(self, world_id: UUID | None = None) -> Bell:
        """Return a bell for the log, or for one world of it; whoever reads after this misses nothing."""
        bell = Bell(self, world_id)
        self._bells.add(bell)
        if not self._tasks:
            self._start()
        return bell

    def leave(self, bell: Bell) -> None:
        """Take a bell away; with the last one the watching ends."""
        self._bells.discard(bell)
        if not self._bells:
            self._stop()

    async def close(self) -> None:
        """Close all bells, and return when nothing is watched any more."""
        for bell in list(self._bells):
            bell.close()
        if self._ending:
            await asyncio.wait(self._ending)

    def _start(self) -> None:
        self._position, self._reason = None, asyncio.Event()
        hearing = [self._count] if self._database.is_sqlite else [self._listen, self._poll]
        for step in (self._look, *hearing):
            task = asyncio.create_task(self._lasting(step), name="archetype-watch")
            self._tasks.append(task)
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

    async def _lasting(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a step for ever; where the database does not answer, try again until it does."""
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001  each reader meets it by itself, and says what it is
                self._ring(None)
                await asyncio.sleep(self._retry_s)
                self._look_again()

    async def _look(self) -> None:
        """Read how far the log has come and wake whom it concerns, then wait for a reason to look again."""
        self._reason.clear()
        moved = await self._database.read_to_end(lambda connection: moved_since(connection, self._position))
        self._position = moved.position
        self._ring(moved.world_ids)
        await self._reason.wait()

    def _ring(self, world_ids: frozenset[UUID] | None) -> None:
        """Ring for rows of these worlds; None is for whatever there may be."""
        for bell in self._bells:
            if world_ids is None or (
                bool(world_ids) if bell.world_id is None else bell.world_id in world_ids
            ):
                bell.ring()

    async def _listen(self) -> None:
        """Hear PostgreSQL's notices until the connection is lost."""
        async with listening(self._database, self._heard) as lost:
            self._look_again()  # what came before it listened
            await lost.wait()

    def _look_again(self) -> None:
        self._reason.set()

    def _heard(self, position: int) -> None:
        if self._position is None or position > self._position:
            self._look_again()

    async def _poll(self) -> None:
        await self._pause()
        self._look_again()

    async def _count(self) -> None:
        """Compare the counter of a SQLite file; a write of this process changes it too."""
        async with counting(self._database) as count:
            known = await count()
            self._look_again()
            while True:
                await self._pause()
                if (now := await count()) != known:
                    known = now
                    self._look_again()

    async def _pause(self) -> None:
        if self._poll_s is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._poll_s)
