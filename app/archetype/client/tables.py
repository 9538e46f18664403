"""Arrow tables on their way in and out: files that people have, and the stream that the server takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from archetype.errors import FieldFault, InvalidInputError

__all__ = ["decode_stream", "encode_stream", "read_table", "table_from", "table_from_rows"]


def encode_stream(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def decode_stream(data: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream."""
    with ipc.open_stream(data) as reader:
        return reader.read_all()


def read_table(path: Path) -> pa.Table:
    """Read a table from a .json, .ndjson, .csv, .arrow or .parquet file.

    JSON rows may be flat (`position__x`) or nested (`{"Position": {"x": 1}}`). Raises `InvalidInputError`
    when the file cannot be read as what its name says.
    """
    readers = {
        ".json": _read_json,
        ".ndjson": _read_ndjson,
        ".jsonl": _read_ndjson,
        ".csv": csv.read_csv,
        ".arrow": _read_arrow,
        ".arrows": _read_arrow,
        ".feather": _read_arrow,
        ".parquet": parquet.read_table,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        msg = f"{path} has no known ending; use one of {', '.join(readers)}"
        raise InvalidInputError(msg, faults=[FieldFault("file", msg)])
    try:
        return reader(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        msg = f"{path} cannot be read: {_reason(error)}"
        raise InvalidInputError(msg, faults=[FieldFault("file", msg)]) from error


def table_from(rows: Any) -> pa.Table:
    """Return an Arrow table, a pandas frame or a list of rows as an Arrow table; NaN in pandas is null."""
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, list | tuple):
        return table_from_rows(cast("Iterable[Mapping[str, Any]]", rows))
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        return pa.Table.from_pandas(rows, preserve_index=False)
    msg = (
        f"a {type(rows).__name__} holds no rows; pass an Arrow table (Daft's and polars' frames have "
        'to_arrow()), a pandas frame, or a list of rows such as {"Position": {"x": 1.0}}'
    )
    raise InvalidInputError(msg, faults=[FieldFault("rows", msg)])


def table_from_rows(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as one flat table; what a row lacks is null, or absent where rows are nested."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    columns = {name: [row.get(name) for row in flat] for name in names}
    for prefix in [name for name in names if name.endswith("__")]:
        present = [bool(value) for value in columns[prefix]]
        if all(present) and _has_fields(names, prefix):
            del columns[prefix]
        else:
            columns[prefix] = present
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _flat(row: object) -> dict[str, Any]:
    """Spell nested components as columns, with `component__` saying that the row has it."""
    if not isinstance(row, dict):
        msg = "every row must be a JSON object"
        raise InvalidInputError(msg)
    flat: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", row).items():
        if isinstance(value, dict) and "__" not in name:
            prefix = f"{name.lower()}__"
            flat[prefix] = True
            flat |= {prefix + field: each for field, each in cast("dict[str, Any]", value).items()}
        else:
            flat[name] = value
    return flat


def _has_fields(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) and name != prefix for name in names)


def _read_json(path: Path) -> pa.Table:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list):
        msg = f"{path} must hold a JSON array of rows"
        raise InvalidInputError(msg, faults=[FieldFault("file", msg)])
    return table_from_rows(cast("list[dict[str, Any]]", rows))


def _read_ndjson(path: Path) -> pa.Table:
    lines = path.read_text(encoding="utf-8").splitlines()
    return table_from_rows(json.loads(line) for line in lines if line.strip())


def _read_arrow(path: Path) -> pa.Table:
    """Read either of Arrow's two IPC forms."""
    data = path.read_bytes()
    try:
        return ipc.open_file(data).read_all()
    except pa.ArrowInvalid:
        return decode_stream(data)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
