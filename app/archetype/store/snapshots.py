"""Snapshots: which pages make up each archetype table after a tick, and the pages themselves."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from archetype.core.archetype import Archetype
from archetype.errors import CorruptionError
from archetype.log.canonical import canonical_json
from archetype.log.lineage import Segment, Stretch
from archetype.log.patches import StoredForm
from archetype.store.inserting import insert_new
from archetype.store.pages import insert_pages
from archetype.store.schema import archetypes, programs, snapshots

__all__ = [
    "SnapshotRow",
    "SnapshotWrite",
    "TickSnapshot",
    "nearest_stored",
    "program_document",
    "read_archetypes",
    "snapshot_rows",
    "snapshots_between",
    "write_blobs",
    "write_snapshot",
]


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One archetype table of a snapshot: its page hashes per column, in row order."""

    archetype: Archetype
    row_count: int
    active_count: int
    pages: Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class SnapshotWrite:
    """A snapshot row to store, with those of its pages that may not be stored yet."""

    row: SnapshotRow
    new_pages: Sequence[StoredForm]


@dataclass(frozen=True, slots=True)
class TickSnapshot:
    """A whole snapshot to store, of a tick by the world that owns it."""

    world_id: UUID
    tick: int
    writes: Sequence[SnapshotWrite]


def write_blobs(
    connection: Connection,
    snapshots: Sequence[TickSnapshot],
    new_archetypes: Sequence[Archetype],
    programs_by_hash: Mapping[bytes, str],
) -> set[bytes]:
    """Store pages, archetypes and programs by their hashes; what is there already stays as it is.

    Returns the names of the pages that were there already, in whatever form.
    """
    new_pages = {
        page.page_hash: page for each in snapshots for write in each.writes for page in write.new_pages
    }
    there = insert_pages(connection, new_pages.values())
    if new_archetypes:
        connection.execute(
            insert_new(connection, archetypes), [_archetype_values(each) for each in new_archetypes]
        )
    for code_hash, document in programs_by_hash.items():
        connection.execute(insert_new(connection, programs), [{"code_hash": code_hash, "document": document}])
    return there


def _archetype_values(archetype: Archetype) -> dict[str, Any]:
    return {
        "archetype_id": archetype.archetype_id,
        "components": canonical_json(archetype.components),
        "schema": canonical_json(archetype.columns()),
    }


def write_snapshot(connection: Connection, snapshot: TickSnapshot) -> None:
    """Store which pages make up each archetype table after a tick; one that is stored already stays."""
    rows = [
        {
            "world_id": snapshot.world_id,
            "tick": snapshot.tick,
            "archetype_id": write.row.archetype.archetype_id,
            "row_count": write.row.row_count,
            "active_count": write.row.active_count,
            "pages": canonical_json(
                {name: [page.hex() for page in hashes] for name, hashes in write.row.pages.items()}
            ),
        }
        for write in snapshot.writes
    ]
    if rows:
        connection.execute(insert_new(connection, snapshots), rows)


_SNAPSHOT_ROWS = (
    sa.select(snapshots, archetypes.c.components, archetypes.c.schema)
    .join(archetypes, archetypes.c.archetype_id == snapshots.c.archetype_id)
    .order_by(snapshots.c.tick, snapshots.c.archetype_id)
)


def snapshots_between(connection: Connection, stretch: Stretch) -> dict[int, list[SnapshotRow]]:
    """Return the stored snapshots of a stretch by tick, each in order of archetype id."""
    statement = _SNAPSHOT_ROWS.where(
        snapshots.c.world_id == stretch.world_id,
        snapshots.c.tick >= stretch.from_tick,
        snapshots.c.tick < stretch.to_tick,
    )
    found: dict[int, list[SnapshotRow]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.tick, []).append(_snapshot_row(row))
    return found


def nearest_stored(connection: Connection, segments: Sequence[Segment], tick: int) -> tuple[UUID, int] | None:
    """Return the newest stored snapshot of a lineage at or before a tick: the owner and its tick."""
    for segment in reversed(segments):
        last = tick if segment.to_tick is None else min(tick, segment.to_tick - 1)
        if last >= segment.from_tick:
            statement = sa.select(sa.func.max(snapshots.c.tick)).where(
                snapshots.c.world_id == segment.world_id,
                snapshots.c.tick >= segment.from_tick,
                snapshots.c.tick <= last,
            )
            found = connection.scalar(statement)
            if found is not None:
                return segment.world_id, found
    return None


def snapshot_rows(connection: Connection, owner_id: UUID, tick: int) -> list[SnapshotRow]:
    """Return the snapshot after a tick, by the world that owns the tick, in order of archetype id."""
    statement = _SNAPSHOT_ROWS.where(snapshots.c.world_id == owner_id, snapshots.c.tick == tick)
    return [_snapshot_row(row) for row in connection.execute(statement)]


def _snapshot_row(row: Row[Any]) -> SnapshotRow:
    hashes = {
        name: [bytes.fromhex(page) for page in listed] for name, listed in json.loads(row.pages).items()
    }
    return SnapshotRow(_archetype(row), row.row_count, row.active_count, hashes)


def read_archetypes(connection: Connection, archetype_ids: Collection[bytes]) -> dict[bytes, Archetype]:
    """Return these archetypes by their ids; `CorruptionError` names one that is missing or damaged."""
    statement = sa.select(archetypes).where(archetypes.c.archetype_id.in_(sorted(archetype_ids)))
    found = {bytes(row.archetype_id): _archetype(row) for row in connection.execute(statement)}
    for archetype_id in archetype_ids:
        if archetype_id not in found:
            msg = f"archetype {archetype_id.hex()} is missing: restore it from a backup or another copy"
            raise CorruptionError(msg, archetype=archetype_id.hex())
    return found


@functools.lru_cache(maxsize=4096)
def _parsed(components: str, schema: str) -> Archetype:
    return Archetype.from_parts(json.loads(components), json.loads(schema))


def _archetype(row: Row[Any]) -> Archetype:
    archetype = _parsed(row.components, row.schema)
    if archetype.archetype_id != bytes(row.archetype_id):
        name = bytes(row.archetype_id).hex()
        msg = f"archetype {name} does not match its hash: it was edited or damaged"
        raise CorruptionError(msg, archetype=name)
    return archetype


def program_document(connection: Connection, code_hash: bytes) -> str:
    """Return the program of that hash, checked against it."""
    document = connection.scalar(sa.select(programs.c.document).where(programs.c.code_hash == code_hash))
    if document is None or hashlib.sha256(document.encode()).digest() != code_hash:
        msg = f"program {code_hash.hex()} is missing or does not match its hash"
        raise CorruptionError(msg, program=code_hash.hex())
    return document
