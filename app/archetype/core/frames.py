"""Any frame that a user holds, as one Arrow table, and Arrow tables as bytes."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

from archetype.core.kernels import pc
from archetype.errors import FieldFault, InvalidInputError, LimitExceededError
from archetype.limits import BATCH_COLUMNS_MAX

BATCH_ROWS_MAX = 16_777_216
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2


def table_from_frame(frame: Any) -> pa.Table:
    """Give a pyarrow, Daft, pandas or polars frame as an Arrow table, row order kept.

    NaN in a pandas float column stays NaN; use nullable dtypes for missing values. Raises
    InvalidInputError for anything else.
    """
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    library = type(frame).__module__.partition(".")[0]
    try:
        if library == "daft":
            return frame.to_arrow()
        if library == "pandas":
            return _table_from_pandas(frame)
        if library == "polars" and hasattr(frame, "collect"):
            return pa.table(frame.collect())
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
    except (pa.ArrowException, AttributeError) as exc:
        raise InvalidInputError(f"The {library} frame cannot be read as Arrow: {exc}") from exc
    raise InvalidInputError(
        f"A {type(frame).__name__} is no frame; pass a pyarrow Table, or a Daft, pandas or polars DataFrame."
    )


def _table_from_pandas(frame: Any) -> pa.Table:
    arrays: dict[str, pa.Array] = {}
    for name in frame.columns:
        series = frame[name]
        kind = getattr(series.dtype, "kind", "O")
        is_numpy = type(series.dtype).__module__.partition(".")[0] == "numpy"
        if is_numpy and kind in "fiub":
            arrays[str(name)] = pa.array(series.to_numpy(), from_pandas=False)
        else:
            arrays[str(name)] = pa.Array.from_pandas(series)
    return pa.table(arrays)


def encode_batch(table: pa.Table) -> bytes:
    """Write a table as an Arrow IPC stream, uncompressed, in plain layouts (no dictionaries or views)."""
    plain = plain_layout(table)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=None)
    with pa.ipc.new_stream(sink, plain.schema, options=options) as writer:
        writer.write_table(plain.combine_chunks())
    return sink.getvalue().to_pybytes()


def decode_batch(data: bytes, *, row_count_max: int = BATCH_ROWS_MAX) -> pa.Table:
    """Read what `encode_batch`, or any Arrow writer, made; memory use is bounded by the input's size.

    Raises InvalidInputError on bytes that are not a sound, uncompressed Arrow stream of plain layouts,
    and LimitExceededError above `row_count_max` rows.
    """
    try:
        _refuse_expanding(data)
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            _refuse_columns(reader.schema)
            _refuse_layouts(reader.schema)
            batches: list[pa.RecordBatch] = []
            row_count = 0
            for batch in reader:
                row_count += batch.num_rows
                if row_count > row_count_max:
                    raise LimitExceededError(
                        f"The batch has more than {row_count_max} rows; split it.",
                        limit=row_count_max,
                        actual=row_count,
                    )
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, schema=reader.schema)
    except (pa.ArrowException, OSError, EOFError, ValueError, struct.error, IndexError, OverflowError) as exc:
        raise InvalidInputError(f"The batch is not a sound Arrow IPC stream: {exc}") from exc


def _refuse_columns(schema: pa.Schema) -> None:
    if len(schema) > BATCH_COLUMNS_MAX:
        msg = f"The batch has {len(schema)} columns, {BATCH_COLUMNS_MAX} are allowed; split it."
        raise LimitExceededError(msg, limit=BATCH_COLUMNS_MAX, actual=len(schema))
    for index in range(len(schema)):
        try:
            _names(schema.field(index))
        except UnicodeDecodeError:
            msg = f"The name of column {index} is not UTF-8; name columns component__field."
            raise InvalidInputError(msg, faults=[FieldFault(str(index), msg)]) from None


def _names(column: pa.Field) -> list[str]:
    """Read a column's name and those within it: Arrow takes any bytes for one until it is asked for."""
    inner = [column.type.field(index) for index in range(column.type.num_fields)]
    return [column.name, *(name for each in inner for name in _names(each))]


