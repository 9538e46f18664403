"""A world as this process holds it: the state after its last committed tick, ready for the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.core.state import ArchetypeTable, WorldState
from archetype.core.tick import snapshot_rows as rows_with_tombstones
from archetype.errors import CorruptionError
from archetype.log.hashes import GENESIS, ArchetypeDigest, commit_hash, state_hash
from archetype.log.pages import Page, array_pages, decode_page
from archetype.service.inputs import TickInputs
from archetype.service.program import Program
from archetype.store.snapshots import (
    SnapshotRow,
    SnapshotWrite,
    StoredPage,
    program_document,
    read_pages,
    snapshot_rows,
)
from archetype.store.ticks import TickRow, tick_row

__all__ = [
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


@dataclass(frozen=True, slots=True)
class _StoredColumn:
    """A column whose pages are stored: the same array need not be hashed again."""

    array: pa.Array
    hashes: tuple[bytes, ...]


StoredColumns = Mapping[tuple[bytes, str], _StoredColumn]


@dataclass(frozen=True)
class Snapshot:
    """A state in pages: what to write, the state's hash, and which columns are stored now."""

    writes: tuple[SnapshotWrite, ...]
    state_hash: bytes
    stored: StoredColumns


@dataclass(frozen=True)
class Projection:
    """A world's state after `committed_tick`, the commit that proves it, and the program so far."""

    world_id: UUID
    committed_tick: int
    commit_hash: bytes
    state: WorldState
    program: Program
    stored: StoredColumns
    stored_code: bytes | None

    def after_tick(self, state: WorldState, snapshot: Snapshot, inputs: TickInputs) -> Projection:
        """Return the projection that the next tick leads to, with its commit hash."""
        tick = self.committed_tick + 1
        digest = commit_hash(
            parent=self.commit_hash,
            tick=tick,
            command_hashes=(row.hash for row in inputs.commands),
            state=snapshot.state_hash,
            code=inputs.program.hash,
        )
        return Projection(
            world_id=self.world_id,
            committed_tick=tick,
            commit_hash=digest,
            state=state,
            program=inputs.program,
            stored=snapshot.stored,
            stored_code=inputs.program.hash,
        )


@dataclass(frozen=True)
class StoredTick:
    """All that the database holds of a tick, unchecked: its row, its snapshot and pages, and its program."""

    row: TickRow
    snapshot: Sequence[SnapshotRow]
    pages: Sequence[StoredPage]
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
    return Projection(world_id, -1, GENESIS, WorldState.empty(), Program(), {}, None)


def project(world_id: UUID, stored_tick: StoredTick) -> Projection:
    """Build a world's state after a stored tick; every page is checked on the way.

    Raises `CorruptionError` that names the page or tick which does not match its hash.
    """
    row = stored_tick.row
    pages = {page.page_hash: page.checked() for page in stored_tick.pages}
    tables: list[ArchetypeTable] = []
    stored: dict[tuple[bytes, str], _StoredColumn] = {}
    for each in stored_tick.snapshot:
        columns = {name: decode_column(listed, pages) for name, listed in each.pages.items()}
        table = _active_table(each, columns)
        tables.append(table)
        if "is_active" not in columns:
            for name, listed in each.pages.items():
                stored[each.archetype.archetype_id, name] = _StoredColumn(table.array(name), tuple(listed))
    if state_hash(map(_digest, stored_tick.snapshot)) != row.state_hash:
        msg = f"the snapshot of tick {row.tick} of world {row.world_id} does not match its state hash"
        raise CorruptionError(msg, world_id=str(row.world_id), tick=row.tick)
    return Projection(
        world_id=world_id,
        committed_tick=row.tick,
        commit_hash=row.commit_hash,
        state=WorldState.of(tables),
        program=Program.from_document(stored_tick.program),
        stored=stored,
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
    state: WorldState,
    tombstones: Mapping[bytes, ArchetypeTable],
    stored: StoredColumns,
) -> Snapshot:
    """Cut a state into pages, hashing only the columns that are not stored already.

    `tombstones` are the last rows of entities that end in this tick; a table that has some is written
    with an `is_active` column.
    """
    writes: list[SnapshotWrite] = []
    now_stored: dict[tuple[bytes, str], _StoredColumn] = {}
    for archetype_id in sorted(state.tables.keys() | tombstones.keys()):
        active, ended = state.tables.get(archetype_id), tombstones.get(archetype_id)
        hashes: dict[str, tuple[bytes, ...]] = {}
        new_pages: list[Page] = []
        for name, array in _columns(active, ended).items():
            key = (archetype_id, name)
            column = _store(array, stored.get(key), new_pages)
            hashes[name] = column.hashes
            if ended is None:
                now_stored[key] = column
        active_count = active.row_count if active is not None else 0
        row_count = active_count + (ended.row_count if ended is not None else 0)
        row = SnapshotRow(_archetype_of(active, ended), row_count, active_count, hashes)
        is_new = (archetype_id, "entity_id") not in stored
        writes.append(SnapshotWrite(row, new_pages, is_new_archetype=is_new))
    digest = state_hash(_digest(write.row) for write in writes)
    return Snapshot(tuple(writes), digest, now_stored)


def _columns(active: ArchetypeTable | None, ended: ArchetypeTable | None) -> dict[str, pa.Array]:
    if active is not None and ended is None:
        return {name: active.array(name) for name in active.archetype.table_schema.names}
    rows = rows_with_tombstones(active, ended)
    return {name: rows.column(name).chunk(0) for name in rows.column_names}


def _archetype_of(*tables: ArchetypeTable | None) -> Archetype:
    return next(table.archetype for table in tables if table is not None)


def _store(array: pa.Array, before: _StoredColumn | None, new_pages: list[Page]) -> _StoredColumn:
    if before is not None and before.array is array:
        return before
    known = set(before.hashes) if before is not None else set[bytes]()
    hashes: list[bytes] = []
    for page in array_pages(array):
        hashes.append(page.page_hash)
        if page.page_hash not in known:
            new_pages.append(page)
    return _StoredColumn(array, tuple(hashes))


def _digest(row: SnapshotRow) -> ArchetypeDigest:
    return ArchetypeDigest(row.archetype.archetype_id, row.row_count, row.pages)


def active_only(rows: pa.Table) -> pa.Table:
    """Drop the rows of entities that ended in this tick."""
    if "is_active" not in rows.column_names:
        return rows
    return rows.filter(pc.field("is_active")).drop_columns(["is_active"])
