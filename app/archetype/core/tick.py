"""One tick, whole: apply its changes, deliver its messages, then run its processors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from archetype.core.apply import Applied, apply_changes
from archetype.core.archetype import ENTITY_ID
from archetype.core.changes import Change, Rejection
from archetype.core.context import TickContext
from archetype.core.frame_rows import merged_tombstones
from archetype.core.messages import deliver
from archetype.core.processor import Processor
from archetype.core.scheduling.executor import DEFAULT_SCHEDULER, run_processors
from archetype.core.scheduling.records import TickReport
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.state import ArchetypeTable, WorldState, take_rows
from archetype.errors import InvalidInputError

IS_ACTIVE = pa.field("is_active", pa.bool_(), nullable=False)


@dataclass(frozen=True, eq=False)
class ComputedTick:
    """What a tick made: the active rows, by archetype id the rows that ended in it, and what was refused.

    `report` says which processors ran, and what became of their writes.
    """

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]
    rejections: tuple[Rejection, ...]
    report: TickReport


async def compute_tick(
    state: WorldState,
    changes: Sequence[Change],
    processors: Sequence[Processor],
    context: TickContext,
    scheduler: SimpleScheduler = DEFAULT_SCHEDULER,
) -> ComputedTick:
    """Compute one tick from the state before it; the event loop is not blocked.

    The context has the messages as they were sent; processors get those whose receivers are active.
    Raises TickFailedError or one of its kinds, and then nothing of the tick exists.
    """
    applied = Applied(state, {}, ())
    if changes:
        applied = await asyncio.to_thread(apply_changes, state, changes)
    messages, undelivered = deliver(context.messages, applied.state)
    processed = await run_processors(
        applied.state, processors, replace(context, messages=messages), scheduler
    )
    tombstones = dict(applied.tombstones)
    for archetype_id, ended in processed.tombstones.items():
        merged = merged_tombstones(ended.archetype, tombstones.get(archetype_id), ended)
        if merged is not None:
            tombstones[archetype_id] = merged
    rejections = (*applied.rejections, *undelivered)
    return ComputedTick(processed.state, dict(sorted(tombstones.items())), rejections, processed.report)


def snapshot_rows(table: ArchetypeTable | None, tombstones: ArchetypeTable | None) -> pa.Table:
    """Give one archetype's rows after a tick, ended ones among them, by entity_id.

    Only if there are ended ones, a bool column is_active follows entity_id.
    """
    if tombstones is None or not tombstones.row_count:
        if table is None:
            raise InvalidInputError("There is neither an active nor an ended row to keep.")
        return table.rows
    archetype = tombstones.archetype
    active_count = 0 if table is None else table.row_count
    parts = [tombstones.rows] if table is None else [table.rows, tombstones.rows]
    rows = pa.concat_tables(parts).combine_chunks()
    flags = pa.array([True] * active_count + [False] * tombstones.row_count)
    schema = pa.schema([ENTITY_ID, IS_ACTIVE, *archetype.schema])
    whole = pa.table([rows.column(0), flags, *rows.columns[1:]], schema=schema)
    ids = rows.column(0).to_numpy()
    return take_rows(whole, ids.argsort(kind="stable"))
