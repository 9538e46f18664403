"""Copying a database while others write it: a SQLite file by its own means, and what a copy holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from archetype.errors import CorruptionError, UnavailableError
from archetype.store.schema import log_head

__all__ = ["check_copy", "copy_sqlite", "head_position", "program_url"]

_FAULTS_SHOWN_MAX = 3
_SHARED = frozenset(
    {"host", "port", "passfile", "service", "servicefile", "target_session_attrs", "krbsrvname", "gsslib"}
)
"""What in a URL's query the driver and PostgreSQL's own programs read alike."""


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy one state of a SQLite file into an empty file; writers of the source go on meanwhile.

    Raises `UnavailableError` when either file cannot be used, `CorruptionError` when the source is damaged.
    """
    try:
        with (
            closing(sqlite3.connect(_uri(source, "mode=ro"), uri=True)) as reader,
            closing(sqlite3.connect(target)) as writer,
        ):
            # In one step: many small ones would begin anew with each commit of another process.
            reader.backup(writer)
    except sqlite3.OperationalError as error:
        msg = f"{source} could not be copied to {target}: {error}"
        raise UnavailableError(msg) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(source, str(error)) from error


def check_copy(copy: Path) -> int:
    """Check the structure of a copied SQLite file that nobody has open, and return its last position.

    Raises `CorruptionError` with what is wrong.
    """
    try:
        with closing(sqlite3.connect(_uri(copy, "mode=ro&immutable=1"), uri=True)) as connection:
            faults = [text for (text,) in connection.execute("PRAGMA integrity_check")]
            if faults != ["ok"]:
                raise _damaged(copy, "; ".join(faults[:_FAULTS_SHOWN_MAX]))
            (position,) = connection.execute("SELECT position FROM log_head").fetchone()
    except sqlite3.DatabaseError as error:
        raise _damaged(copy, str(error)) from error
    return position


def head_position(connection: Connection) -> int:
    """Return the position of the log's last event."""
    return int(connection.execute(sa.select(log_head.c.position)).scalar_one())


def program_url(url: URL) -> str:
    """Spell a PostgreSQL's URL for its own programs: without the password, and with what they know.

    The driver's `ssl` is their `sslmode`; what else is the driver's or ours they refuse.
    """
    query = {name: value for name, value in url.query.items() if name in _SHARED}
    if "ssl" in url.query:
        query["sslmode"] = url.query["ssl"]
    bare = URL.create(
        "postgresql", url.username, host=url.host, port=url.port, database=url.database, query=query
    )
    return bare.render_as_string()


def _damaged(path: Path, why: str) -> CorruptionError:
    return CorruptionError(f"{path} is damaged: {why}; restore it from an earlier backup")


def _uri(path: Path, options: str) -> str:
    return f"{path.resolve().as_uri()}?{options}"
