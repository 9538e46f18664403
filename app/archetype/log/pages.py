"""Pages: up to 65,536 values of one column in the one byte form that is hashed.

The form is Arrow's own memory layout with everything that may differ between equal arrays taken out:
offsets start at zero, null slots hold zeros, padding is zero, every NaN is the same NaN, and no
validity bitmap is kept where nothing is null. docs/hashes.md describes it; a page's name is the SHA-256
of exactly these bytes. In which form they are stored is another matter: see `archetype.log.patches`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.arrow_types import parse_type, type_name
from archetype.errors import CorruptionError, InvalidInputError

__all__ = ["PAGE_ROWS", "Page", "PageHead", "array_pages", "decode_page", "encode_page", "page_head"]

PAGE_ROWS = 65_536
"""Rows in a full page: large enough for one blob to be worth a row, small enough to patch and to fetch."""

_MAGIC = b"page:1\n"


@dataclass(frozen=True, slots=True)
class Page:
    """An encoded page: its name and its pieces, joined only when they are to be stored."""

    page_hash: bytes
    pieces: tuple[Any, ...]

    @property
    def data(self) -> bytes:
        """The bytes whose SHA-256 is the page's name."""
        return b"".join(self.pieces)

    @property
    def size_bytes(self) -> int:
        """How many they are."""
        return sum(len(piece) for piece in self.pieces)


class PageHead(NamedTuple):
    """What a page says of itself: the name of its type, and how many values it holds."""

    kind: str
    length: int


def array_pages(array: pa.Array) -> Iterator[Page]:
    """Encode a column page by page, in row order; an empty column has no page."""
    for start in range(0, len(array), PAGE_ROWS):
        yield encode_page(array.slice(start, PAGE_ROWS))


def encode_page(array: pa.Array) -> Page:
    """Encode an array in canonical form and name it."""
    header = _MAGIC + f"{type_name(array.type)}\n{len(array)}\n".encode()
    pieces: list[Any] = [header + b" " * (-len(header) % 8)]
    _encode(array, pieces)
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return Page(digest.digest(), tuple(pieces))


def _put(pieces: list[Any], data: Any) -> None:
    """Append a buffer and zeros up to the next multiple of eight bytes."""
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else data
    pieces.append(view)
    if padding := -len(view) % 8:
        pieces.append(bytes(padding))


def _encode(array: pa.Array, pieces: list[Any]) -> None:
    pieces.append(array.null_count.to_bytes(8, "little"))
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        _put(pieces, np.packbits(valid, bitorder="little"))
    kind = array.type
    if pa.types.is_boolean(kind):
        values = pc.fill_null(array, False) if array.null_count else array  # noqa: FBT003
        _put(pieces, np.packbits(values.to_numpy(zero_copy_only=False), bitorder="little"))
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            _encode(child, pieces)
    elif pa.types.is_fixed_size_list(kind):
        _encode(array.flatten(), pieces)
    elif pa.types.is_list(kind):
        lengths = np.diff(array.offsets.to_numpy())
        if array.null_count:
            lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
        _put(pieces, _offsets(lengths))
        _encode(array.flatten(), pieces)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _encode_bytes(array, pieces)
    else:
        _put(pieces, _fixed_width_values(array))


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        msg = "the values of one page exceed 2 GiB; store less per entity"
        raise InvalidInputError(msg)
    return offsets.astype("<i4")


def _encode_bytes(array: pa.Array, pieces: list[Any]) -> None:
    if array.null_count:
        array = pc.fill_null(array, "" if pa.types.is_string(array.type) else b"")
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype="<i4")[array.offset : array.offset + len(array) + 1]
    if len(offsets) == 0:
        offsets = np.zeros(1, dtype="<i4")
    first, last = int(offsets[0]), int(offsets[-1])
    _put(pieces, offsets if first == 0 else offsets - np.int32(first))
    _put(pieces, memoryview(data)[first:last] if data is not None else b"")


def _fixed_width_values(array: pa.Array) -> Any:
    width = array.type.bit_width // 8
    if array.null_count:
        integers = array.view(_INTEGERS[width])
        array = pc.fill_null(integers, 0).view(array.type)
    buffer = array.buffers()[1]
    values = memoryview(buffer)[array.offset * width : (array.offset + len(array)) * width] if buffer else b""
    if pa.types.is_floating(array.type):
        floats = np.frombuffer(values, dtype=f"<f{width}")
        nan = np.isnan(floats)
        if nan.any():
            floats = floats.copy()
            floats[nan] = np.nan
            return floats
    return values


_INTEGERS = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}


def page_head(data: bytes | memoryview, *, name: str) -> PageHead:
    """Read what a page says of itself; `CorruptionError` when the bytes do not begin as a page does."""
    try:
        return _read_head(data)[0]
    except ValueError as error:
        msg = f"page {name} cannot be decoded: {error}"
        raise CorruptionError(msg, page=name) from error


