"""Checking a tick's snapshot: its pages, its counts, and the state hash over all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from archetype.core.archetype import Archetype
from archetype.core.arrow_types import type_name
from archetype.log.canonical import canonical_json
from archetype.log.hashes import ArchetypeDigest, state_hash
from archetype.service.verification.blobs import Blobs, PageFacts
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store.raw_rows import RawRow, Stored, read_row
from archetype.store.schema import snapshots

__all__ = ["ParsedSnapshot", "check_snapshot", "parse_snapshot"]

_IS_ACTIVE = "is_active"


class ParsedSnapshot(NamedTuple):
    """One archetype table of a snapshot: a readable row, and its pages by column."""

    where: str
    archetype_id: bytes
    row_count: int
    active_count: int
    columns: Mapping[str, Sequence[bytes]]

    @property
    def page_hashes(self) -> set[bytes]:
        """The pages that the table is made of."""
        return {page for listed in self.columns.values() for page in listed}


def parse_snapshot(row: RawRow, findings: Findings) -> ParsedSnapshot | None:
    """Read a snapshot row; one that cannot be read goes into the findings."""
    where = place(world=row.world_id, tick=row.tick, archetype=row.archetype_id)
    stored = read_row(snapshots, row)
    if not findings.can_read(FaultKind.SNAPSHOT, where, stored):
        return None
    text: str = stored.values["pages"]
    try:
        document: dict[str, list[str]] = json.loads(text)
        columns = {name: [bytes.fromhex(page) for page in listed] for name, listed in document.items()}
        is_canonical = text == canonical_json(
            {name: [page.hex() for page in listed] for name, listed in columns.items()}
        )
    except (ValueError, TypeError, AttributeError) as error:
        findings.add(FaultKind.SNAPSHOT, where, f"its pages cannot be read: {error!r:.200}")
        return None
    if not is_canonical:
        findings.add(FaultKind.SNAPSHOT, where, "its pages are not spelled as they are stored: edited")
    values = stored.values
    if values["row_count"] < 0:
        findings.add(FaultKind.SNAPSHOT, where, f"row_count is {values['row_count']}")
        return None
    return ParsedSnapshot(where, values["archetype_id"], values["row_count"], values["active_count"], columns)


def check_snapshot(
    where: str,
    tick: Stored,
    tables: Sequence[ParsedSnapshot],
    fact: Mapping[str, Any],
    *,
    blobs: Blobs,
    findings: Findings,
) -> None:
    """Check the tables of a tick, each by itself, and all of them against the tick's row and fact."""
    counts = fact.get("archetypes")
    for table in tables:
        _check_table(table, blobs, findings)
        if isinstance(counts, dict) and counts.get(table.archetype_id.hex(), 0) != table.active_count:
            what = f"active_count is {table.active_count}, which is not what the tick's fact says"
            findings.add(FaultKind.SNAPSHOT, table.where, what)
    computed = state_hash(ArchetypeDigest(each.archetype_id, each.row_count, each.columns) for each in tables)
    if computed != tick.values["state_hash"]:
        what = f"the snapshot does not match the state hash {tick.values['state_hash'].hex()}"
        findings.add(FaultKind.SNAPSHOT, where, what)
    active = sum(each.active_count for each in tables)
    if active != tick.values["entity_count"]:
        what = f"entity_count is {tick.values['entity_count']}, but the snapshot has {active} active rows"
        findings.add(FaultKind.SNAPSHOT, where, what)


def _check_table(table: ParsedSnapshot, blobs: Blobs, findings: Findings) -> None:
    archetype = blobs.archetypes[table.archetype_id]
    if archetype is None:
        findings.add(
            FaultKind.SNAPSHOT, table.where, f"archetype {table.archetype_id.hex()} is missing or damaged"
        )
        return
    kinds = _column_kinds(archetype, table.columns)
    if kinds.keys() != table.columns.keys():
        what = f"has the columns {sorted(table.columns)}, not {sorted(kinds)}"
        findings.add(FaultKind.SNAPSHOT, table.where, what)
    active_count: int | None = table.row_count
    for name, listed in table.columns.items():
        found = [(page, blobs.pages[page]) for page in listed]
        faults = [fault for page, facts in found if (fault := _page_fault(page, facts, kinds.get(name)))]
        length = sum(facts.head.length for _, facts in found if facts is not None)
        if not faults and length != table.row_count:
            faults = [f"has {length} values, but row_count is {table.row_count}"]
        for fault in faults:
            findings.add(FaultKind.SNAPSHOT, table.where, f"column {name} {fault}")
        if name == _IS_ACTIVE:
            counts = [facts.true_count or 0 for _, facts in found if facts is not None]
            active_count = None if faults else sum(counts)
    if active_count is not None and table.active_count != active_count:
        what = f"active_count is {table.active_count}, but {active_count} rows are active"
        findings.add(FaultKind.SNAPSHOT, table.where, what)


def _page_fault(page: bytes, facts: PageFacts | None, kind: str | None) -> str | None:
    if facts is None:
        return f"has page {page.hex()}, which is missing or damaged"
    if facts.head.kind != kind:
        return f"has page {page.hex()} of {facts.head.kind}, not of {kind}"
    return None


def _column_kinds(archetype: Archetype, columns: Mapping[str, Any]) -> dict[str, str]:
    kinds = {each.name: type_name(each.type) for each in archetype.table_schema}
    return kinds | {_IS_ACTIVE: "bool"} if _IS_ACTIVE in columns else kinds
