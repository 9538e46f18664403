"""Inserts that are run with every tick, built once: building one costs as much as running it."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

__all__ = ["insert_new", "insert_rows"]


def insert_new(connection: Connection, table: sa.Table, *returned: sa.Column[bytes]) -> sa.Insert:
    """Give an insert that leaves rows which are there as they are, and returns columns of the new ones."""
    return _new(connection.dialect.name, table, returned)


@functools.cache
def _new(dialect: str, table: sa.Table, returned: tuple[sa.Column[bytes], ...]) -> sa.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing()
    return statement.returning(*returned) if returned else statement


@functools.cache
def insert_rows(table: sa.Table) -> sa.Insert:
    """Give a plain insert."""
    return table.insert()