def _read_head(data: bytes | memoryview) -> tuple[PageHead, int]:
    """Return the head, and the offset behind it."""
    magic, kind, length, _ = bytes(data[:4096]).split(b"\n", 3)
    _expect_magic(magic)
    size = len(magic) + len(kind) + len(length) + 3
    return PageHead(kind.decode(), int(length)), size + -size % 8


def decode_page(data: bytes | memoryview, *, name: str) -> pa.Array:
    """Read a page's bytes back into an array without copying values.

    `name` is what to call the page in an error. Raises `CorruptionError` when the bytes are no page.
    """
    try:
        head, at = _read_head(data)
        reader = _Reader(pa.py_buffer(data), at)
        array = _decode(parse_type(head.kind), head.length, reader)
        reader.expect_end()
        array.validate()
    except (ValueError, IndexError, KeyError, pa.ArrowException, InvalidInputError) as error:
        msg = f"page {name} cannot be decoded: {error}"
        raise CorruptionError(msg, page=name) from error
    return array


def _expect_magic(found: bytes) -> None:
    if found + b"\n" != _MAGIC:
        msg = f"it begins with {found[:16]!r}"
        raise ValueError(msg)


class _Reader:
    """Cuts padded buffers off the front of a page."""

    def __init__(self, buffer: pa.Buffer, at: int) -> None:
        self._buffer, self._at = buffer, at

    def take(self, size: int) -> pa.Buffer:
        if size < 0 or self._at + size > self._buffer.size:
            msg = f"{size} bytes are missing at offset {self._at}"
            raise ValueError(msg)
        piece = self._buffer.slice(self._at, size)
        self._at += size + -size % 8
        return piece

    def expect_end(self) -> None:
        if self._at != self._buffer.size:
            msg = f"{self._buffer.size - self._at} bytes follow its end"
            raise ValueError(msg)


def _decode(kind: pa.DataType, length: int, reader: _Reader) -> pa.Array:
    nulls = int.from_bytes(reader.take(8).to_pybytes(), "little")
    if nulls > length:
        msg = f"{nulls} nulls among {length} values"
        raise ValueError(msg)
    bitmap = reader.take((length + 7) // 8) if nulls else None
    decode = _DECODERS.get(kind.id, _decode_fixed_width)
    return decode(kind, length, reader, bitmap, nulls)


def _decode_fixed_width(
    kind: pa.DataType, length: int, reader: _Reader, bitmap: pa.Buffer | None, nulls: int
) -> pa.Array:
    values = reader.take((kind.bit_width * length + 7) // 8)
    return pa.Array.from_buffers(kind, length, [bitmap, values], null_count=nulls)


def _decode_bytes(
    kind: pa.DataType, length: int, reader: _Reader, bitmap: pa.Buffer | None, nulls: int
) -> pa.Array:
    offsets = reader.take(4 * (length + 1))
    data = reader.take(int(np.frombuffer(offsets, dtype="<i4")[-1]))
    array = pa.Array.from_buffers(kind, length, [bitmap, offsets, data], null_count=nulls)
    array.validate(full=True)
    return array


def _decode_list(
    kind: pa.DataType, length: int, reader: _Reader, bitmap: pa.Buffer | None, nulls: int
) -> pa.Array:
    offsets = reader.take(4 * (length + 1))
    child = _decode(kind.value_type, int(np.frombuffer(offsets, dtype="<i4")[-1]), reader)
    array = pa.Array.from_buffers(kind, length, [bitmap, offsets], null_count=nulls, children=[child])
    array.validate(full=True)
    return array


def _decode_fixed_size_list(
    kind: pa.DataType, length: int, reader: _Reader, bitmap: pa.Buffer | None, nulls: int
) -> pa.Array:
    child = _decode(kind.value_type, (length - nulls) * kind.list_size, reader)
    present = pa.Array.from_buffers(kind, length - nulls, [None], children=[child])
    if bitmap is None:
        return present
    valid = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), count=length, bitorder="little").astype(bool)
    return present.take(pa.array(np.cumsum(valid) - 1, mask=~valid))


def _decode_struct(
    kind: pa.DataType, length: int, reader: _Reader, bitmap: pa.Buffer | None, nulls: int
) -> pa.Array:
    children = [_decode(field.type, length, reader) for field in kind]
    return pa.Array.from_buffers(kind, length, [bitmap], null_count=nulls, children=children)


_DECODERS: dict[int, Callable[..., pa.Array]] = {
    pa.string().id: _decode_bytes,
    pa.binary().id: _decode_bytes,
    pa.list_(pa.int8()).id: _decode_list,
    pa.list_(pa.int8(), 1).id: _decode_fixed_size_list,
    pa.struct([]).id: _decode_struct,
}
