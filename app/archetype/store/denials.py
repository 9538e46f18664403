"""Denials and origins: who was refused what, and from where actors ask. Neither follows from the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from archetype.store.moments import database_now
from archetype.store.schema import denials, origins

__all__ = [
    "DenialRow",
    "Origin",
    "count_denials",
    "evict_denials",
    "list_denials",
    "note_origin",
    "write_denials",
]


@dataclass(frozen=True, slots=True)
class DenialRow:
    """Denials that were one like the other within a minute; `code` is the error's, `count` how many."""

    denial_id: UUID
    code: str
    reason: str
    actor_id: UUID | None
    key_id: str | None
    address: str | None
    action: str | None
    world: str | None
    count: int
    first_at: datetime
    last_at: datetime


def write_denials(connection: Connection, rows: Sequence[DenialRow]) -> None:
    """Write rows; one that is there already gets its new count, so that a retry does no harm."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(denials)
    change = {"count": statement.excluded.count, "last_at": statement.excluded.last_at}
    upsert = statement.on_conflict_do_update(index_elements=[denials.c.denial_id], set_=change)
    connection.execute(upsert, [asdict(row) for row in rows])


def count_denials(connection: Connection) -> int:
    """Count the rows."""
    return connection.scalar(sa.select(sa.func.count()).select_from(denials)) or 0


def evict_denials(connection: Connection, row_count: int) -> None:
    """Remove that many of the oldest rows; the database lets nobody remove one of the newest hundred."""
    oldest = sa.select(denials.c.denial_id).order_by(denials.c.denial_id).limit(row_count)
    connection.execute(denials.delete().where(denials.c.denial_id.in_(oldest)))


def list_denials(connection: Connection, *, limit: int, before: UUID | None = None) -> list[DenialRow]:
    """Return the newest denials, older than one if its id is given, the newest last."""
    statement = sa.select(*denials.columns).order_by(denials.c.denial_id.desc())
    if before is not None:
        statement = statement.where(denials.c.denial_id < before)
    found = [DenialRow(**row) for row in connection.execute(statement.limit(limit)).mappings()]
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Origin:
    """From where an actor asks, and with which key."""

    actor_id: UUID | None
    key_id: str | None
    address: str


def note_origin(connection: Connection, origin_id: UUID, origin: Origin) -> None:
    """Note that an actor asks from somewhere now: a new row, or one more moment of one that is there.

    A row holds all its moments, also those of a clock that was set back in between.
    """
    moment = database_now(connection)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row: dict[str, Any] = {"origin_id": origin_id, "first_at": moment, "last_at": moment} | asdict(origin)
    statement = insert(origins)
    noted = statement.excluded.last_at
    change = {
        "first_at": sa.case((noted < origins.c.first_at, noted), else_=origins.c.first_at),
        "last_at": sa.case((noted > origins.c.last_at, noted), else_=origins.c.last_at),
    }
    upsert = statement.on_conflict_do_update(index_elements=[origins.c.origin_id], set_=change)
    connection.execute(upsert, row)
