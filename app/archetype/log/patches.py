"""How pages are stored: as they are, compressed, or as patches on earlier pages of the same column.

A page's name is the hash of its content, whatever its stored form; `restore` gives the content back to the
byte. Numbers are compared by the bits of their slots, so a difference loses nothing, whatever the type:
-0.0, NaN and nulls included. docs/hashes.md describes the forms.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import zstandard

from archetype.core.arrow_types import parse_type
from archetype.errors import ArchetypeError, CorruptionError
from archetype.log.pages import Page, page_head

__all__ = [
    "CHAIN_PAGES_MAX",
    "CONTENT_BYTES_MAX",
    "Base",
    "Codec",
    "StoredForm",
    "chain_cost",
    "plain_form",
    "restore",
    "stored_form",
]

CONTENT_BYTES_MAX = 16 * 1024 * 1024
"""Larger pages are stored as they are; so nobody has to make room for what a stored form claims to hold."""

CHAIN_PAGES_MAX = 60
"""Pages that may have to be read below a patch; a chain of dense patches ends at a fifth of that."""

_DENSE_COST, _SPARSE_TREND_COST, _SPARSE_COST = 5, 2, 1
_DENSE, _SPARSE = 0, 1
_HEAD_BYTES = 6
"""CRC-32 of what follows it, the bytes of a slot, and whether all slots are there or only some."""
_SPARSE_SHARE = 1 / 8
_SAVING = 3 / 4
_ROW_BYTES = 128
"""What a patch has to save at least: about what its base's name costs, in the row and in the index."""


