"""Comparing two versions of a table: which rows belong together, and which of their values differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.state import Int64s

__all__ = ["Bools", "Matched", "differing", "match_ids"]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Where two ascending lists of ids have the same ones, pair by pair, and where each has its own."""

    both_a: Int64s
    both_b: Int64s
    only_a: Int64s
    only_b: Int64s


def match_ids(a: Int64s, b: Int64s) -> Matched:
    """Match two ascending lists of unique ids, by their indices."""
    if np.array_equal(a, b):
        every, none = np.arange(len(a)), np.empty(0, dtype=np.int64)
        return Matched(every, every, none, none)
    places = np.searchsorted(b, a)
    is_common = places < len(b)
    is_common[is_common] = b[places[is_common]] == a[is_common]
    both_b = places[is_common]
    is_own = np.ones(len(b), dtype=np.bool_)
    is_own[both_b] = False
    return Matched(np.flatnonzero(is_common), both_b, np.flatnonzero(~is_common), np.flatnonzero(is_own))


def differing(a: pa.Array, b: pa.Array, tolerance: float | None = 0.0) -> Bools:
    """Tell of each pair of values, in two columns of one length, whether they differ.

    Nulls equal nulls and NaNs equal NaNs. Two finite floats x and y, also those inside of lists and structs,
    are equal if |x - y| <= tolerance * max(1, |x|, |y|), an infinity equals only itself. Without a tolerance
    (None) -0.0 is not 0.0. Values of two types always differ.
    """
    if a.type != b.type:
        return np.ones(len(a), dtype=np.bool_)
    if not a.null_count and not b.null_count:
        return _differing_values(a, b, tolerance)
    is_valid_a = a.is_valid().to_numpy(zero_copy_only=False)
    is_valid_b = b.is_valid().to_numpy(zero_copy_only=False)
    differs = is_valid_a != is_valid_b
    both = is_valid_a & is_valid_b
    kept = pa.array(both)
    differs[both] = _differing_values(a.filter(kept), b.filter(kept), tolerance)
    return differs


def _differing_values(a: pa.Array, b: pa.Array, tolerance: float | None) -> Bools:
    """Compare columns without nulls of their own; their items and fields may have some."""
    kind = a.type
    if pa.types.is_floating(kind):
        return _differing_floats(a.to_numpy(), b.to_numpy(), tolerance)
    if pa.types.is_struct(kind):
        differs = np.zeros(len(a), dtype=np.bool_)
        for x, y in zip(a.flatten(), b.flatten(), strict=True):
            differs |= differing(x, y, tolerance)
        return differs
    if pa.types.is_fixed_size_list(kind):
        items = differing(a.flatten(), b.flatten(), tolerance)
        return np.logical_or.reduce(items.reshape(len(a), kind.list_size), axis=1)
    if pa.types.is_list(kind):
        return _differing_lists(a, b, tolerance)
    return pc.call_function("not_equal", [a, b]).to_numpy(zero_copy_only=False)


def _differing_floats(a: npt.NDArray[Any], b: npt.NDArray[Any], tolerance: float | None) -> Bools:
    if tolerance is None:
        bits = f"u{a.dtype.itemsize}"
        return (a.view(bits) != b.view(bits)) & ~(np.isnan(a) & np.isnan(b))
    differs = a != b
    suspects = np.flatnonzero(differs)
    x, y = a[suspects].astype(np.float64), b[suspects].astype(np.float64)
    are_nan = np.isnan(x) & np.isnan(y)
    with np.errstate(invalid="ignore", over="ignore"):
        margin = tolerance * np.maximum(1.0, np.maximum(np.abs(x), np.abs(y)))
        are_close = np.isfinite(x) & np.isfinite(y) & (np.abs(x - y) <= margin)
    differs[suspects] = ~(are_nan | are_close)
    return differs


def _differing_lists(a: pa.Array, b: pa.Array, tolerance: float | None) -> Bools:
    lengths = np.diff(a.offsets.to_numpy())
    differs = lengths != np.diff(b.offsets.to_numpy())
    same_length = np.flatnonzero(~differs)
    kept = pa.array(same_length)
    items = differing(a.take(kept).flatten(), b.take(kept).flatten(), tolerance)
    row_of_item = np.repeat(same_length, lengths[same_length])
    differs[row_of_item[items]] = True
    return differs
