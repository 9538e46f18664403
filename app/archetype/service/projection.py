"""A world as this process holds it: the state after its last committed tick, ready for the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.core.state import ArchetypeTable, WorldState
from archetype.core.tick import ComputedTick
from archetype.core.tick import snapshot_rows as rows_with_tombstones
from archetype.errors import CorruptionError
from archetype.log.hashes import GENESIS, ArchetypeDigest, state_hash
from archetype.log.pages import Page, array_pages, decode_page
from archetype.log.patches import Base
from archetype.service.program import Program
from archetype.store.pages import PageSet, read_pages
from archetype.store.snapshots import SnapshotRow, program_document, snapshot_rows
from archetype.store.ticks import TickRow, tick_row

__all__ = [
    "EMPTY_STATE",
    "PagedColumn",
    "PagedTable",
    "Projection",
    "Snapshot",
    "StoredTick",
    "active_only",
    "decode_column",
    "newborn",
    "project",
    "read_tick",
    "take_snapshot",
]

PROJECTION_BYTES = 8 * 1024
COLUMN_BYTES = 2 * 1024
HASH_BYTES = 80
"""What the objects around the values take by projection, by column and by page, rounded up."""

EMPTY_STATE = state_hash([])
"""The hash of a state without a row, which has no snapshot rows and needs none."""


@dataclass(frozen=True, slots=True)
class PagedColumn:
    """A column by its pages, with those that may not be stored yet; the same array is never hashed again.

    Pages go by their places in the column, 0 for the first. `bases` are those that were stored last in each
    place, as far as a later page can be stored as a patch on them.
    """

    array: pa.Array
    hashes: tuple[bytes, ...]
    unstored: Mapping[int, Page]
    bases: Mapping[int, Base]

    def stored(self, bases: Mapping[bytes, Base]) -> PagedColumn:
        """Return it as it is once its pages are stored, of which these can be patched."""
        if not self.unstored:
            return self
        kept = {place: base for place, base in self.bases.items() if place not in self.unstored}
        new = {
            place: bases[page.page_hash] for place, page in self.unstored.items() if page.page_hash in bases
        }
        return replace(self, unstored={}, bases=kept | new)


@dataclass(frozen=True, slots=True)
class PagedTable:
    """One archetype's rows in pages."""

    row: SnapshotRow
    columns: Mapping[str, PagedColumn]

    def unstored(self) -> Iterator[tuple[Page, Base | None]]:
        """Go through the pages that may not be stored yet, each with what a patch can be made on."""
        for column in self.columns.values():
            for place, page in column.unstored.items():
                yield page, column.bases.get(place)


@dataclass(frozen=True)
class Snapshot:
    """A state in pages, and its hash; what is not stored yet can be."""

    tables: Mapping[bytes, PagedTable]
    state_hash: bytes

    def column(self, archetype_id: bytes, name: str) -> PagedColumn | None:
        """Return a column by its archetype and name."""
        table = self.tables.get(archetype_id)
        return None if table is None else table.columns.get(name)

    def stored(self, bases: Mapping[bytes, Base]) -> Snapshot:
        """Return it as it is once it is stored; `bases` are its new pages, as far as they can be patched."""
        tables = {
            archetype_id: replace(
                table, columns={name: column.stored(bases) for name, column in table.columns.items()}
            )
            for archetype_id, table in self.tables.items()
        }
        return Snapshot(tables, self.state_hash)


