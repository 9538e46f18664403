"""Checking the log: every row against its hash, and positions and versions without a hole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

from archetype.log.hashes import HashedEvent, event_hash
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.service.verification.history import WorldHistory
from archetype.service.verification.progress import Progress
from archetype.service.verification.usage import UsageTally
from archetype.store import audit
from archetype.store.database import Reading
from archetype.store.raw_rows import RawRow, read_row
from archetype.store.schema import events

__all__ = ["check_positions", "read_history"]


async def check_positions(reading: Reading, findings: Findings) -> None:
    """Check that positions go from 1 to the counter's without a hole."""
    heads = await reading.read(audit.log_heads)
    extent = await reading.read(audit.log_extent)
    if extent.row_count != extent.last:
        for first, last in await reading.read(audit.position_gaps):
            what = f"positions {first} to {last} are missing" if last > first else "the row is missing"
            findings.add(FaultKind.LOG, place(position=first), what)
    if len(heads) != 1 or heads[0][0] != 1 or type(heads[0][1]) is not int:
        findings.add(FaultKind.LOG, "log_head", f"holds {heads!r:.200}, not one row with the last position")
        return
    head = heads[0][1]
    if head > extent.last:
        what = f"the log ends before it: log_head says that there are rows up to position {head}"
        findings.add(FaultKind.LOG, place(position=extent.last + 1) + ", log_head", what)
    elif head < extent.last:
        what = f"says that the log ends at position {head}, but it goes on to {extent.last}"
        findings.add(FaultKind.LOG, "log_head", what)


async def read_history(
    reading: Reading,
    world_id: UUID,
    findings: Findings,
    progress: Progress,
    usage: UsageTally | None = None,
) -> WorldHistory:
    """Check a world's log row by row, and return what it says."""
    history = WorldHistory(world_id, findings)
    async with aclosing(audit.stream_events(reading, world_id)) as parts:
        async for part in parts:
            await asyncio.to_thread(_check_rows, part, history, usage)
            progress.advance(events=len(part))
    return history


def _check_rows(
    rows: Sequence[tuple[RawRow, bytes | None]], history: WorldHistory, usage: UsageTally | None
) -> None:
    findings = history.findings
    for row, batch in rows:
        findings.checked["events"] += 1
        where = place(position=row.position)
        stored = read_row(events, row, batch=batch)
        if not findings.can_read(FaultKind.EVENT, where, stored):
            continue
        values = dict(stored.values)
        digest = values.pop("hash")
        event = HashedEvent(**values)
        if event_hash(event) != digest:
            findings.add(FaultKind.EVENT, where, "does not match its hash: the row was edited or damaged")
        history.apply(event)
        if usage is not None:
            usage.count(event)
