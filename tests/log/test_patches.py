"""Stored forms: whatever form a page is stored in, its content comes back to the byte."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype.core.arrow_types import SIMPLE_TYPES
from archetype.errors import CorruptionError
from archetype.log.pages import encode_page
from archetype.log.patches import (
    CHAIN_PAGES_MAX,
    CONTENT_BYTES_MAX,
    Base,
    Codec,
    StoredForm,
    restore,
    stored_form,
)

FLAT = {
    "bool": st.booleans(),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "binary": st.binary(max_size=5),
}
NESTED = {
    pa.list_(pa.field("item", pa.float64())): st.lists(st.floats(), max_size=3),
    pa.list_(pa.field("item", pa.string())): st.lists(st.none() | st.text("ab", max_size=2), max_size=3),
    pa.list_(pa.field("item", pa.float32()), 2): st.lists(st.floats(width=32), min_size=2, max_size=2),
    pa.struct([("a", pa.int16()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.text("xy", max_size=2)}
    ),
}
KINDS = {kind: FLAT.get(name, st.integers(0, 100)) for name, kind in SIMPLE_TYPES.items()} | NESTED


def chain_of(arrays):
    """Store one array after the other in the same place, restore each, and return the forms."""
    forms, base = [], None
    for array in arrays:
        page = encode_page(array)
        form = stored_form(page, base)
        on = (None, None) if base is None else (base.content, base.before if base.is_patch else None)
        assert restore(form, *on) == page.data
        base = Base.of(form, page.data, base)
        forms.append(form)
    return forms


def codecs(forms):
    return [str(form.codec) for form in forms]


@st.composite
def histories(draw):
    """A column of any type through some ticks: values edited, rows added and taken away anywhere."""
    kind = draw(st.sampled_from(list(KINDS)))
    value = st.none() | KINDS[kind] if draw(st.booleans()) else KINDS[kind]
    values = draw(st.lists(value, min_size=1, max_size=12)) * draw(st.sampled_from([1, 20]))
    ticks = [list(values)]
    for _ in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(values)))
            match draw(st.sampled_from(["set", "add", "drop"])):
                case "set":
                    values[at : at + 1] = [draw(value)]
                case "add":
                    values[at:at] = draw(st.lists(value, min_size=1, max_size=40))
                case _:
                    del values[at : at + 1]
        ticks.append(list(values))
    return [pa.array(each, kind) for each in ticks]


@settings(max_examples=150)
@given(histories())
def test_every_type_comes_back_to_the_byte_through_any_edits(arrays):
    chain_of(arrays)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=40, max_size=40), min_size=2, max_size=5))
def test_floats_of_any_bits_come_back(ticks):
    """Infinities, subnormal numbers, both zeros: differences are those of the bits."""
    chain_of([pa.array(np.array(bits, dtype=np.uint64).view(np.float64)) for bits in ticks])


def moving(count, ticks):
    rng = np.random.default_rng(1)
    x, dx = rng.uniform(-500, 500, count), rng.normal(size=count)
    for _ in range(ticks):
        yield pa.array(x)
        x = x + dx


def test_values_that_go_on_as_they_did_take_a_twentieth():
    forms = chain_of(moving(10_000, 9))
    assert codecs(forms) == ["plain", "plain", "difference", *["trend"] * 6]
    assert all(len(form.data) * 20 < form.content_size_bytes for form in forms[3:])


def test_a_few_changed_values_take_about_their_own_size():
    rng = np.random.default_rng(2)
    x = rng.uniform(size=65_536)
    arrays = [pa.array(x)]
    for _ in range(3):
        x = x.copy()
        x[rng.choice(len(x), 655, replace=False)] = rng.uniform(size=655)
        arrays.append(pa.array(x))
    forms = chain_of(arrays)
    assert codecs(forms) == ["plain", *["difference"] * 3]
    assert all(len(form.data) < 655 * 11 for form in forms[1:])


def test_rows_that_moved_up_are_matched_and_rows_at_the_end_are_appended():
    x = np.random.default_rng(3).uniform(size=20_000)
    forms = chain_of([pa.array(x), pa.array(np.delete(x, [7, 9_000])), pa.array(np.append(x, [1.5, 2.5]))])
    assert codecs(forms) == ["plain", "match", "match"]
    appended = chain_of([pa.array(x), pa.array(np.append(x, [1.5, 2.5]))])
    assert codecs(appended) == ["plain", "difference"]
    assert max(len(form.data) for form in [*forms[1:], appended[1]]) < 200


def test_strings_of_which_few_changed_take_less_than_they_would():
    names = [f"name-{number * 7919 % 100_003}" for number in range(20_000)]
    before = pa.array(names)
    names[::100] = [f"other-{number}" for number in range(200)]
    whole, patch = chain_of([before, pa.array(names)])
    assert patch.codec == "match"
    assert len(patch.data) * 3 < len(whole.data) * 2


def test_noise_is_stored_as_it_is_and_repetition_is_packed():
    rng = np.random.default_rng(4)
    assert codecs(chain_of([pa.array(rng.uniform(size=5_000)) for _ in range(3)])) == ["plain"] * 3
    (packed,) = chain_of([pa.array(range(5_000))])
    assert packed.codec == "packed"
    assert len(packed.data) * 10 < packed.content_size_bytes


def test_small_pages_and_huge_ones_are_stored_as_they_are():
    assert codecs(chain_of([pa.array([1, 2]), pa.array([1, 3])])) == ["plain"] * 2
    page = encode_page(pa.array([b"x" * CONTENT_BYTES_MAX]))
    assert stored_form(page, None).codec == "plain"


@pytest.mark.parametrize(("changed", "longest"), [(4, CHAIN_PAGES_MAX), (3_999, CHAIN_PAGES_MAX // 5)])
def test_chains_stay_short(changed, longest):
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2**60, 4_000)
    arrays = []
    for _ in range(150):
        x = x.copy()
        x[1 : 1 + changed] += rng.integers(1, 200, changed)
        arrays.append(pa.array(x))
    lengths = [0]
    for form in chain_of(arrays):
        lengths.append(0 if form.base_hash is None else lengths[-1] + 1)
    assert longest * 0.8 <= max(lengths) <= longest


def a_patch():
    rng = np.random.default_rng(6)
    x = rng.uniform(size=1_000)
    before = encode_page(pa.array(x))
    y = x.copy()
    y[5] = 1.0
    base = Base.of(stored_form(before, None), before.data, None)
    return before.data, stored_form(encode_page(pa.array(y)), base)


@given(st.data())
def test_one_flipped_bit_of_a_patch_is_found(data):
    base, form = a_patch()
    at = data.draw(st.integers(0, len(form.data) * 8 - 1))
    damaged = bytearray(form.data)
    damaged[at // 8] ^= 1 << at % 8
    with pytest.raises(CorruptionError, match=form.page_hash.hex()):
        restore(replace(form, data=bytes(damaged)), base, None)


def sealed(body):
    """Return stored data with the checksum that a forger would give it."""
    return zlib.crc32(body).to_bytes(4, "little") + body


def lying_frame(size):
    """A zstd frame that claims any size, and holds next to nothing."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


@pytest.mark.parametrize("codec", [each for each in Codec if each != Codec.PLAIN], ids=str)
@pytest.mark.parametrize("size", [-8, 12, 8_000, 2**62], ids=str)
def test_what_lies_about_its_size_is_refused(codec, size):
    """It never makes room for more than a page may hold."""
    for which in (0, 1):
        data = sealed(bytes([8, which]) + lying_frame(2**40))
        form = StoredForm(b"n" * 32, b"b" * 32, codec, size, data)
        with pytest.raises(CorruptionError, match="cannot be restored"):
            restore(form, b"\0" * 8_000, b"\0" * 8_000)


@given(st.binary(max_size=60), st.sampled_from([*Codec, "other"]), st.integers(0, 30))
def test_any_bytes_are_restored_or_refused(body, codec, words):
    form = StoredForm(b"n" * 32, None, codec, words * 8, sealed(body))
    try:
        restored = restore(form, b"\0" * 80, b"\0" * 80)
        assert len(restored) == (len(form.data) if codec == "plain" else words * 8)
    except CorruptionError:
        return