@dataclass(frozen=True)
class Projection:
    """A world's state after `committed_tick`, the commit that proves it, and the program so far.

    `is_stored` tells whether the snapshot of this very tick is in the database.
    """

    world_id: UUID
    committed_tick: int
    commit_hash: bytes
    state: WorldState
    program: Program
    snapshot: Snapshot
    is_stored: bool
    known_archetypes: frozenset[bytes]
    stored_code: bytes | None

    def after_tick(self, computed: ComputedTick, snapshot: Snapshot, program: Program) -> Projection:
        """Return the projection that the next tick leads to, not committed yet."""
        return replace(
            self,
            committed_tick=self.committed_tick + 1,
            state=computed.state,
            program=program,
            snapshot=snapshot,
            is_stored=not snapshot.tables,
        )

    @property
    def size_bytes(self) -> int:
        """What it takes in memory: values, pages not stored yet or to be patched, and what is around them.

        Values that it shares with another projection are counted in both.
        """
        size_bytes = PROJECTION_BYTES + sum(table.rows.get_total_buffer_size() for table in self.state)
        for table in self.snapshot.tables.values():
            for column in table.columns.values():
                size_bytes += COLUMN_BYTES + HASH_BYTES * len(column.hashes)
                size_bytes += sum(len(page.data) for page in column.unstored.values())
                size_bytes += sum(
                    len(base.content) + len(base.before or b"") for base in column.bases.values()
                )
                if table.row.row_count != table.row.active_count:  # tombstones: arrays of its own
                    size_bytes += column.array.get_total_buffer_size()
        return size_bytes

    @property
    def new_archetypes(self) -> list[Archetype]:
        """The archetypes of the snapshot that no earlier tick is known to have recorded."""
        tables = self.snapshot.tables.items()
        return [table.row.archetype for key, table in tables if key not in self.known_archetypes]

    def committed(self, commit_hash: bytes, bases: Mapping[bytes, Base] | None) -> Projection:
        """Return it as it is once its tick is committed; `bases` as in `Snapshot.stored`, if it is stored."""
        return replace(
            self,
            commit_hash=commit_hash,
            stored_code=self.program.hash,
            snapshot=self.snapshot if bases is None else self.snapshot.stored(bases),
            is_stored=self.is_stored or bases is not None,
            known_archetypes=self.known_archetypes | self.snapshot.tables.keys(),
        )


@dataclass(frozen=True)
class StoredTick:
    """All that the database holds of a tick, unchecked: its row, its snapshot and pages, and its program."""

    row: TickRow
    snapshot: Sequence[SnapshotRow]
    pages: PageSet
    program: str


def read_tick(connection: Connection, owner_id: UUID, tick: int) -> StoredTick:
    """Read a tick with its whole state; `CorruptionError` if a part of it is missing."""
    row = tick_row(connection, owner_id, tick)
    if row is None:
        msg = f"tick {tick} of world {owner_id} is missing"
        raise CorruptionError(msg, world_id=str(owner_id), tick=tick)
    rows = snapshot_rows(connection, owner_id, tick)
    pages = read_pages(
        connection, {page for each in rows for listed in each.pages.values() for page in listed}
    )
    return StoredTick(row, rows, pages, program_document(connection, row.code_hash))


def newborn(world_id: UUID) -> Projection:
    """Return a root world before its first tick."""
    nothing = Snapshot({}, EMPTY_STATE)
    return Projection(
        world_id,
        -1,
        GENESIS,
        WorldState.empty(),
        Program(),
        nothing,
        is_stored=True,
        known_archetypes=frozenset(),
        stored_code=None,
    )


def project(world_id: UUID, stored_tick: StoredTick, *, goes_on: bool = False) -> Projection:
    """Build a world's state after a stored tick; every page is checked on the way.

    One that `goes_on` knows its pages as bases of those to come. Raises `CorruptionError` that names the page
    or tick which does not match its hash.
    """
    row = stored_tick.row
    pages, bases = stored_tick.pages.bases() if goes_on else (stored_tick.pages.checked(), {})
    active: list[ArchetypeTable] = []
    tables: dict[bytes, PagedTable] = {}
    for each in stored_tick.snapshot:
        columns = {name: decode_column(listed, pages) for name, listed in each.pages.items()}
        table = _active_table(each, columns)
        active.append(table)
        is_whole = "is_active" not in columns
        hashed: dict[str, PagedColumn] = {}
        for name, listed in each.pages.items():
            array = table.array(name) if is_whole else columns[name].chunk(0)
            known = {place: bases[page] for place, page in enumerate(listed) if page in bases}
            hashed[name] = PagedColumn(array, tuple(listed), {}, known)
        tables[each.archetype.archetype_id] = PagedTable(each, hashed)
    if state_hash(map(_digest, stored_tick.snapshot)) != row.state_hash:
        msg = f"the snapshot of tick {row.tick} of world {row.world_id} does not match its state hash"
        raise CorruptionError(msg, world_id=str(row.world_id), tick=row.tick)
    return Projection(
        world_id=world_id,
        committed_tick=row.tick,
        commit_hash=row.commit_hash,
        state=WorldState.of(active),
        program=Program.from_document(stored_tick.program),
        snapshot=Snapshot(tables, row.state_hash),
        is_stored=True,
        known_archetypes=frozenset(tables),
        stored_code=row.code_hash,
    )


