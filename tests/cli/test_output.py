"""The same rows in every form."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from archetype.cli.output import Format, Output
from archetype.errors import InvalidInputError

ROWS = [
    {"name": "a", "tick": 1, "payload": {"x": [1, None]}, "at": None},
    {"name": "b, c", "tick": 20, "payload": {}, "at": datetime(2026, 1, 2, tzinfo=UTC)},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(form, rows=ROWS, *, columns=None, has_header=True, stream=None, **options):
    stream = stream or io.StringIO()
    Output(Format(form), columns, has_header, stream).rows(rows, **options)
    return stream.getvalue()


def test_json_is_one_document():
    """All rows, or the document that holds them."""
    assert json.loads(printed("json", ROWS[:1])) == ROWS[:1]
    assert json.loads(printed("json", document={"rows": []})) == {"rows": []}
    assert json.loads(printed("json", columns=("tick",), document={})) == [{"tick": 1}, {"tick": 20}]


def test_ndjson_is_a_line_a_row():
    """Rows are written as they come, never gathered."""
    lines = printed("ndjson", iter(ROWS)).splitlines()
    assert [json.loads(line)["at"] for line in lines] == [None, "2026-01-02T00:00:00+00:00"]


def test_csv_quotes_and_nests():
    """Commas are quoted, absent values empty, nested ones JSON."""
    assert printed("csv").splitlines() == [
        "name,tick,payload,at",
        'a,1,"{""x"": [1, null]}",',
        '"b, c",20,{},2026-01-02T00:00:00+00:00',
    ]
    assert printed("csv", columns=("tick", "name"), has_header=False) == '1,a\n20,"b, c"\n'


def test_tables_align_and_are_never_folded_in_a_pipe():
    """Numbers stand right, and a long value stays on its line."""
    text = printed("table", [{"n": 1, "text": "x" * 500}, {"n": 22, "text": ""}])
    assert text.splitlines() == [" n  text", " 1  " + "x" * 500, "22"]
    assert printed("table", columns=("name",), has_header=False) == "a\nb, c\n"
    assert printed("table", [], shown=("name", "tick")) == "name  tick\n"


def test_a_table_shows_a_choice_and_csv_everything():
    """The columns that a command shows are for people."""
    assert printed("table", shown=("tick",)).splitlines() == ["tick", "   1", "  20"]
    assert printed("csv", shown=("tick",)).startswith("name,tick,payload,at\n")
    assert printed("csv", [], shown=("tick", "name")) == "tick,name\n"


def test_what_is_stored_cannot_steer_the_terminal():
    """Escape sequences and line ends are shown, not sent."""
    text = printed("table", [{"a": "\x1b[31mred\nline"}], has_header=False)
    assert text == "\\x1b[31mred\\nline\n"


@pytest.mark.parametrize("is_plain", [True, False])
def test_colour_is_for_terminals_without_no_color(monkeypatch, is_plain):
    """NO_COLOR leaves the text alone."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("NO_COLOR", "1" if is_plain else "")
    text = printed("table", [{"a": 1}], stream=Terminal())
    assert ("\x1b[3" in text) is False
    assert "a" in text


def test_an_unknown_column_is_named_with_those_that_there_are():
    """A typo is an error, not an empty column."""
    for form in Format:
        with pytest.raises(InvalidInputError, match="no column 'nam' here; there are name, tick"):
            printed(form, columns=("nam",))


def test_a_record_is_a_line_a_field():
    """One thing is shown down the page."""
    stream = io.StringIO()
    Output(Format.TABLE, None, stream=stream).record({"name": "a", "is_ready": True, "at": None})
    assert stream.getvalue().splitlines() == ["name      a", "is_ready  true", "at"]
    stream = io.StringIO()
    Output(Format.JSON, ("name",), stream=stream).record({"name": "a", "tick": 1})
    assert json.loads(stream.getvalue()) == {"name": "a"}
    stream = io.StringIO()
    Output(Format.CSV, None, stream=stream).record({"name": "a", "tick": 1})
    assert stream.getvalue() == "name,tick\na,1\n"