def plain_layout(table: pa.Table) -> pa.Table:
    """Give the table with dictionaries, views and run ends written out as plain columns."""
    if not any(_expands(field.type) for field in table.schema):
        return table
    columns = [_written_out(column) if _expands(column.type) else column for column in table.columns]
    return pa.table(columns, names=table.column_names).replace_schema_metadata(table.schema.metadata)


def _written_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = _plain_type(column.type)
    if not pa.types.is_dictionary(column.type):
        return column.cast(plain)
    # Arrow has no kernel that takes from a dictionary of views, so the dictionary is made plain first.
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(plain)).dictionary_decode()
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=plain)


def _plain_type(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(arrow) or pa.types.is_run_end_encoded(arrow):
        return _plain_type(arrow.value_type)
    if pa.types.is_string_view(arrow):
        return pa.large_string()
    if pa.types.is_binary_view(arrow):
        return pa.large_binary()
    if _is_variable_list(arrow):
        child = arrow.value_field.with_type(_plain_type(arrow.value_type))
        return pa.list_(child) if pa.types.is_list(arrow) else pa.large_list(child)
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(arrow.value_field.with_type(_plain_type(arrow.value_type)), arrow.list_size)
    if pa.types.is_struct(arrow):
        return pa.struct([child.with_type(_plain_type(child.type)) for child in arrow])
    return arrow


def _is_variable_list(arrow: pa.DataType) -> bool:
    return (
        pa.types.is_list(arrow)
        or pa.types.is_large_list(arrow)
        or pa.types.is_list_view(arrow)
        or pa.types.is_large_list_view(arrow)
    )


def _expands(arrow: pa.DataType) -> bool:
    """Say whether a value can be far larger than its share of the bytes."""
    if (
        pa.types.is_dictionary(arrow)
        or pa.types.is_run_end_encoded(arrow)
        or pa.types.is_string_view(arrow)
        or pa.types.is_binary_view(arrow)
        or pa.types.is_list_view(arrow)
        or pa.types.is_large_list_view(arrow)
    ):
        return True
    return any(_expands(arrow.field(index).type) for index in range(arrow.num_fields))


def _refuse_layouts(schema: pa.Schema) -> None:
    for field in schema:
        if _expands(field.type):
            raise ValueError(f"column {field.name!r} has the layout {field.type}; send plain columns")


def _refuse_expanding(data: bytes) -> None:
    """Refuse compressed bodies, whose size once read is not bounded by what was sent."""
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if _is_compressed(message.metadata.to_pybytes()):
            raise ValueError("its buffers are compressed; send them uncompressed")


def _is_compressed(metadata: bytes) -> bool:
    # The Arrow format fixes these: Message is (version, header_type, header, ...), RecordBatch is
    # (length, nodes, buffers, compression, ...), DictionaryBatch is (id, data, ...).
    message = _root_table(metadata)
    kind_at = _slot(metadata, message, 1)
    kind = metadata[kind_at] if kind_at else 0
    header_at = _slot(metadata, message, 2)
    if kind not in {_RECORD_BATCH, _DICTIONARY_BATCH} or not header_at:
        return False
    table = _follow(metadata, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _slot(metadata, table, 1)
        if not data_at:
            return False
        table = _follow(metadata, data_at)
    return _slot(metadata, table, 3) != 0


def _root_table(metadata: bytes) -> int:
    return _follow(metadata, 0)


def _follow(metadata: bytes, at: int) -> int:
    return at + struct.unpack_from("<I", metadata, at)[0]


def _slot(metadata: bytes, table: int, index: int) -> int:
    """Give where a flatbuffer table keeps its field of this number, or 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, vtable)[0]
    entry = 4 + 2 * index
    if entry + 2 > size:
        return 0
    offset = struct.unpack_from("<H", metadata, vtable + entry)[0]
    return table + offset if offset else 0


def null_count_inside(array: pa.Array) -> int:
    """Count nulls in children that may not be null, at any depth."""
    arrow = array.type
    if pa.types.is_struct(arrow):
        valid = array.is_valid() if array.null_count else None
        total = 0
        for index, child in enumerate(arrow):
            values = pc.struct_field(array, [index])
            values = values if valid is None else values.filter(valid)
            total += (0 if child.nullable else values.null_count) + null_count_inside(values)
        return total
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow):
        values = array.flatten()
        own = 0 if arrow.value_field.nullable else values.null_count
        return own + null_count_inside(values)
    return 0
