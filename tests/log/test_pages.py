"""Pages: equal content has one name, whatever memory it lies in."""

import hashlib
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.arrow_types import type_name
from archetype.errors import CorruptionError
from archetype.log.pages import PAGE_ROWS, array_pages, decode_page, encode_page, page_head

KINDS = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.timestamp("us", tz="UTC"): st.integers(-(2**53), 2**53),
    pa.list_(pa.field("item", pa.float64())): st.lists(st.floats(), max_size=3),
    pa.list_(pa.field("item", pa.string())): st.lists(st.none() | st.text("ab", max_size=2), max_size=3),
    pa.list_(pa.field("item", pa.float64()), 2): st.lists(st.floats(), min_size=2, max_size=2),
    pa.struct([("a", pa.int64()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.text("xy", max_size=2)}
    ),
}


@st.composite
def arrays(draw):
    kind = draw(st.sampled_from(list(KINDS)))
    values = draw(st.lists(st.none() | KINDS[kind], max_size=20))
    return pa.array(values, kind)


def same(left: pa.Array, right: pa.Array) -> bool:
    """Equal values, NaN equal to NaN."""
    return left.type == right.type and repr(left.to_pylist()) == repr(right.to_pylist())


@given(arrays())
def test_decoding_gives_the_array_back(array):
    page = encode_page(array)
    decoded = decode_page(page.data, name="it")
    decoded.validate(full=True)
    assert same(decoded, array)


@given(arrays())
def test_a_page_is_named_by_the_sha256_of_its_bytes(array):
    page = encode_page(array)
    assert page.page_hash == hashlib.sha256(page.data).digest()


@given(arrays(), st.integers(0, 5), st.integers(0, 5))
def test_slicing_and_what_lies_around_a_slice_do_not_matter(array, before, after):
    padding = array.take(pa.array([0] * before if len(array) else [], pa.int64()))
    tail = array.take(pa.array([len(array) - 1] * after if len(array) else [], pa.int64()))
    inside = pa.concat_arrays([padding, array, tail]).slice(len(padding), len(array))
    assert encode_page(inside).page_hash == encode_page(array).page_hash


@given(arrays(), st.data())
def test_chunking_does_not_matter(array, data):
    cut = data.draw(st.integers(0, len(array)))
    joined = pa.concat_arrays([array[:cut], array[cut:]])
    assert [page.page_hash for page in array_pages(joined)] == [page.page_hash for page in array_pages(array)]


@given(arrays())
def test_a_round_trip_through_arrow_ipc_does_not_matter(array):
    """IPC pads, truncates and drops bitmaps as its version likes; the name stays."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([array], names=["it"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    (back,) = pa.ipc.open_stream(sink.getvalue()).read_next_batch().columns
    assert encode_page(back).page_hash == encode_page(array).page_hash


@given(arrays(), arrays())
def test_other_content_has_another_name(left, right):
    if not same(left, right):
        assert encode_page(left).page_hash != encode_page(right).page_hash


def test_what_null_slots_hide_does_not_matter():
    bitmap = pa.py_buffer(b"\x05")
    hidden = [pa.py_buffer(bytes([1, 0, 0, 0, value, 0, 0, 0, 3, 0, 0, 0])) for value in (7, 9)]
    names = {
        encode_page(pa.Array.from_buffers(pa.int32(), 3, [bitmap, values])).page_hash for values in hidden
    }
    assert len(names) == 1


def test_every_nan_is_one_nan_and_minus_zero_is_not_zero():
    odd_nan = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(bytes.fromhex("010000000000f87f"))])
    assert math.isnan(odd_nan[0].as_py())
    assert encode_page(odd_nan).page_hash == encode_page(pa.array([math.nan])).page_hash
    assert encode_page(pa.array([-0.0])).page_hash != encode_page(pa.array([0.0])).page_hash


def test_a_column_is_cut_into_pages_of_65536_rows():
    first, second = array_pages(pa.array(range(PAGE_ROWS + 3)))
    assert len(decode_page(first.data, name="1")) == PAGE_ROWS
    assert decode_page(second.data, name="2").to_pylist() == [PAGE_ROWS, PAGE_ROWS + 1, PAGE_ROWS + 2]


def test_the_form_stays_what_docs_hashes_md_says():
    """If this fails, every stored page would be named anew: do not change it, make another form beside it."""
    page = encode_page(pa.array([1.5, None, -2.0]))
    assert page.data.hex() == (
        b"page:1\nfloat64\n3\n       ".hex()
        + "0100000000000000"
        + "0500000000000000"
        + "000000000000f83f"
        + "0000000000000000"
        + "00000000000000c0"
    )


@given(arrays(), st.data())
def test_a_damaged_page_never_decodes_to_something_out_of_bounds(array, data):
    damaged = bytearray(encode_page(array).data)
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        decode_page(bytes(damaged), name="damaged").validate(full=True)
    except (CorruptionError, pa.ArrowInvalid):
        return


@pytest.mark.parametrize("data", [b"", b"page:1\n", b"page:2\nint64\n0\n", b"page:1\nint64\n9\n" + b" " * 9])
def test_bytes_that_are_no_page_are_refused_by_name(data):
    with pytest.raises(CorruptionError, match="page abc"):
        decode_page(data, name="abc")


@given(arrays())
def test_a_page_says_what_it_is_and_how_long(array):
    page = encode_page(array)
    head = page_head(page.data, name="x")
    assert head.length == len(array)
    assert head.kind == type_name(array.type)


@pytest.mark.parametrize(
    "data", [b"", b"page:1", b"page:2\nbool\n1\n", b"page:1\nbool\nmany\n", b"page:1\n\xff\n1\n"]
)
def test_bytes_that_do_not_begin_as_a_page_are_named(data):
    with pytest.raises(CorruptionError, match="page x cannot be decoded"):
        page_head(data, name="x")
