"""Checking what is named by its content: pages, archetypes and programs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from archetype.core.archetype import Archetype
from archetype.errors import ArchetypeError, CorruptionError
from archetype.log.canonical import canonical_json
from archetype.log.pages import PageHead, decode_page, page_head
from archetype.log.patches import Codec, StoredForm
from archetype.service.budget import MemoryBudget
from archetype.service.cache import PageCache, page_cache
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.service.verification.progress import Progress
from archetype.store import audit
from archetype.store.database import Reading
from archetype.store.pages import PageSet, with_bases
from archetype.store.raw_rows import RawRow, read_row
from archetype.store.schema import archetypes, pages, programs

__all__ = ["Blobs", "PageFacts"]

_PAGES_PER_PART = 32
_PAGES_PER_STATEMENT = 256
_ROWS_PER_PART = 200
_PAGES_KEPT_MAX = 400_000
"""Pages whose heads are remembered, some 100 MB of them; one that was forgotten is read again."""


_CONTENTS_BYTES = 64 * 1024 * 1024
"""Contents that patches may stand on, kept while a database is checked."""


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
        self._contents: PageCache = page_cache(MemoryBudget(_CONTENTS_BYTES))
        self.pages: dict[bytes, PageFacts | None] = {}
        self.archetypes: dict[bytes, Archetype | None] = {}
        self.programs: dict[bytes, bool] = {}

    async def check_all(self) -> None:
        """Check every archetype, every program, and every page that is no patch, referred to or not."""
        await self._archetypes(None)
        await self._programs(None)
        await self._pages(audit.select_pages(are_patches=False))

    async def check_patches(self) -> None:
        """Check the patches that no snapshot asked for: best done last, they come in no good order."""
        await self._pages(audit.select_pages(are_patches=True))

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
            await self._pages(audit.select_pages(part), are_new=True)

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

    async def _pages(self, statement: sa.Select[Any], *, are_new: bool = False) -> None:
        """Check pages as they come; but for those that are known, unless they `are_new`."""
        async with self._reading.stream(statement, row_count=_PAGES_PER_PART) as parts:
            async for rows in parts:
                unknown = [row for row in rows if are_new or row.page_hash not in self.pages]
                await self._check_pages(unknown)
                self._progress.advance(pages=len(unknown))
                if not are_new:
                    self.forget()

    async def _check_pages(self, rows: Sequence[RawRow]) -> None:
        forms = {form.page_hash: form for row in rows if (form := self._form(row)) is not None}
        hold = self._contents.hold
        found = await self._reading.read(
            lambda connection: with_bases(connection, list(forms), dict(forms), hold)
        )
        await asyncio.to_thread(self._check_contents, found)

    @staticmethod
    def _check_each(rows: Sequence[RawRow], check: Any) -> None:
        for row in rows:
            check(row)

    def _check_archetype(self, row: RawRow) -> None:
        where = place(archetype=row.archetype_id)
        self.archetypes[row.archetype_id] = None
        stored = read_row(archetypes, row)
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
        stored = read_row(programs, row)
        if not self._findings.can_read(FaultKind.PROGRAM, where, stored):
            return
        if hashlib.sha256(stored.values["document"].encode()).digest() != stored.values["code_hash"]:
            self._findings.add(FaultKind.PROGRAM, where, "does not match its hash: edited or damaged")
            return
        self.programs[row.code_hash] = True

    def _form(self, row: RawRow) -> StoredForm | None:
        """Return a page as it is stored; a row that cannot be right goes into the findings."""
        where = place(page=row.page_hash)
        self.pages[row.page_hash] = None
        stored = read_row(pages, row)
        self._findings.checked["pages"] += 1
        if not self._findings.can_read(FaultKind.PAGE, where, stored):
            return None
        values = stored.values
        fault = _page_fault(values)
        if fault is not None:
            self._findings.add(FaultKind.PAGE, where, fault)
            return None
        names = ("page_hash", "base_hash", "codec", "content_size_bytes", "data")
        return StoredForm(**{name: values[name] for name in names})

    def _check_contents(self, found: PageSet) -> None:
        for page_hash, content in found.outcomes():
            where = place(page=page_hash)
            if isinstance(content, CorruptionError):
                self._findings.add(FaultKind.PAGE, where, content.message)
                continue
            self._findings.checked["page_bytes"] += len(content)
            size = found.forms[page_hash].content_size_bytes
            if size != len(content):
                what = f"content_size_bytes is {size}, but it has {len(content)} bytes"
                self._findings.add(FaultKind.PAGE, where, what)
            self._contents.keep({page_hash: content})
            try:
                self.pages[page_hash] = _facts(content, page_hash.hex())
            except ArchetypeError as error:
                self._findings.add(FaultKind.PAGE, where, error.message)


def _page_fault(values: Mapping[str, Any]) -> str | None:
    if (values["base_hash"] is None) != (values["codec"] in {Codec.PLAIN, Codec.PACKED}):
        has = "no base" if values["base_hash"] is None else "a base"
        return f"its codec is {values['codec']!r}, and it has {has}"
    if values["size_bytes"] != len(values["data"]):
        return f"size_bytes is {values['size_bytes']}, but data has {len(values['data'])} bytes"
    return None


def _facts(data: bytes, name: str) -> PageFacts:
    head = page_head(data, name=name)
    if head.kind != "bool":
        return PageFacts(head, None)
    return PageFacts(head, decode_page(data, name=name).true_count)
