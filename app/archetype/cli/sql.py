"""`archetype sql`: reading the database with plain SQL, and with no way to write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.database import DatabaseOption, on_database, require_file
from archetype.cli.session import Session, with_session
from archetype.cli.values import text_of
from archetype.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.exc import DBAPIError

    from archetype.store.database import Database

__all__ = ["register"]

_READING = ("SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW", "PRAGMA")
"""How a statement that reads begins; the database itself then refuses what writes all the same."""

_BEFORE_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)

_TROUBLE = ("locked", "busy", "disk", "unable to open", "malformed", "not a database")
"""What SQLite says when the statement is not to blame."""

_TROUBLE_CLASSES = ("08", "53", "57", "58", "XX")
"""The classes of PostgreSQL's codes that mean the same."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(epilog="Example: archetype sql 'SELECT type, count(*) FROM audit_trail GROUP BY type'")(sql)


@with_session
def sql(
    session: Session,
    statement: Annotated[
        str,
        typer.Argument(
            metavar="STATEMENT", help="One SQL statement that only reads; @FILE reads a file, - stdin."
        ),
    ],
    database_url: DatabaseOption = None,
) -> None:
    """Query the database itself; views for people are command_log, audit_trail, world_tree and tick_log."""
    text = text_of(statement, "STATEMENT")
    _require_reading(text)

    async def use(database: Database) -> tuple[list[str], list[dict[str, Any]]]:
        require_file(database)
        return await database.read(lambda connection: _ask(connection, text))

    names, rows = on_database(database_url, use)
    session.output.rows(rows, shown=names)


def _require_reading(statement: str) -> None:
    rest = _BEFORE_FIRST_WORD.sub("", statement, count=1)
    word = re.match(r"\w*", rest)
    first = "" if word is None else word.group().upper()
    if first not in _READING:
        msg = f"`archetype sql` only reads: begin with {', '.join(_READING)}, not {first or 'nothing'}"
        raise InvalidInputError(msg)


def _ask(connection: Connection, statement: str) -> tuple[list[str], list[dict[str, Any]]]:
    from sqlalchemy.exc import DBAPIError

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    else:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    try:
        result = connection.exec_driver_sql(statement)
        names = list(result.keys()) if result.returns_rows else []
        rows = [dict(zip(names, row, strict=True)) for row in result] if result.returns_rows else []
    except DBAPIError as error:
        if _is_trouble(error):
            raise
        raise InvalidInputError(_explained(error)) from error
    return names, rows


def _is_trouble(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_TROUBLE_CLASSES)
    return error.connection_invalidated or any(word in str(error.orig).lower() for word in _TROUBLE)


def _explained(error: DBAPIError) -> str:
    reason = str(error.orig).strip().splitlines()[0].rpartition(">: ")[2]
    if getattr(error.orig, "sqlstate", None) == "25006" or "readonly" in reason:
        return f"`archetype sql` only reads: {reason}"
    return reason
