"""Tables as bytes, a batch at a time, in each media type that reads can be given in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import pyarrow as pa
from litestar.serialization import encode_json

from archetype.service.values import json_values

__all__ = ["BATCH_ROWS_MAX", "ENCODERS", "MediaType"]

BATCH_ROWS_MAX = 10_000


class MediaType(StrEnum):
    """What reads can be given as; the first is the default."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"


class _Sink(io.RawIOBase):
    """A file that forgets what was taken from it; writers only ever ask where they are."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _batches(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, BATCH_ROWS_MAX):
        yield table.slice(start, BATCH_ROWS_MAX)


def _ndjson(table: pa.Table) -> Iterator[bytes]:
    for batch in _batches(table):
        columns = [json_values(column) for column in batch.columns]
        rows = zip(*columns, strict=True)
        yield b"".join(encode_json(dict(zip(batch.column_names, row, strict=True))) + b"\n" for row in rows)


def _csv(table: pa.Table) -> Iterator[bytes]:
    from pyarrow import csv  # noqa: PLC0415  only those who ask for CSV pay for it

    schema = pa.schema([pa.field(field.name, _csv_type(field.type)) for field in table.schema])
    sink = _Sink()
    with csv.CSVWriter(sink, schema) as writer:
        yield sink.take()
        for batch in _batches(table):
            columns = [_csv_column(column) for column in batch.columns]
            writer.write_table(pa.table(columns, schema=schema))
            yield sink.take()
    yield sink.take()


def _is_plain(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
    )


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return kind if _is_plain(kind) else pa.string()


def _csv_column(column: pa.ChunkedArray) -> Any:
    if _is_plain(column.type):
        return column
    return pa.array([_csv_text(value) for value in json_values(column)], type=pa.string())


def _csv_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else encode_json(value).decode()


def _arrow(table: pa.Table) -> Iterator[bytes]:
    sink = _Sink()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        yield sink.take()
        for batch in _batches(table):
            writer.write_table(batch)
            yield sink.take()
    yield sink.take()


def _parquet(table: pa.Table) -> Iterator[bytes]:
    from pyarrow import parquet  # noqa: PLC0415  only those who ask for Parquet pay for it

    sink = _Sink()
    with parquet.ParquetWriter(sink, table.schema) as writer:
        for batch in _batches(table):
            writer.write_table(batch)
            yield sink.take()
    yield sink.take()


ENCODERS: Mapping[MediaType, Callable[[pa.Table], Iterator[bytes]]] = {
    MediaType.NDJSON: _ndjson,
    MediaType.CSV: _csv,
    MediaType.ARROW: _arrow,
    MediaType.PARQUET: _parquet,
}
"""The columnar forms; JSON is nested, and each route's own."""
