"""Damage that the database's guards refuse, done past them."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["empty_payloads"]


async def empty_payloads(database, kind: str) -> None:
    """Take away what the commands of a type asked for."""
    guard = "events_no_update" if database.is_sqlite else "events_append_only ON events"

    def edit(connection) -> None:
        connection.execute(sa.text(f"DROP TRIGGER {guard}"))
        connection.execute(sa.text("UPDATE events SET payload = '{}' WHERE type = :kind"), {"kind": kind})

    await database.write(edit)
