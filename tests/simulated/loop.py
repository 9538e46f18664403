"""An event loop that one seed decides: what runs next, how long things take, and what time it is."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from asyncio import events
from collections.abc import Callable
from contextvars import Context, ContextVar
from enum import Enum
from typing import Any

__all__ = ["PROCESS", "Process", "SimulatedLoop"]

STEPS_MAX = 2_000_000
THREAD_S = (0.0001, 0.02)
"""How long it takes, at least and at most, until a thread has done its call."""


class Condition(Enum):
    """What a process is in a condition to do."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Process:
    """A simulated operating system process: a name that no later one has, and what became of it.

    Whatever is called in its context is its own; while it does not run, that is put aside in `held`.
    """

    def __init__(self, host: str, pid: int) -> None:
        self.host = host
        self.pid = pid
        self.condition = Condition.RUNNING
        self.held: list[asyncio.Handle] = []

    @property
    def identity(self) -> str:
        """The name by which it holds leases."""
        return f"{self.host}:{self.pid}:1:simulated"

    @property
    def is_dead(self) -> bool:
        """Whether it will never do anything again."""
        return self.condition is Condition.DEAD


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process whose code runs just now; None is the world outside: clients and faults."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one ready callback after the other, in an order drawn from `rng`; time passes only when none is.

    Calls that go to a thread are made in the loop, some time later. `on_step` is called before each callback
    with the number of the step.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.problems: list[dict[str, Any]] = []
        self.on_step: Callable[[int], None] | None = None
        self.step_count = 0
        self._now_s = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._is_running = False

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future is done; RuntimeError if nothing can ever end it."""
        task = asyncio.ensure_future(future, loop=self)
        self._is_running = True
        events._set_running_loop(self)
        try:
            while not task.done():
                self._step()
        finally:
            events._set_running_loop(None)
            self._is_running = False
        return task.result()

    def _step(self) -> None:
        while self._timers and (self._timers[0][0] <= self._now_s or not self._ready):
            when, _, timer = heapq.heappop(self._timers)
            self._now_s = max(self._now_s, when)
            if not timer.cancelled():
                self._ready.append(timer)
        if not self._ready or self.step_count >= STEPS_MAX:
            message = f"nothing ends this, after {self.step_count} steps and {self._now_s} s"
            raise RuntimeError(message)
        place = self.rng.randrange(len(self._ready))
        self._ready[place], self._ready[-1] = self._ready[-1], self._ready[place]
        handle = self._ready.pop()
        process = handle._context.get(PROCESS)
        if process is not None and process.condition is not Condition.RUNNING:
            process.held.append(handle)
        elif not handle.cancelled():
            self.step_count += 1
            if self.on_step is not None:
                self.on_step(self.step_count)
            if process is None or process.condition is Condition.RUNNING:
                handle._run()
            else:
                process.held.append(handle)

    async def cancel_others(self) -> None:
        """Cancel every task but the one that asks, until there is none."""
        while others := self._tasks - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    def let_run(self, process: Process) -> None:
        """Let a process that was paused, or is to be tidied up, go on where it was."""
        process.condition = Condition.RUNNING
        self._ready.extend(process.held)
        process.held.clear()

    def time(self) -> float:
        """Return the seconds since the simulation began."""
        return self._now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Let a callback be ready at once."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback be ready after some seconds."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback be ready at a time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over in its turn."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """Make a call in the loop, whichever thread it is meant for, after the time a thread might need."""
        future = self.create_future()

        def call() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001  it belongs to whoever awaits it
                future.set_exception(error)

        self.call_later(self.rng.uniform(*THREAD_S), call)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Make a task."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong where nobody awaited it."""
        self.problems.append(context)

    def get_debug(self) -> bool:
        """Tell that nothing slower is wanted."""
        return False

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Tell that it can always be used."""
        return False
