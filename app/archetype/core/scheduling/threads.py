"""Threads for sync systems and conditions, so that one that blocks holds up no one else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import ClassVar, Generic, TypeVar, cast

__all__ = ["SYNC_SYSTEMS_MAX", "SYSTEMS_LEFT_MAX", "in_thread"]

T = TypeVar("T")

SYNC_SYSTEMS_MAX = 64
"""Sync systems that run at once in one process; the others wait for a thread."""

SYSTEMS_LEFT_MAX = 1_024
"""Sync systems that run on in one process though nobody waits for them any more."""


async def in_thread(call: Callable[[], T], *, may_be_left: bool = False) -> T:
    """Run a call in a thread, in the context of its caller.

    A thread cannot be interrupted: cancelled, this waits until a call that has begun ends, unless it
    `may_be_left` running. One that was left holds up no other. Raises RuntimeError if too many were.
    """
    places = _places()
    if may_be_left and places.left_count >= SYSTEMS_LEFT_MAX:
        msg = f"{SYSTEMS_LEFT_MAX} systems that took longer than their timeouts still run; let them end"
        raise RuntimeError(msg)
    place = await places.taken()
    running = _Running(asyncio.get_running_loop(), call, place)
    running.begin()
    try:
        await running.done
    except asyncio.CancelledError:
        if may_be_left:
            place.leave()
        else:
            await running.ended()
        raise
    return running.outcome()


class _Places:
    """The places of calls that run at once, for all event loops of the process; who waits longest is next."""

    def __init__(self, count: int) -> None:
        self.left_count = 0
        self.lock = threading.Lock()
        self._free_count = count
        self._waiting: deque[_Waiter] = deque()

    async def taken(self) -> _Place:
        """Give a place, as soon as there is one."""
        with self.lock:
            if self._free_count:
                self._free_count -= 1
                return _Place(self)
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiting.append(waiter)
        try:
            await waiter.given
        except asyncio.CancelledError:
            with self.lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                else:
                    self.free()
            raise
        return _Place(self)

    def free(self) -> None:
        """Let the next one have a place; under the lock."""
        while self._waiting:
            waiter = self._waiting.popleft()
            with contextlib.suppress(RuntimeError):  # its loop is closed, and nobody waits
                waiter.loop.call_soon_threadsafe(waiter.give)
                return
        self._free_count += 1


class _Waiter:
    """Somebody who waits for a place."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.given: asyncio.Future[None] = loop.create_future()

    def give(self) -> None:
        """Let it go on, unless it was cancelled meanwhile; on its loop."""
        if not self.given.done():
            self.given.set_result(None)


class _Place:
    """A place that is taken, until its call ends or is left."""

    __slots__ = ("_is_left", "_places")

    def __init__(self, places: _Places) -> None:
        self._places = places
        self._is_left = False

    def leave(self) -> None:
        """Let others have the place of a call that runs on."""
        with self._places.lock:
            self._is_left = True
            self._places.left_count += 1
            self._places.free()

    def end(self) -> None:
        """Let others have the place of a call that has ended."""
        with self._places.lock:
            if self._is_left:
                self._places.left_count -= 1
            else:
                self._places.free()


@functools.cache
def _places() -> _Places:
    return _Places(SYNC_SYSTEMS_MAX)


class _Thread(threading.Thread):
    """Makes one call after the other; a daemon, since a process that ends waits for no call that was left."""

    _idle: ClassVar[deque[_Thread]] = deque()

    def __init__(self) -> None:
        super().__init__(name="archetype-system", daemon=True)
        self._given: SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = SimpleQueue()

    @classmethod
    def idle(cls) -> _Thread:
        """Give a thread that has nothing to do, a new one if there is none."""
        with contextlib.suppress(IndexError):
            return cls._idle.pop()
        thread = cls()
        thread.start()
        return thread

    def take(self, make: Callable[[], None], tell: Callable[[], None]) -> None:
        """Make a call, and then tell of it."""
        self._given.put((make, tell))

    def run(self) -> None:
        """Make what calls come, until there are more idle threads than calls may run at once."""
        is_needed = True
        while is_needed:
            make, tell = self._given.get()
            make()
            is_needed = len(self._idle) < SYNC_SYSTEMS_MAX
            if is_needed:
                self._idle.append(self)  # before anybody is told, who may have the next call
            del make
            tell()
            del tell


class _Running(Generic[T]):
    """A call in a thread, and what the event loop awaits of it.

    The outcome is handed over as it is: a future would not take a StopIteration.
    """

    __slots__ = ("_call", "_error", "_has_ended", "_loop", "_place", "_result", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], T], place: _Place) -> None:
        self._loop = loop
        self._call = call
        self._place = place
        self._result: T | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        self.done: asyncio.Future[None] = loop.create_future()

    def begin(self) -> None:
        """Let a thread make the call."""
        make = functools.partial(contextvars.copy_context().run, self._make)
        try:
            _Thread.idle().take(make, self._tell)
        except RuntimeError:  # there are no more threads to be had
            self._place.end()
            raise

    def outcome(self) -> T:
        """Give what the call gave, or raise what it raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else it would hold itself, through its traceback
        return cast("T", self._result)

    async def ended(self) -> None:
        """Wait until the call has ended, whoever was cancelled meanwhile."""
        if not self._has_ended:
            self.done = self._loop.create_future()
            await self.done

    def _make(self) -> None:
        try:
            self._result = self._call()
        except BaseException as exc:  # noqa: BLE001 (it is raised where the call is awaited)
            self._error = exc

    def _tell(self) -> None:
        self._place.end()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._has_ended = True
        if not self.done.done():
            self.done.set_result(None)
