"""Checking what is named by its content: pages, archetypes and programs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from archetype.core.archetype import Archetype
from archetype.errors import ArchetypeError
from archetype.log.canonical import canonical_json
from archetype.log.pages import PageHead, decode_page, page_head
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.service.verification.progress import Progress
from archetype.store import audit
from archetype.store.audit import RawRow
from archetype.store.database import Reading
from archetype.store.schema import archetypes, pages, programs

__all__ = ["Blobs", "PageFacts"]

_PAGES_PER_PART = 32
_PAGES_PER_STATEMENT = 256
_ROWS_PER_PART = 200
_PAGES_KEPT_MAX = 400_000
"""Pages whose heads are remembered, some 100 MB of them; one that was forgotten is read again."""


class PageFacts(NamedTuple):
    """What snapshots must agree with: a page's head, and of a `bool` page how many values are true."""

    head: PageHead
    true_count: int | None


class Blobs:
    """The pages, archetypes and programs checked so far; what is missing or damaged is None, or False."""

    def __init__(self, reading: Reading, findings: Findings, progress: Progress) -> None:
        self._reading = reading
        self._findings = findings
        self._progress = progress
        self.pages: dict[bytes, PageFacts | None] = {}
        self.archetypes: dict[bytes, Archetype | None] = {}
        self.programs: dict[bytes, bool] = {}

    async def check_all(self) -> None:
        """Check every archetype, program and page, those included that nothing refers to."""
        await self._archetypes(None)
        await self._programs(None)
        await self._pages(None)

    async def need(
        self,
        *,
        archetype_ids: Collection[bytes],
        code_hashes: Collection[bytes],
        page_hashes: Collection[bytes],
    ) -> None:
        """Check those of these that were not checked yet; what is missing is not a fault of its own here."""
        new_archetypes = [each for each in archetype_ids if each not in self.archetypes]
        if new_archetypes:
            self.archetypes |= dict.fromkeys(new_archetypes)
            await self._archetypes(new_archetypes)
        new_programs = [each for each in code_hashes if each not in self.programs]
        if new_programs:
            self.programs |= dict.fromkeys(new_programs, False)
            await self._programs(new_programs)
        new_pages = sorted(each for each in page_hashes if each not in self.pages)
        for start in range(0, len(new_pages), _PAGES_PER_STATEMENT):
            part = new_pages[start : start + _PAGES_PER_STATEMENT]
            self.pages |= dict.fromkeys(part)
            await self._pages(part)

    def forget(self) -> None:
        """Let go of the pages that came first, where there are too many to remember."""
        for page_hash in list(self.pages)[: max(len(self.pages) - _PAGES_KEPT_MAX, 0)]:
            del self.pages[page_hash]

    async def _archetypes(self, ids: Collection[bytes] | None) -> None:
        statement = audit.select_archetypes(ids)
        async with self._reading.stream(statement, row_count=_ROWS_PER_PART) as parts:
            async for rows in parts:
                await asyncio.to_thread(self._check_each, rows, self._check_archetype)

    async def _programs(self, hashes: Collection[bytes] | None) -> None:
        statement = audit.select_programs(hashes)
        async with self._reading.stream(statement, row_count=_ROWS_PER_PART) as parts:
            async for rows in parts:
                await asyncio.to_thread(self._check_each, rows, self._check_program)

    async def _pages(self, hashes: Collection[bytes] | None) -> None:
        statement = audit.select_pages(hashes)
        async with self._reading.stream(statement, row_count=_PAGES_PER_PART) as parts:
            async for rows in parts:
                await asyncio.to_thread(self._check_each, rows, self._check_page)
                self._progress.advance(pages=len(rows))
                if hashes is None:
                    self.forget()

    @staticmethod
    def _check_each(rows: Sequence[RawRow], check: Any) -> None:
        for row in rows:
            check(row)

    def _check_archetype(self, row: RawRow) -> None:
        where = place(archetype=row.archetype_id)
        self.archetypes[row.archetype_id] = None
        stored = audit.stored(archetypes, row)
        if not self._findings.can_read(FaultKind.ARCHETYPE, where, stored):
            return
        values = stored.values
        try:
            found = Archetype.from_parts(json.loads(values["components"]), json.loads(values["schema"]))
            texts = (canonical_json(found.components), canonical_json(found.columns()))
        except (ArchetypeError, ValueError, TypeError, AttributeError) as error:
            self._findings.add(FaultKind.ARCHETYPE, where, f"cannot be read: {error!r:.200}")
            return
        if found.archetype_id != values["archetype_id"] or texts != (values["components"], values["schema"]):
            self._findings.add(FaultKind.ARCHETYPE, where, "does not match its hash: edited or damaged")
            return
        self.archetypes[found.archetype_id] = found

    def _check_program(self, row: RawRow) -> None:
        where = place(program=row.code_hash)
        self.programs[row.code_hash] = False
        stored = audit.stored(programs, row)
        if not self._findings.can_read(FaultKind.PROGRAM, where, stored):
            return
        if hashlib.sha256(stored.values["document"].encode()).digest() != stored.values["code_hash"]:
            self._findings.add(FaultKind.PROGRAM, where, "does not match its hash: edited or damaged")
            return
        self.programs[row.code_hash] = True

    def _check_page(self, row: RawRow) -> None:
        where = place(page=row.page_hash)
        self.pages[row.page_hash] = None
        stored = audit.stored(pages, row)
        self._findings.checked["pages"] += 1
        if not self._findings.can_read(FaultKind.PAGE, where, stored):
            return
        values = stored.values
        self._findings.checked["page_bytes"] += len(values["data"])
        fault = _page_fault(values)
        if fault is not None:
            self._findings.add(FaultKind.PAGE, where, fault)
            return
        page_hash: bytes = values["page_hash"]
        try:
            self.pages[page_hash] = _facts(values["data"], page_hash.hex())
        except ArchetypeError as error:
            self._findings.add(FaultKind.PAGE, where, error.message)


def _page_fault(values: Mapping[str, Any]) -> str | None:
    if values["codec"] != "plain" or values["base_hash"] is not None:
        return (
            f"codec {values['codec']!r} on base {values['base_hash']!r}: this release writes plain pages only"
        )
    if values["size_bytes"] != len(values["data"]):
        return f"size_bytes is {values['size_bytes']}, but data has {len(values['data'])} bytes"
    if hashlib.sha256(values["data"]).digest() != values["page_hash"]:
        return "does not match its hash: the page was edited or damaged"
    return None


def _facts(data: bytes, name: str) -> PageFacts:
    head = page_head(data, name=name)
    if head.kind != "bool":
        return PageFacts(head, None)
    return PageFacts(head, decode_page(data, name=name).true_count)
