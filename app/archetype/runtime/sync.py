"""The same face for code without async: each call runs on an event loop that the runtime keeps."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from archetype.errors import InvalidInputError
from archetype.runtime.episodes import RolloutHandle
from archetype.runtime.running import RunHandle
from archetype.runtime.world import RuntimeWorld
from archetype.service.ancestry import TreeNode
from archetype.service.rollout_results import RolloutResult
from archetype.service.runs import RunInfo
from archetype.service.verification.faults import VerifyReport
from archetype.store.retention import PageUse

if TYPE_CHECKING:
    from archetype.runtime.runtime import ArchetypeRuntime

__all__ = ["SyncArchetypeRuntime", "SyncRunHandle", "SyncRuntimeWorld"]

T = TypeVar("T")


class _Loop:
    """The event loop that a runtime keeps; it runs while a call is under way."""

    def __init__(self) -> None:
        _require_no_loop()
        self._runner = asyncio.Runner()
        self.is_closed = False

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what a call gives; `InvalidInputError` once the loop is closed, and inside another one."""
        try:
            self._require_open()
        except InvalidInputError:
            call.close()
            raise
        return self._runner.run(call)

    def _require_open(self) -> None:
        _require_no_loop()
        if self.is_closed:
            raise InvalidInputError("the runtime is shut down; make another one")

    def close(self) -> None:
        """End the loop for good."""
        _require_no_loop()
        self.is_closed = True
        self._runner.close()


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = (
        "an event loop is running here, as in a notebook or an async function: use "
        "`async with ArchetypeRuntime() as runtime`, and await its calls"
    )
    raise InvalidInputError(msg)


class SyncArchetypeRuntime:
    """`ArchetypeRuntime` for code without async: a context manager, refused inside an event loop."""

    def __init__(self, runtime: ArchetypeRuntime) -> None:
        self._runtime = runtime
        self._loop = _Loop()

    def world(self, name: str = "world", **options: Any) -> SyncRuntimeWorld:
        """Return a handle on a world; the options are those of `ArchetypeRuntime.world`."""
        return SyncRuntimeWorld(self._runtime.world(name, **options), self._loop)

    def tree(self, *, with_archived: bool = False) -> list[TreeNode]:
        """Return all worlds; see `ArchetypeRuntime.tree`."""
        return self._loop.run(self._runtime.tree(with_archived=with_archived))

    def verify(self, world: str | None = None, *, expect: str | None = None) -> VerifyReport:
        """Check all that is stored, or a world; see `ArchetypeRuntime.verify`."""
        return self._loop.run(self._runtime.verify(world, expect=expect))

    def collect_garbage(self, *, dry_run: bool = False, reason: str | None = None) -> PageUse:
        """Remove the pages that no snapshot refers to, or count them."""
        return self._loop.run(self._runtime.collect_garbage(dry_run=dry_run, reason=reason))

    def resume_runs(self) -> list[SyncRunHandle]:
        """Take up the runs that were cut short; see `ArchetypeRuntime.resume_runs`."""
        return [SyncRunHandle(each, self._loop) for each in self._loop.run(self._runtime.resume_runs())]

    def shutdown(self) -> None:
        """Close the database and the event loop; calling it twice does no harm."""
        if self._loop.is_closed:
            return
        with closing(self._loop):
            self._loop.run(self._runtime.shutdown())

    def __enter__(self) -> Self:
        self._loop.run(self._runtime.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


class SyncRunHandle:
    """`RunHandle` for code without async; the run goes on only while a call of the runtime is under way."""

    def __init__(self, handle: RunHandle, loop: _Loop) -> None:
        self._handle = handle
        self._loop = loop
        self.run_id = handle.run_id

    def info(self) -> RunInfo:
        """Return the run as it is now."""
        return self._loop.run(self._handle.info())

    def wait(self) -> RunInfo:
        """Return the run once it has ended, however it did."""
        return self._loop.run(self._handle.wait())

    def cancel(self, *, reason: str | None = None) -> RunInfo:
        """Let the run end behind the tick that is being computed, and return it as it is now."""
        return self._loop.run(self._handle.cancel(reason=reason))


class SyncRolloutHandle(SyncRunHandle):
    """`RolloutHandle` for code without async."""

    def __init__(self, handle: RolloutHandle, loop: _Loop) -> None:
        super().__init__(handle, loop)
        self._rollout = handle

    def result(self) -> RolloutResult:
        """Return the rollout as it is now, with the episodes that are over."""
        return self._loop.run(self._rollout.result())


class SyncRuntimeWorld:
    """`RuntimeWorld` for code without async: the same methods, which return when they are done."""

    def __init__(self, world: RuntimeWorld, loop: _Loop) -> None:
        self._world = world
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._world, name)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: self._each(value(*args, **kwargs))
        if not inspect.iscoroutinefunction(value):
            return (
                self._wrapped(value) if not callable(value) else lambda *a, **k: self._wrapped(value(*a, **k))
            )

        def run(*args: Any, **kwargs: Any) -> Any:
            plain = {name: self._plain(given) for name, given in kwargs.items()}
            return self._wrapped(self._loop.run(value(*map(self._plain, args), **plain)))

        return run

    def _each(self, values: AsyncGenerator[Any]) -> Iterator[Any]:
        """Go through what comes one by one; the loop runs only while the next one is waited for."""
        try:
            while (value := self._loop.run(anext(values, values))) is not values:
                yield value
        finally:
            self._loop.run(values.aclose())

    def __dir__(self) -> list[str]:
        return dir(self._world)

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, RuntimeWorld):
            return SyncRuntimeWorld(value, self._loop)
        if isinstance(value, RolloutHandle):
            return SyncRolloutHandle(value, self._loop)
        if isinstance(value, RunHandle):
            return SyncRunHandle(value, self._loop)
        if isinstance(value, list) and value and isinstance(value[0], RuntimeWorld):
            return [SyncRuntimeWorld(each, self._loop) for each in cast("list[RuntimeWorld]", value)]
        return value

    @staticmethod
    def _plain(value: Any) -> Any:
        """Take the handle out of a world that is an argument, as of `diff`."""
        return value._world if isinstance(value, SyncRuntimeWorld) else value  # noqa: SLF001  of this class
