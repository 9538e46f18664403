"""A world as this process holds it: the state after its last committed tick, ready for the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from archetype.core.archetype import Archetype
from archetype.core.state import ArchetypeTable, WorldState
from archetype.core.tick import snapshot_rows as rows_with_tombstones
from archetype.errors import CorruptionError
from archetype.log.hashes import GENESIS, ArchetypeDigest, state_hash
from archetype.log.lineage import Lineage
from archetype.log.pages import Page, array_pages, decode_page
from archetype.service.program import Program
from archetype.store.snapshots import (
    SnapshotRow,
    SnapshotWrite,
    program_document,
    read_pages,
    snapshot_rows,
)
from archetype.store.ticks import tick_row

__all__ = ["Projection", "Snapshot", "decode_column", "load_projection", "take_snapshot"]


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


def load_projection(
    connection: Connection, world_id: UUID, committed_tick: int, lineage: Lineage
) -> Projection:
    """Read a world's state after a tick from its snapshot; every page is checked on the way.

    Raises `CorruptionError` when a tick, page or program is missing or does not match its hash.
    """
    if committed_tick < 0:
        return Projection(world_id, committed_tick, GENESIS, WorldState.empty(), Program(), {}, None)
    owner_id = lineage.owner_of(committed_tick)
    row = tick_row(connection, owner_id, committed_tick)
    if row is None:
        msg = f"tick {committed_tick} of world {owner_id} is missing"
        raise CorruptionError(msg, world_id=str(owner_id), tick=committed_tick)
    rows = snapshot_rows(connection, owner_id, committed_tick)
    hashes = {page for each in rows for listed in each.pages.values() for page in listed}
    pages = read_pages(connection, hashes)
    tables: list[ArchetypeTable] = []
    stored: dict[tuple[bytes, str], _StoredColumn] = {}
    for each in rows:
        columns = {name: decode_column(listed, pages) for name, listed in each.pages.items()}
        table = _active_table(each, columns)
        tables.append(table)
        if "is_active" not in columns:
            for name, listed in each.pages.items():
                stored[each.archetype.archetype_id, name] = _StoredColumn(table.array(name), tuple(listed))
    if state_hash(map(_digest, rows)) != bytes(row.state_hash):
        msg = f"the snapshot of tick {committed_tick} of world {owner_id} does not match its state hash"
        raise CorruptionError(msg, world_id=str(owner_id), tick=committed_tick)
    program = Program.from_document(program_document(connection, bytes(row.code_hash)))
    state = WorldState.of(tables)
    return Projection(
        world_id, committed_tick, bytes(row.commit_hash), state, program, stored, bytes(row.code_hash)
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
