"""Inserts that leave what is there as it is, built once: building one costs as much as running it."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

__all__ = ["insert_new"]


def insert_new(connection: Connection, table: sa.Table, *returned: sa.Column[bytes]) -> sa.Insert:
    """Give an insert of the rows that are not there already; it returns these columns of them."""
    return _insert_new(connection.dialect.name, table, returned)


@functools.cache
def _insert_new(dialect: str, table: sa.Table, returned: tuple[sa.Column[bytes], ...]) -> sa.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing()
    return statement.returning(*returned) if returned else statement
