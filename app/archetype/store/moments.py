"""The database's clock: of all who share a database, it is the one that counts."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.store.schema import Moment

__all__ = ["database_now"]

_NOW = sa.text("SELECT clock_timestamp() AS moment").columns(moment=Moment)


def database_now(connection: Connection) -> datetime:
    """Return the time, UTC; a SQLite file has the clock of its machine."""
    if connection.dialect.name == "postgresql":
        return connection.execute(_NOW).scalar_one()
    return utc_now()