def _active_table(row: SnapshotRow, columns: Mapping[str, pa.ChunkedArray]) -> ArchetypeTable:
    names = row.archetype.table_schema.names
    rows = pa.table([columns[name] for name in names], schema=row.archetype.table_schema)
    if "is_active" in columns:
        rows = rows.filter(columns["is_active"])
    return ArchetypeTable.of(row.archetype, rows)


def decode_column(hashes: Iterable[bytes], pages: Mapping[bytes, bytes]) -> pa.ChunkedArray:
    """Put a column together from its pages, in one chunk."""
    arrays = [decode_page(pages[page_hash], name=page_hash.hex()) for page_hash in hashes]
    return pa.chunked_array([arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)])


def take_snapshot(
    state: WorldState, tombstones: Mapping[bytes, ArchetypeTable], before: Snapshot
) -> Snapshot:
    """Cut a state into pages, hashing only the columns that `before` does not know.

    `tombstones` are the last rows of entities that end in this tick; a table that has some gets an
    `is_active` column.
    """
    tables: dict[bytes, PagedTable] = {}
    for archetype_id in sorted(state.tables.keys() | tombstones.keys()):
        active, ended = state.tables.get(archetype_id), tombstones.get(archetype_id)
        columns = {
            name: _hashed(array, before.column(archetype_id, name))
            for name, array in _arrays(active, ended).items()
        }
        active_count = active.row_count if active is not None else 0
        row_count = active_count + (ended.row_count if ended is not None else 0)
        hashes = {name: column.hashes for name, column in columns.items()}
        row = SnapshotRow(_archetype_of(active, ended), row_count, active_count, hashes)
        tables[archetype_id] = PagedTable(row, columns)
    return Snapshot(tables, state_hash(_digest(table.row) for table in tables.values()))


def _arrays(active: ArchetypeTable | None, ended: ArchetypeTable | None) -> dict[str, pa.Array]:
    if active is not None and ended is None:
        return {name: active.array(name) for name in active.archetype.table_schema.names}
    rows = rows_with_tombstones(active, ended)
    return {name: rows.column(name).chunk(0) for name in rows.column_names}


def _archetype_of(*tables: ArchetypeTable | None) -> Archetype:
    return next(table.archetype for table in tables if table is not None)


def _hashed(array: pa.Array, before: PagedColumn | None) -> PagedColumn:
    if before is not None and before.array is array:
        return before
    stored = set[bytes]()
    bases: Mapping[int, Base] = {}
    if before is not None:
        stored = set(before.hashes) - {page.page_hash for page in before.unstored.values()}
        bases = before.bases
    pages = list(array_pages(array))
    hashes = tuple(page.page_hash for page in pages)
    unstored = {place: page for place, page in enumerate(pages) if page.page_hash not in stored}
    return PagedColumn(array, hashes, unstored, bases)


def _digest(row: SnapshotRow) -> ArchetypeDigest:
    return ArchetypeDigest(row.archetype.archetype_id, row.row_count, row.pages)


def active_only(rows: pa.Table) -> pa.Table:
    """Drop the rows of entities that ended in this tick."""
    if "is_active" not in rows.column_names:
        return rows
    return rows.filter(pc.field("is_active")).drop_columns(["is_active"])
