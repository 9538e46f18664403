"""Pages as rows: what is stored under a page's name, and what it takes to read one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from archetype.errors import CorruptionError, UnavailableError
from archetype.log.patches import CHAIN_PAGES_MAX, Base, Codec, StoredForm, chain_cost, restore
from archetype.store.given import is_found
from archetype.store.inserting import insert_new
from archetype.store.schema import pages

__all__ = ["Hold", "PageSet", "insert_pages", "read_pages", "with_bases"]

_PAGES_PER_STATEMENT = 64
_PAGES_PER_READ = 256


def insert_pages(connection: Connection, forms: Collection[StoredForm]) -> set[bytes]:
    """Store pages, and return the names of those that were there already: they stay in their form.

    They go in by order of hash, so that two writers of the same pages wait for each other instead of blocking
    each other for good. Raises `UnavailableError` where the base of a patch is gone: then another process
    went on with the world, and what it dropped was collected.
    """
    statement = insert_new(connection, pages, pages.c.page_hash)
    there = {form.page_hash for form in forms}
    rows = [_values(form) for form in sorted(forms, key=lambda form: form.page_hash)]
    for start in range(0, len(rows), _PAGES_PER_STATEMENT):
        try:
            inserted = connection.scalars(statement, rows[start : start + _PAGES_PER_STATEMENT])
        except IntegrityError as error:
            msg = "a page that new ones are patches on is gone: another process went on with the world"
            raise UnavailableError(msg, retry_after_s=1) from error
        there.difference_update(map(bytes, inserted))
    return there


def _values(form: StoredForm) -> dict[str, Any]:
    return {
        "page_hash": form.page_hash,
        "base_hash": form.base_hash,
        "codec": form.codec,
        "size_bytes": len(form.data),
        "content_size_bytes": form.content_size_bytes,
        "data": form.data,
    }


class _Restored(NamedTuple):
    content: bytes
    base_content: bytes | None


@dataclass(frozen=True, slots=True)
class PageSet:
    """Pages as their rows say, not yet checked, and those that they are patches on.

    `held` are contents that were in memory already. Who uses the pages checks them, away from the event loop.
    """

    wanted: Sequence[bytes]
    forms: Mapping[bytes, StoredForm]
    held: Mapping[bytes, bytes]

    @property
    def content_size_bytes(self) -> int:
        """What the wanted pages take once they are restored."""
        return sum(self.forms[each].content_size_bytes for each in self.wanted)

    def checked(self) -> dict[bytes, bytes]:
        """Return the content of the wanted pages.

        Raises `CorruptionError` that names the first one which does not match its name.
        """
        return {name: restored.content for name, restored in self._restored()}

    def outcomes(self) -> Iterator[tuple[bytes, bytes | CorruptionError]]:
        """Go through the wanted pages: each with its content, or with what is wrong with it."""
        for name, restored in self._each():
            yield name, restored if isinstance(restored, CorruptionError) else restored.content

    def bases(self) -> tuple[dict[bytes, bytes], dict[bytes, Base]]:
        """Return what `checked` does, and of each page what a patch on it has to know."""
        contents: dict[bytes, bytes] = {}
        bases: dict[bytes, Base] = {}
        for name, restored in self._restored():
            contents[name] = restored.content
            chain = [form for form in self._chain(name) if form.base_hash is not None]
            bases[name] = Base(
                name,
                restored.content,
                restored.base_content,
                is_patch=bool(chain),
                chain_cost=sum(chain_cost(form.codec, form.data) for form in chain),
                chain_bytes=sum(len(form.data) for form in chain),
            )
        return contents, bases

    def _restored(self) -> Iterator[tuple[bytes, _Restored]]:
        for name, restored in self._each():
            if isinstance(restored, CorruptionError):
                raise restored
            yield name, restored

    def _each(self) -> Iterator[tuple[bytes, _Restored | CorruptionError]]:
        """Go through the wanted pages, the bases first: no page is made twice."""
        known = dict(self.held)
        depths = {name: sum(1 for _ in self._chain(name)) for name in self.wanted}
        for name in sorted(self.wanted, key=lambda name: depths[name]):
            try:
                restored = self._restore(name, known)
            except CorruptionError as error:
                yield name, error
                continue
            known[name] = restored.content
            yield name, restored

    def _restore(self, name: bytes, known: Mapping[bytes, bytes]) -> _Restored:
        steps: list[StoredForm] = []
        base = before = None
        for form in self._chain(name):
            steps.append(form)
            if len(steps) > CHAIN_PAGES_MAX + 1:
                msg = f"page {name.hex()} is a patch on too many pages: edited or damaged"
                raise CorruptionError(msg, page=name.hex())
            base, before = self._beginning(form, known)
            if base is not None and (form.codec != Codec.TREND or before is not None):
                break
        for form in reversed(steps):
            content = restore(form, base, before)
            base, before = content, base if form.base_hash is not None else None
        content = base or b""
        if hashlib.sha256(content).digest() != name:
            what = "it" if self.forms[name].base_hash is None else "it, or a page that it is a patch on,"
            msg = f"page {name.hex()} does not match its hash: {what} was edited or damaged"
            raise CorruptionError(msg, page=name.hex())
        return _Restored(content, before)

    def _beginning(self, form: StoredForm, known: Mapping[bytes, bytes]) -> tuple[bytes | None, bytes | None]:
        """Return what is known of a patch's base, and of that one's base."""
        if form.base_hash is None or form.base_hash not in known:
            return None, None
        below = self.forms.get(form.base_hash)
        before = known.get(below.base_hash) if below is not None and below.base_hash is not None else None
        return known[form.base_hash], before

    def _chain(self, name: bytes) -> Iterator[StoredForm]:
        """Go from a page down to one that is no patch, as far as they were read; a circle comes to an end."""
        at: bytes | None = name
        for _ in range(CHAIN_PAGES_MAX + 2):
            form = None if at is None else self.forms.get(at)
            if form is None:
                return
            yield form
            at = form.base_hash


def read_pages(connection: Connection, hashes: Collection[bytes], hold: Hold | None = None) -> PageSet:
    """Read these pages, and those that they are patches on as far as `hold` does not give their content.

    Raises `CorruptionError` that names the first page which is missing.
    """
    wanted = sorted(hashes)
    forms: dict[bytes, StoredForm] = {}
    for start in range(0, len(wanted), _PAGES_PER_READ):
        part = wanted[start : start + _PAGES_PER_READ]
        forms |= _forms(connection.execute(_SELECT.where(pages.c.page_hash.in_(part))))
    for page_hash in wanted:
        if page_hash not in forms:
            msg = f"page {page_hash.hex()} is missing: restore it from a backup or another copy"
            raise CorruptionError(msg, page=page_hash.hex())
    return with_bases(connection, wanted, forms, hold)


Hold = Callable[[Collection[bytes]], Mapping[bytes, bytes]]
"""Gives those of some pages that are in memory."""


def with_bases(
    connection: Connection, wanted: Sequence[bytes], forms: dict[bytes, StoredForm], hold: Hold | None
) -> PageSet:
    """Read what pages are patches on; what is missing shows when they are checked."""
    patches = [form for form in forms.values() if form.base_hash is not None]
    if not patches:
        return PageSet(wanted, forms, {})
    held = {} if hold is None else dict(hold(_bases(patches)))
    # A trend needs to know what its base is a patch on, whether or not that content is held.
    needed = _bases(form for form in patches if form.codec == Codec.TREND or form.base_hash not in held)
    bases = sorted(needed - forms.keys())
    for start in range(0, len(bases), _PAGES_PER_READ):
        forms |= _forms(connection.execute(_chains(connection, bases[start : start + _PAGES_PER_READ])))
    if bases and hold is not None:
        held |= hold(_bases(forms.values()))
    return PageSet(wanted, forms, held)


def _bases(forms: Iterable[StoredForm]) -> set[bytes]:
    return {form.base_hash for form in forms if form.base_hash is not None}


_SELECT = sa.select(
    pages.c.page_hash, pages.c.base_hash, pages.c.codec, pages.c.content_size_bytes, pages.c.data
)


def _chains(connection: Connection, bases: Sequence[bytes]) -> sa.Executable:
    """Select pages with all that they are patches on; a circle ends where it began.

    Each page is looked up by its name, whatever a planner thinks of how many there will be.
    """
    names = sa.select(pages.c.page_hash, pages.c.base_hash)
    chain = names.where(pages.c.page_hash.in_(bases)).cte("chain", recursive=True)
    below = sa.select(pages.c.base_hash).where(pages.c.page_hash == chain.c.base_hash).scalar_subquery()
    chain = chain.union(sa.select(chain.c.base_hash, below).where(chain.c.base_hash.is_not(None)))
    return _SELECT.where(is_found(connection, pages.c.page_hash, sa.select(chain.c.page_hash))).limit(
        len(bases) * (CHAIN_PAGES_MAX + 1)
    )


def _forms(rows: Iterable[Any]) -> dict[bytes, StoredForm]:
    return {bytes(row.page_hash): _form(row) for row in rows}


def _form(row: Any) -> StoredForm:
    # SQLite keeps whatever type was written: text in a blob's place is damage too.
    base_hash = None if row.base_hash is None else _bytes(row.base_hash)
    size = row.content_size_bytes if isinstance(row.content_size_bytes, int) else -1
    return StoredForm(bytes(row.page_hash), base_hash, row.codec, size, _bytes(row.data))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""
