"""Running one processor on a group's state, so that what it wrote can be folded with what others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from archetype.core.context import TickContext
from archetype.core.gather import gather_or_cancel
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.column_writes import (
    ColumnValues,
    FrameWrites,
    evaluated,
    frame_writes,
    mapping_writes,
)
from archetype.core.scheduling.frames import Frames, GroupFrames, said
from archetype.core.scheduling.plan import SystemDescriptor
from archetype.core.scheduling.results import operations_of
from archetype.core.scheduling.system import System
from archetype.core.scheduling.writes import ColumnWrite, Output
from archetype.core.state import Int64s, WorldState
from archetype.errors import ProcessorError, TickFailedError

__all__ = ["Ran", "joined", "run_isolated"]

T = TypeVar("T")

SYNC_SYSTEMS_MAX = 64
"""Sync systems that run at once in one process; the others wait for a thread."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Columns that a processor gave as expressions, to be evaluated with those of its group in one query."""

    frames: Frames
    df: Any
    listed: Sequence[ColumnValues]


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What one processor did: its writes so far, and those that wait to be evaluated."""

    system: SystemDescriptor
    output: Output
    archetype_count: int
    row_count: int
    waiting: Mapping[bytes, Waiting]


async def run_isolated(
    system: SystemDescriptor, group: GroupFrames, *, may_wait: bool = False, may_be_left: bool = False
) -> Ran:
    """Run one processor on its group's state, which nothing changes meanwhile.

    With `may_wait` columns given as expressions are left for `joined` to evaluate. A sync system that
    `may_be_left` runs on when this is cancelled; what it writes then is nobody's. Raises ProcessorError and
    AccessViolationError.
    """
    if not system.is_frame:
        return await _run_system(system, group.state, group.context, may_be_left=may_be_left)
    tables = [table for table in group.state if table.archetype.covers(system.component_names)]
    runs = [functools.partial(_run_frame, system, group.of(table, system.rights)) for table in tables]
    found = await gather_or_cancel(runs)
    waiting = {
        table.archetype.archetype_id: each
        for table, each in zip(tables, found, strict=True)
        if isinstance(each, Waiting)
    }
    writes = {
        table.archetype.archetype_id: each
        for table, each in zip(tables, found, strict=True)
        if isinstance(each, FrameWrites)
    }
    rows = sum(table.row_count for table in tables)
    ran = Ran(system, _output(system, writes), len(tables), rows, waiting)
    return ran if may_wait or not waiting else (await joined([ran]))[0]


async def joined(runs: Sequence[Ran]) -> list[Ran]:
    """Evaluate what waits in all of a group's runs: one query for each archetype."""
    by_archetype: dict[bytes, list[Ran]] = {}
    for ran in runs:
        for archetype_id in ran.waiting:
            by_archetype.setdefault(archetype_id, []).append(ran)
    if not by_archetype:
        return list(runs)
    queries = [functools.partial(_joined_on, key, members) for key, members in by_archetype.items()]
    written: dict[int, dict[bytes, FrameWrites]] = {}
    for key, members, found in zip(
        by_archetype, by_archetype.values(), await gather_or_cancel(queries), strict=True
    ):
        for ran, writes in zip(members, found, strict=True):
            written.setdefault(ran.system.index, {})[key] = writes
    return [
        Ran(
            ran.system,
            _output(ran.system, written[ran.system.index], ran.output) if ran.waiting else ran.output,
            ran.archetype_count,
            ran.row_count,
            {},
        )
        for ran in runs
    ]


async def _joined_on(archetype_id: bytes, members: Sequence[Ran]) -> list[FrameWrites]:
    """Evaluate columns of one archetype; those who see the same components share a query."""
    found: dict[int, FrameWrites] = {}
    by_columns: dict[tuple[str, ...], list[Ran]] = {}
    for ran in members:
        by_columns.setdefault(tuple(ran.waiting[archetype_id].frames.names), []).append(ran)
    for alike in by_columns.values():
        first = alike[0].waiting[archetype_id]
        returned = [(ran.system, ran.waiting[archetype_id].listed) for ran in alike]
        writes = await evaluated(first.frames, first.df, returned)
        found |= {ran.system.index: each for ran, each in zip(alike, writes, strict=True)}
    return [found[ran.system.index] for ran in members]


