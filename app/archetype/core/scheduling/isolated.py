"""Running one processor on a group's state, so that what it wrote can be folded with what others wrote."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
from archetype.core.scheduling.frames import RAISED, Frames, GroupFrames, said
from archetype.core.scheduling.plan import SystemDescriptor
from archetype.core.scheduling.results import operations_of
from archetype.core.scheduling.system import System
from archetype.core.scheduling.threads import in_thread
from archetype.core.scheduling.writes import ColumnWrite, Output
from archetype.core.state import Int64s, WorldState
from archetype.errors import ProcessorError, TickFailedError

__all__ = ["Ran", "joined", "run_isolated"]


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
    except RAISED as exc:
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