class Codec(StrEnum):
    """The forms in which a page is stored; all but the first two are patches."""

    PLAIN = "plain"
    PACKED = "packed"
    DIFFERENCE = "difference"
    TREND = "trend"
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A page as its row holds it; `base_hash` names the page that a patch is made on."""

    page_hash: bytes
    base_hash: bytes | None
    codec: str
    content_size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Base:
    """A stored page that a patch can be made on, and the content that stood in its place before it.

    `is_patch` tells whether it is stored as a patch on that very content. The costs are those of the whole
    chain down to a page that is no patch.
    """

    page_hash: bytes
    content: bytes
    before: bytes | None
    is_patch: bool
    chain_cost: int
    chain_bytes: int

    @classmethod
    def of(cls, form: StoredForm, content: bytes, on: Base | None) -> Base:
        """Return what the next page has to know of one that is stored in this form, in the place of `on`."""
        before = on.content if on is not None else None
        if on is None or form.base_hash is None:
            return cls(form.page_hash, content, before, is_patch=False, chain_cost=0, chain_bytes=0)
        return cls(
            form.page_hash,
            content,
            before,
            is_patch=True,
            chain_cost=on.chain_cost + chain_cost(form.codec, form.data),
            chain_bytes=on.chain_bytes + len(form.data),
        )


def chain_cost(codec: str, data: bytes) -> int:
    """Return what applying a form costs, in the cost of a patch of few values; 0 where it is no patch."""
    if codec in {Codec.PLAIN, Codec.PACKED}:
        return 0
    if data[_HEAD_BYTES - 1 : _HEAD_BYTES] != bytes([_SPARSE]):
        return _DENSE_COST
    return _SPARSE_TREND_COST if codec == Codec.TREND else _SPARSE_COST


def plain_form(page: Page) -> StoredForm:
    """Return a page as it is."""
    data = page.data
    return StoredForm(page.page_hash, None, Codec.PLAIN, len(data), data)


def stored_form(page: Page, base: Base | None) -> StoredForm:
    """Return the form to store a page in: the smallest of those that promise something.

    Compression has to save a quarter, and so has a patch that touches most values, of what the page would
    take by itself; only where values go on as they did it may be larger, since those behind it will be
    small. No patch makes its chain too long.
    """
    size = page.size_bytes
    if not _ROW_BYTES < size <= CONTENT_BYTES_MAX:
        return plain_form(page)
    content = page.data
    patch = _patch(page.page_hash, content, base) if base is not None else None
    if patch is not None and (patch.is_foretold or patch.is_sparse):
        return patch.form
    packed = _packed(content)
    whole_bytes = size if packed is None else len(packed)
    if patch is not None and len(patch.form.data) <= whole_bytes * _SAVING:
        return patch.form
    if packed is not None:
        return StoredForm(page.page_hash, None, Codec.PACKED, size, packed)
    return StoredForm(page.page_hash, None, Codec.PLAIN, size, content)


def _packed(content: bytes) -> bytes | None:
    """Compress a page as a whole, unless that saves too little; a sample of it tells beforehand."""
    width = _slot_bytes(content)
    slots = _slots(content, width)
    middle = len(slots) // 2
    sample = slots[middle : middle + 1024]
    if len(slots) > 4 * len(sample) and len(_pressed(_planes(sample))) > 0.85 * sample.nbytes:
        return None
    packed = _headed(width, _DENSE, _pressed(_planes(slots)))
    return packed if len(packed) <= len(content) * _SAVING else None


class _Patch(NamedTuple):
    """A patch; it is foretold if its values go on as they did, and sparse if it touches few."""

    form: StoredForm
    is_foretold: bool
    is_sparse: bool


def _patch(page_hash: bytes, content: bytes, base: Base) -> _Patch | None:
    width = _slot_bytes(content)
    new, old = _slots(content, width), _fitted(base.content, len(content), width)
    change = new - old
    codec, rest, bits = Codec.DIFFERENCE, change, _mean_bits(change)
    is_foretold = False
    if base.before is not None:
        surprise = change - (old - _fitted(base.before, len(content), width))
        surprise_bits = _mean_bits(surprise)
        is_foretold = surprise_bits < bits / 2
        if is_foretold and base.is_patch:
            codec, rest, bits = Codec.TREND, surprise, surprise_bits
    is_sparse = bool(np.count_nonzero(rest) <= len(rest) * _SPARSE_SHARE)
    if is_sparse:
        data = _headed(width, _SPARSE, _sparse(rest))
    elif not is_foretold and (width == 1 or bits > _SAVING * width * 8):
        if not _is_shifted(content, base.content):
            return None
        codec, data = Codec.MATCH, _headed(1, _DENSE, _matched(content, base.content))
    else:
        data = _headed(width, _DENSE, _pressed(_planes(_zigzag(rest))))
    form = StoredForm(page_hash, base.page_hash, codec, len(content), data)
    return _Patch(form, is_foretold, is_sparse) if _fits(form, base) else None


def _fits(form: StoredForm, base: Base) -> bool:
    """Tell whether a patch is worth its row, and its chain short enough."""
    return (
        len(form.data) + _ROW_BYTES <= form.content_size_bytes
        and base.chain_cost + chain_cost(form.codec, form.data) <= CHAIN_PAGES_MAX
        and base.chain_bytes + len(form.data) <= 2 * form.content_size_bytes
    )


def _is_shifted(content: bytes, base: bytes) -> bool:
    """Tell by samples whether a page holds what its base holds, though not in the same places."""
    samples, near, length = 32, 4096, 16
    starts = range(length, max(len(content) - length, 0), max(len(content) // samples, 1))
    found = [base.find(content[at : at + length], max(at - near, 0), at + near) >= 0 for at in starts]
    return sum(found) * 2 > len(found)


def _matched(content: bytes, base: bytes) -> bytes:
    known = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(level=3, dict_data=known).compress(content)


def _sparse(rest: np.ndarray) -> bytes:
    """Spell the slots that are not zero: their number, the gaps between them and the values, compressed."""
    places = np.flatnonzero(rest)
    gaps = np.diff(places, prepend=0).astype("<u4")
    planes = _planes(gaps).tobytes() + _planes(_zigzag(rest[places])).tobytes()
    return len(places).to_bytes(4, "little") + _pressed(planes)


def _headed(width: int, which: int, payload: bytes) -> bytes:
    body = bytes([width, which]) + payload
    return zlib.crc32(body).to_bytes(4, "little") + body


def _pressed(data: Any) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def _planes(slots: np.ndarray) -> np.ndarray:
    """Put the first bytes of all slots first, then the second bytes, and so on: like stands with like."""
    width = slots.dtype.itemsize
    return slots if width == 1 else np.ascontiguousarray(slots.view(np.uint8).reshape(-1, width).T)


def _zigzag(rest: np.ndarray) -> np.ndarray:
    """Make small numbers of small differences, whatever their sign: 0, -1, 1, -2 become 0, 1, 2, 3."""
    signed = rest.view(rest.dtype.str.replace("u", "i"))
    return ((signed << 1) ^ (signed >> (rest.dtype.itemsize * 8 - 1))).view(rest.dtype)


def _unzigzag(rest: np.ndarray) -> np.ndarray:
    one = rest.dtype.type(1)
    return (rest >> one) ^ (~(rest & one) + one)


def _mean_bits(rest: np.ndarray) -> float:
    """Return how many bits a value takes, by a sample of some hundred."""
    sample = _zigzag(np.ascontiguousarray(rest[:: max(len(rest) // 512, 1)])).astype(np.float64)
    return float(np.log2(sample + 1).mean())


def _slots(content: bytes, width: int) -> np.ndarray:
    return np.frombuffer(content, dtype=f"<u{width}")


def _fitted(content: bytes, size: int, width: int) -> np.ndarray:
    """Cut an older page to the size of a newer one, or fill it up with zeros."""
    fitted = content[:size] if len(content) >= size else content.ljust(size, b"\0")
    return _slots(fitted, width)


def _slot_bytes(content: bytes) -> int:
    return _width_of(page_head(content, name="to be stored").kind)


@functools.lru_cache(maxsize=1024)
def _width_of(kind: str) -> int:
    return min(8, *_widths(parse_type(kind)))


def _widths(kind: pa.DataType) -> Iterator[int]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _widths(field.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _widths(kind.value_type)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_boolean(kind):
        yield 1
    else:
        yield kind.bit_width // 8
    yield 8


def restore(form: StoredForm, base: bytes | None, before: bytes | None) -> bytes:
    """Return a page's content; a patch needs that of its base, a trend that of its base's base too.

    Whether it matches the page's name, the caller compares. Raises `CorruptionError` that names the page
    where the form is none; it never makes room for more than 16 MiB, whatever it claims.
    """
    try:
        return _restore(form, base, before)
    except (ValueError, OverflowError, IndexError, zstandard.ZstdError, ArchetypeError) as error:
        name = form.page_hash.hex()
        msg = f"page {name} cannot be restored from its stored form: {error}"
        raise CorruptionError(msg, page=name) from error


def _restore(form: StoredForm, base: bytes | None, before: bytes | None) -> bytes:
    size, data = form.content_size_bytes, form.data
    if form.codec == Codec.PLAIN:
        return data
    _expect(0 <= size <= CONTENT_BYTES_MAX and size % 8 == 0, f"no page of {size} bytes is stored so")
    _expect(form.codec in _CODED, f"it has the codec {form.codec!r}, which this release does not know")
    _expect(zlib.crc32(data[4:]).to_bytes(4, "little") == data[:4], "it was edited or damaged")
    width, which, payload = data[4], data[5], data[_HEAD_BYTES:]
    _expect(width in {1, 2, 4, 8} and which in {_DENSE, _SPARSE}, f"its head says {width}, {which}")
    if form.codec == Codec.PACKED:
        return _unplaned(_expanded(payload, size), width).tobytes()
    if base is None:
        msg = "its base is missing"
        raise ValueError(msg)
    if form.codec == Codec.MATCH:
        known = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return _expanded(payload, size, known)
    foreseen = _fitted(base, size, width)
    if form.codec == Codec.TREND:
        if before is None:
            msg = "its base is no patch"
            raise ValueError(msg)
        foreseen = foreseen + (foreseen - _fitted(before, size, width))
    if which == _SPARSE:
        return _scattered(foreseen, payload).tobytes()
    return (foreseen + _unzigzag(_unplaned(_expanded(payload, size), width))).tobytes()


_CODED = frozenset(Codec) - {Codec.PLAIN}


def _scattered(foreseen: np.ndarray, payload: bytes) -> np.ndarray:
    count, width = int.from_bytes(payload[:4], "little"), foreseen.dtype.itemsize
    _expect(count <= len(foreseen), f"it changes {count} of {len(foreseen)} values")
    planes = _expanded(payload[4:], count * (4 + width))
    places = np.cumsum(_unplaned(planes[: 4 * count], 4), dtype=np.int64)
    _expect(count == 0 or int(places[-1]) < len(foreseen), "it changes values behind the end")
    found = foreseen.copy()
    found[places] += _unzigzag(_unplaned(planes[4 * count :], width))
    return found


def _unplaned(planes: bytes, width: int) -> np.ndarray:
    cells = np.frombuffer(planes, dtype=np.uint8)
    if width == 1:
        return cells
    return np.ascontiguousarray(cells.reshape(width, -1).T).view(f"<u{width}").reshape(-1)


def _expanded(data: bytes, size: int, known: zstandard.ZstdCompressionDict | None = None) -> bytes:
    """Decompress exactly `size` bytes; a frame that says otherwise is not touched."""
    claimed = zstandard.get_frame_parameters(data).content_size
    _expect(claimed == size, f"it holds {claimed} bytes, not {size}")
    return zstandard.ZstdDecompressor(dict_data=known).decompress(data)


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(otherwise)
