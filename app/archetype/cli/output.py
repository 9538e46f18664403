"""What commands print: the same rows as a table, JSON, NDJSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TextIO

from archetype.errors import InvalidInputError

__all__ = ["Format", "Output"]

Row = Mapping[str, Any]

_WIDE = 100_000
"""Characters in a line of a table that is not on a terminal: never folded, whatever it holds."""


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Output:
    """Writes rows in one form; `columns` selects and orders them, by default each command's own choice."""

    form: Format
    columns: tuple[str, ...] | None = None
    has_header: bool = True
    stream: TextIO | None = None

    def rows(self, rows: Iterable[Row], *, shown: Sequence[str] | None = None, document: Any = None) -> None:
        """Write rows; `shown` are a table's columns, `document` is the JSON instead of the rows."""
        if self.form is Format.NDJSON:
            for row in rows:
                self._line(_dumps(self._selected(row)))
            return
        listed = list(rows)
        if self.form is Format.JSON:
            whole = document is not None and self.columns is None
            self._line(_dumps(document if whole else [self._selected(row) for row in listed], indent=2))
        elif self.form is Format.CSV:
            self._csv(listed, self._names(listed, None if listed else shown))
        else:
            self._table(listed, self._names(listed, shown))

    def lines(self, rows: Iterable[Row], *, shown: Sequence[str]) -> None:
        """Write each row in a line of its own as it comes: as JSON, or its columns, by default `shown`."""
        names = self.columns or tuple(shown)
        if self.form is Format.CSV and self.has_header:
            self._csv([], names)
        for each in rows:
            row = self._selected(each)
            if self.form in {Format.JSON, Format.NDJSON}:
                self._line(_dumps(row))
            elif self.form is Format.CSV:
                csv.writer(self._stream(), lineterminator="\n").writerow(_cell(row[name]) for name in names)
            else:
                self._line("  ".join(_printable(_cell(row[name])) for name in names))
            self._stream().flush()

    def record(self, row: Row) -> None:
        """Write one thing: a table of its own shows a line for each of its fields."""
        if self.form is Format.JSON:
            self._line(_dumps(self._selected(row), indent=2))
        elif self.form is Format.TABLE:
            lines = [{"field": name, "value": value} for name, value in self._selected(row).items()]
            self._table(lines, ["field", "value"], has_header=False)
        else:
            self.rows([row])

    def text(self, line: str) -> None:
        """Write a line as it is."""
        self._line(line)

    def _selected(self, row: Row) -> Row:
        if self.columns is None:
            return row
        unknown = [name for name in self.columns if name not in row]
        if unknown:
            msg = f"no column {unknown[0]!r} here; there are {', '.join(row)}"
            raise InvalidInputError(msg)
        return {name: row[name] for name in self.columns}

    def _names(self, rows: Sequence[Row], shown: Sequence[str] | None) -> list[str]:
        known = list(dict.fromkeys([*(shown or ()), *(name for row in rows for name in row)]))
        if self.columns is None:
            return list(shown) if shown is not None else known
        unknown = [name for name in self.columns if name not in known]
        if unknown and rows:
            msg = f"no column {unknown[0]!r} here; there are {', '.join(known)}"
            raise InvalidInputError(msg)
        return list(self.columns)

    def _csv(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        writer = csv.writer(self._stream(), lineterminator="\n")
        if self.has_header and names:
            writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)

    def _table(self, rows: Sequence[Row], names: Sequence[str], *, has_header: bool = True) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        stream = self._stream()
        table = Table(
            box=None, pad_edge=False, show_header=has_header and self.has_header, header_style="bold"
        )
        for name in names:
            is_number = bool(rows) and all(_is_number(row.get(name)) for row in rows)
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_printable(_cell(row.get(name)))) for name in names))
        width = None if stream.isatty() else _WIDE
        console = Console(file=stream, width=width, highlight=False, soft_wrap=False)
        if stream.isatty():
            console.print(table)
            return
        with console.capture() as capture:
            console.print(table)
        for line in capture.get().splitlines():
            stream.write(line.rstrip() + "\n")

    def _line(self, text: str) -> None:
        self._stream().write(text + "\n")

    def _stream(self) -> TextIO:
        return self.stream or sys.stdout


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case dict() | list() | bool() | float():
            return _dumps(value)
        case _:
            return str(_plain(value))


def _printable(text: str) -> str:
    """Show control characters by their escapes: what is stored must not steer the terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _dumps(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Spell what JSON has no form for."""
    match value:
        case bytes() | memoryview():
            return bytes(value).hex()
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
