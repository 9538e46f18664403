"""In which form the new pages of a commit are stored, and what is known of them behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from archetype.log.patches import CONTENT_BYTES_MAX, Base, Codec, StoredForm, plain_form, stored_form
from archetype.service.projection import Snapshot
from archetype.store.snapshots import SnapshotWrite, TickSnapshot

__all__ = ["PageCounts", "PreparedPages", "prepare"]


class PageCounts:
    """What this process has stored so far: pages by their form, or `reused`, and their bytes."""

    def __init__(self) -> None:
        self.pages: Counter[str] = Counter()
        self.stored_bytes = 0
        self.content_bytes = 0

    def add(self, prepared: PreparedPages, there: Collection[bytes]) -> None:
        """Count what a commit stored; pages that were `there` already are reused."""
        new = [form for name, form in prepared.forms.items() if name not in there]
        self.pages.update(str(form.codec) for form in new)
        self.pages["reused"] += prepared.page_count - len(new)
        self.stored_bytes += sum(len(form.data) for form in new)
        self.content_bytes += sum(form.content_size_bytes for form in new)


@dataclass(frozen=True)
class PreparedPages:
    """Snapshots that are ready to be stored; `bases` are their new pages as later ones will know them."""

    snapshots: list[TickSnapshot]
    forms: Mapping[bytes, StoredForm]
    bases: Mapping[bytes, Base]

    @property
    def page_count(self) -> int:
        """How many pages the snapshots are made of."""
        return sum(
            len(listed)
            for snapshot in self.snapshots
            for write in snapshot.writes
            for listed in write.row.pages.values()
        )

    def known(self, there: Collection[bytes]) -> dict[bytes, Base]:
        """Return the bases that hold once all is stored, but for the pages that were `there` already.

        In which form those are, nobody here knows: the next page in their place begins a new chain.
        """
        return {name: base for name, base in self.bases.items() if name not in there}


def prepare(snapshots: Iterable[tuple[UUID, int, Snapshot]], *, makes_patches: bool) -> PreparedPages:
    """Choose the forms of all pages that may not be stored yet; equal pages get one.

    Snapshots come with the worlds that own their ticks, and the ticks.
    """
    forms: dict[bytes, StoredForm] = {}
    bases: dict[bytes, Base] = {}
    prepared: list[TickSnapshot] = []
    for owner_id, tick, snapshot in snapshots:
        tables = [(table.row, list(table.unstored())) for table in snapshot.tables.values()]
        for page, on in (each for _, new in tables for each in new):
            if page.page_hash not in forms:
                form = stored_form(page, on) if makes_patches else plain_form(page)
                forms[page.page_hash] = form
                if makes_patches and form.content_size_bytes <= CONTENT_BYTES_MAX:
                    content = form.data if form.codec == Codec.PLAIN else page.data
                    bases[page.page_hash] = Base.of(form, content, on)
        writes = [SnapshotWrite(row, [forms[page.page_hash] for page, _ in new]) for row, new in tables]
        prepared.append(TickSnapshot(owner_id, tick, writes))
    return PreparedPages(prepared, forms, bases)
