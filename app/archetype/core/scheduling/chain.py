"""Consecutive groups of one frame processor each, fused into as few queries as can be.

Each processor sees what the one before it made, as it would in groups that are collected one by one; only
the work of collecting is saved.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from archetype.core.context import TickContext
from archetype.core.diff import differing
from archetype.core.frame_rows import CheckedRows, check_rows, merged_tombstones
from archetype.core.scheduling.column_writes import evaluated, mapping_writes
from archetype.core.scheduling.fold import fold_group
from archetype.core.scheduling.frames import RAISED, Frames, said
from archetype.core.scheduling.plan import SystemDescriptor
from archetype.core.scheduling.writes import Output
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import TickFailedError

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["Chained", "QueryFigures", "run_chain"]


@dataclass(frozen=True, slots=True)
class QueryFigures:
    """What one query came to; it stands with the processor that was the last in it."""

    cell_count: int
    ended_count: int
    duration_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Closed:
    """The rows that a query left, and how many cells it changed."""

    rows: CheckedRows
    cell_count: int


@dataclass(slots=True)
class Chained:
    """What a chain made of one table, and its figures by the index of the processor that closed a query."""

    active: ArchetypeTable | None
    inactive: ArchetypeTable | None = None
    figures: dict[int, QueryFigures] = field(default_factory=dict[int, QueryFigures])


async def run_chain(
    table: ArchetypeTable, systems: Sequence[SystemDescriptor], context: TickContext
) -> Chained:
    """Run processors on one archetype, one after the other.

    A frame is collected at the end, around each processor that is not deterministic, and where one gives
    columns that no query can go on from. Raises ProcessorError naming processor, archetype and tick.
    """
    chain = _Chain(table, context)
    rest = list(systems)
    while rest and chain.result.active is not None:
        rest = rest[await chain.query(rest) :]
    return chain.result


class _Chain:
    def __init__(self, table: ArchetypeTable, context: TickContext) -> None:
        self.result = Chained(table)
        self._context = context
        self._now = context.timers.now

    async def query(self, systems: Sequence[SystemDescriptor]) -> int:
        """Run processors as one query, as many as can be; give how many those are."""
        table = self.result.active
        if table is None:
            return len(systems)
        started = self._now()
        frames = Frames(table, self._context)
        df = start = frames.first
        segment: list[SystemDescriptor] = []
        for system in systems:
            if segment and not system.processor.deterministic:
                break
            given = df if df is start else frames.handed_on(df)
            extended = await self._extended(frames, system, given, is_first=not segment)
            if isinstance(extended, Mapping):
                await self._apart(frames, system, extended, started)
                return 1
            if extended is None:
                break
            df = df if extended is given else extended
            segment.append(system)
            if not system.processor.deterministic:
                break
        closed = await self._collected(frames, segment, start, df)
        if closed is None:
            for system in segment:
                await self.query([system])
        else:
            self._close(segment[-1], table, closed, started)
        return len(segment)

    async def _extended(
        self, frames: Frames, system: SystemDescriptor, df: DataFrame, *, is_first: bool
    ) -> DataFrame | Mapping[str, Any] | None:
        """Give the frame that a query goes on from, or the columns that have to be folded in first.

        None if a query has to end before this processor: what it does is then seen when it is the first.
        """
        try:
            returned = await frames.call(system, df)
        except TickFailedError:
            # It may have met rows that have ended by then.
            if is_first:
                raise
            return None
        extended = _with_columns(frames, df, returned) if isinstance(returned, Mapping) else returned
        return returned if extended is None and is_first else extended

    async def _collected(
        self, frames: Frames, segment: Sequence[SystemDescriptor], start: DataFrame, df: DataFrame
    ) -> _Closed | None:
        """Collect a query's frame; None if its processors have to be run one by one.

        They have to if a row ends, which those behind must not see, and if it fails: to name who is at fault.
        """
        if df is start:
            return _Closed(CheckedRows(frames.table, None), 0)
        is_alone = len(segment) == 1
        try:
            closed = await frames.collected(segment[-1], df, functools.partial(_checked, frames, segment[-1]))
        except TickFailedError:
            if is_alone:
                raise
            return None
        return closed if is_alone or closed.rows.inactive is None else None

    async def _apart(
        self, frames: Frames, system: SystemDescriptor, returned: Mapping[str, Any], started: float
    ) -> None:
        """Fold the columns that a processor gave into its table."""
        table = frames.table
        listed = mapping_writes(frames, system, returned)
        (writes,) = await evaluated(frames, frames.first, [(system, listed)])
        archetype_id = table.archetype.archetype_id
        ended = {} if writes.ended is None else {archetype_id: writes.ended}
        output = Output(system.index, system.name, writes.columns, ended)
        try:
            folded = await asyncio.to_thread(fold_group, WorldState.of([table]), [output], 0)
        except RAISED as exc:
            raise frames.error(system, said(exc)) from exc
        checked = CheckedRows(folded.state.tables.get(archetype_id), folded.tombstones.get(archetype_id))
        self._close(system, table, _Closed(checked, folded.cell_counts.get(system.index, 0)), started)

    def _close(
        self, system: SystemDescriptor, before: ArchetypeTable, closed: _Closed, started: float
    ) -> None:
        result, rows = self.result, closed.rows
        result.active = rows.active
        result.inactive = merged_tombstones(before.archetype, result.inactive, rows.inactive)
        ended_count = 0 if rows.inactive is None else rows.inactive.row_count
        duration_ms = (self._now() - started) * 1000
        result.figures[system.index] = QueryFigures(closed.cell_count, ended_count, duration_ms)


def _with_columns(frames: Frames, df: DataFrame, returned: Mapping[str, Any]) -> DataFrame | None:
    """Give a frame with columns that a processor gave, or None where they are no plain expressions of it."""
    from daft import Expression  # noqa: PLC0415

    known = {"is_active", *frames.table.archetype.schema.names}
    if not all(isinstance(each, Expression) and name in known for name, each in returned.items()):
        return None
    try:
        extended = df.with_columns(dict(returned))
    except Exception:  # noqa: BLE001 (Daft's own; evaluated apart, it names the processor)
        return None
    return extended if frames.has_dtypes(extended) else None


def _checked(frames: Frames, system: SystemDescriptor, output: pa.Table) -> _Closed:
    rows = check_rows(frames.table, output)
    return _Closed(rows, _changed_cells(frames, system, rows))


def _changed_cells(frames: Frames, system: SystemDescriptor, checked: CheckedRows) -> int:
    """Count the cells whose values a query changed, those of rows that it ended among them.

    Raises ProcessorError if a component's class refuses one.
    """
    before, count = frames.table, 0
    for after in (checked.active, checked.inactive):
        if after is None or after is before:
            continue
        is_whole = after.row_count == before.row_count
        rows = None if is_whole else pa.array(np.searchsorted(before.entity_ids, after.entity_ids))
        for name in before.archetype.schema.names:
            array, old = after.array(name), before.array(name)
            if array is not old:
                old = old if rows is None else old.take(rows)
                is_changed = differing(old, array, None)
                count += int(np.count_nonzero(is_changed))
                if frames.is_constrained(name):
                    changed = array.filter(pa.array(is_changed))
                    frames.require_valid(system, name, changed, after.entity_ids[is_changed])
    return count
