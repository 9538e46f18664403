"""Tables read from files and rows, and sent as Arrow streams."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, feather, ipc, parquet

from archetype.client.tables import decode_stream, encode_stream, read_table, table_from, table_from_rows
from archetype.errors import InvalidInputError

TABLE = pa.table({"position__x": [1.0, 2.5], "name__text": ["a", "b"]})


def write(path, table):
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(table.to_pylist()))
        case ".ndjson":
            path.write_text("\n".join(map(json.dumps, table.to_pylist())) + "\n\n")
        case ".csv":
            csv.write_csv(table, path)
        case ".parquet":
            parquet.write_table(table, path)
        case ".arrow":
            with ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
        case ".arrows":
            path.write_bytes(encode_stream(table))
        case ".feather":
            feather.write_feather(table, path)


@pytest.mark.parametrize("ending", [".json", ".ndjson", ".csv", ".parquet", ".arrow", ".arrows", ".feather"])
def test_every_kind_of_file_gives_the_same_table(tmp_path, ending):
    """The ending says how a file is read."""
    path = tmp_path / f"rows{ending}"
    write(path, TABLE)
    assert read_table(path).to_pydict() == TABLE.to_pydict()


def test_a_stream_comes_back_as_it_went():
    """Types, nulls and values survive."""
    table = pa.table(
        {"a__b": pa.array([1, None], pa.int32()), "c__d": pa.array([["x"], []], pa.list_(pa.string()))}
    )
    assert decode_stream(encode_stream(table)).equals(table)


@pytest.mark.parametrize(
    "rows",
    [
        TABLE,
        TABLE.to_pylist(),
        [{"Position": {"x": 1.0}, "Name": {"text": "a"}}, {"Position": {"x": 2.5}, "Name": {"text": "b"}}],
        pd.DataFrame(TABLE.to_pydict(), index=[7, 3]),
    ],
    ids=["arrow", "flat rows", "nested rows", "pandas"],
)
def test_many_may_be_handed_over_in_several_forms(rows):
    """What pandas counts its rows by is no column."""
    assert table_from(rows).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("rows", [3, "demo", {"position__x": [1]}, [[{"type": "Position"}]]])
def test_what_holds_no_rows_is_refused(rows):
    """The error says what is taken."""
    with pytest.raises(InvalidInputError, match=r"pass an Arrow table|must be a JSON object"):
        table_from(rows)


def test_nested_rows_become_columns():
    """A component in each row needs no mark; one that some rows lack gets one."""
    table = table_from_rows([{"Position": {"x": 1}, "Tag": {}}, {"Position": {"x": 2, "y": 3}}])
    assert table.to_pydict() == {"position__x": [1, 2], "tag__": [True, False], "position__y": [None, 3]}


def test_a_component_without_fields_keeps_its_mark():
    """Nothing else would say that it is there."""
    assert table_from_rows([{"Tag": {}}]).to_pydict() == {"tag__": [True]}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rows.txt", "", "no known ending"),
        ("rows.json", "{", "cannot be read"),
        ("rows.json", "{}", "must hold a JSON array"),
        ("rows.json", "[1]", "must be a JSON object"),
        ("rows.arrow", "nonsense", "cannot be read"),
        ("rows.parquet", "nonsense", "cannot be read"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, text, reason):
    """What cannot be read says so in one line."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        read_table(path)
    assert "\n" not in caught.value.message


def test_a_missing_file_is_named(tmp_path):
    """The line holds the path and why."""
    with pytest.raises(InvalidInputError, match=r"none\.csv cannot be read: "):
        read_table(tmp_path / "none.csv")
