"""Checking the form of denials and origins: nothing of them follows from anything else."""

from __future__ import annotations

from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store import audit
from archetype.store.database import Reading
from archetype.store.raw_rows import read_row
from archetype.store.schema import denials, origins

__all__ = ["check_sightings"]

_ROWS_PER_PART = 500


async def check_sightings(reading: Reading, findings: Findings) -> None:
    """Check that every denial and origin holds what its columns are for, and ends behind its beginning."""
    for kind, table, statement in (
        (FaultKind.DENIAL, denials, audit.select_denials()),
        (FaultKind.ORIGIN, origins, audit.select_origins()),
    ):
        async with reading.stream(statement, row_count=_ROWS_PER_PART) as parts:
            async for rows in parts:
                for raw in rows:
                    where = place(**{kind.value: raw[0]})
                    row = read_row(table, raw)
                    if not findings.can_read(kind, where, row):
                        continue
                    if row.values["last_at"] < row.values["first_at"] or row.values.get("count", 1) < 1:
                        findings.add(kind, where, "ends before it begins, or counts nothing")
