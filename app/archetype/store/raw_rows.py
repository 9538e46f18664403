"""Rows as they lie in their tables, and what they hold, believing none of it.

A SQLite file takes any type anywhere, and a damaged one may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Row

from archetype.log.hashes import iso_utc
from archetype.store import schema

__all__ = ["RawRow", "Stored", "raw_columns", "read_row"]

RawRow = Row[Any]


class Stored(NamedTuple):
    """What a row holds; `unreadable` names the columns whose values are not of their type, and stay raw."""

    values: Mapping[str, Any]
    unreadable: tuple[str, ...]


def read_row(table: sa.Table, row: RawRow, **apart: Any) -> Stored:
    """Read the columns of `table` out of a raw row, and those that were read apart from it."""
    values: dict[str, Any] = {}
    unreadable: list[str] = []
    for name, is_nullable, read in _COLUMNS[table.name]:
        value = apart[name] if name in apart else getattr(row, name)
        if value is None and is_nullable:
            values[name] = None
            continue
        try:
            values[name] = read(value)
        except (ValueError, TypeError):
            values[name] = value
            unreadable.append(name)
    return Stored(values, tuple(unreadable))


Reader = Callable[[Any], Any]


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        msg = f"{type(value).__name__} where {kind.__name__} should stand"
        raise TypeError(msg)
    return value


def _integer(value: Any) -> int:
    return _expect(int, value)


def _float(value: Any) -> float:
    return _expect(float, value)


def _text(value: Any) -> str:
    _expect(str, value).encode("utf-8")
    return value


def _bytes(value: Any) -> bytes:
    return _expect(bytes, value)


def _id(value: Any) -> UUID:
    """Read an id in its one spelling: another would be an edit that the hashes do not see."""
    if isinstance(value, UUID):
        return value
    parsed = UUID(_text(value))
    if str(parsed) != value:
        raise ValueError(value)
    return parsed


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    parsed = datetime.fromisoformat(_text(value))
    if iso_utc(parsed) != value:
        raise ValueError(value)
    return parsed


_READERS: Sequence[tuple[type[sa.types.TypeEngine[Any]], Reader]] = (
    (schema.Id, _id),
    (schema.Moment, _moment),
    (sa.Integer, _integer),
    (sa.Float, _float),
    (sa.String, _text),
    (sa.LargeBinary, _bytes),
)


def _reader_of(column: sa.Column[Any]) -> Reader:
    return next(read for kind, read in _READERS if isinstance(column.type, kind))


_COLUMNS: Mapping[str, Sequence[tuple[str, bool, Reader]]] = {
    table.name: [(column.name, bool(column.nullable), _reader_of(column)) for column in table.columns]
    for table in schema.metadata.tables.values()
}


def raw_columns(*columns: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """Columns as the driver gives them: a value that cannot be read must not end the whole query."""
    return [sa.type_coerce(column, sa.types.NULLTYPE).label(column.name) for column in columns]
