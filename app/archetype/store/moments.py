"""The database's time."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.store.schema import Moment

__all__ = ["now"]

_NOW = sa.text("SELECT clock_timestamp()").columns(moment=Moment)


def now(connection: Connection) -> datetime:
    """Return the database's time; a SQLite file has the clock of its machine."""
    if connection.dialect.name == "postgresql":
        return connection.execute(_NOW).scalar_one()
    return utc_now()