async def _run_frame(system: SystemDescriptor, frames: Frames) -> FrameWrites | Waiting:
    df = frames.first
    returned = await frames.call(system, df)
    if returned is df:
        return FrameWrites()
    if isinstance(returned, Mapping):
        return Waiting(frames, df, mapping_writes(frames, system, returned))
    use = functools.partial(frame_writes, frames, system)
    return await frames.collected(system, cast("Any", returned), use)


def _output(
    system: SystemDescriptor, writes: Mapping[bytes, FrameWrites], before: Output | None = None
) -> Output:
    columns: list[ColumnWrite] = list(before.columns) if before is not None else []
    ended: dict[bytes, Int64s] = dict(before.ended) if before is not None else {}
    for archetype_id, each in writes.items():
        columns.extend(each.columns)
        if each.ended is not None and len(each.ended):
            ended[archetype_id] = each.ended
    return Output(system.index, system.name, columns, ended)


async def _run_system(
    system: SystemDescriptor, state: WorldState, context: TickContext, *, may_be_left: bool
) -> Ran:
    processor = cast("System", system.processor)
    access = Access(
        state,
        name=system.name,
        index=system.index,
        ordinal=system.ordinal,
        rights=system.rights,
        context=context,
    )
    try:
        if processor.is_async:
            returned = await processor.run(access)
        else:
            returned = await in_thread(functools.partial(processor.run, access), may_be_left=may_be_left)
            if inspect.isawaitable(returned):
                returned = await returned
        operations = operations_of(access, returned)
    except TickFailedError:
        raise
    except Exception as exc:
        if access.violation is not None:
            raise access.violation from exc
        what = f"raised {said(exc)}"
        raise ProcessorError(
            f"Processor {system.name} failed at tick {context.tick}: {what}. "
            "Nothing of this tick was kept; mend the processor and step again.",
            what=what,
            processor=system.name,
            archetype=None,
            tick=context.tick,
        ) from exc
    output = Output(system.index, system.name, operations=operations)
    return Ran(system, output, len(state.tables), state.entity_count, {})


async def in_thread(call: Callable[[], T], *, may_be_left: bool = False) -> T:
    """Run a call in a thread of its own, so that a system that blocks holds up no one else.

    A thread cannot be interrupted: cancelled, this waits until the call has ended, unless it `may_be_left`
    running.
    """
    running = _Running(asyncio.get_running_loop(), call)
    _threads().submit(contextvars.copy_context().run, running.run)
    try:
        await running.done
    except asyncio.CancelledError:
        if not may_be_left:
            await running.left()
        raise
    return running.outcome()


class _Running(Generic[T]):
    """A call in a thread, and what the event loop awaits of it.

    The outcome is handed over as it is: a future would not take a StopIteration.
    """

    __slots__ = ("_call", "_error", "_has_ended", "_loop", "_result", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> None:
        self._loop = loop
        self._call = call
        self._result: T | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        self.done: asyncio.Future[None] = loop.create_future()

    def run(self) -> None:
        """Make the call; in the thread."""
        try:
            self._result = self._call()
        except BaseException as exc:  # noqa: BLE001 (it is raised where the call is awaited)
            self._error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def outcome(self) -> T:
        """Give what the call gave, or raise what it raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else it would hold itself, through its traceback
        return cast("T", self._result)

    async def left(self) -> None:
        """Wait until the call has ended, whoever was cancelled meanwhile."""
        if not self._has_ended:
            self.done = self._loop.create_future()
            await self.done

    def _end(self) -> None:
        self._has_ended = True
        if not self.done.done():
            self.done.set_result(None)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SYNC_SYSTEMS_MAX, thread_name_prefix="archetype-system")
