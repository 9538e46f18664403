"""The operations that make one value of two, on whole columns.

A null combined with x is x, and so is NaN for min and max. Of equal values min, max and union keep the one
that came first, so that nothing depends on how columns are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from archetype.core.combine import Operation
from archetype.core.kernels import pc
from archetype.errors import InvalidInputError

__all__ = ["combine_arrays"]


def combine_arrays(operation: Operation, old: pa.Array, new: pa.Array, *, where: str) -> pa.Array:
    """Combine two columns of one length and type, value by value.

    Raises InvalidInputError naming `where` if an integer becomes too large for its column.
    """
    if operation in {"first", "last"}:
        return old if operation == "first" else new
    try:
        combined = _KERNELS[operation](old, new)
    except pa.ArrowInvalid as exc:
        raise InvalidInputError(
            f"{where}: the {operation} of its writes does not fit {old.type} ({exc}). "
            "Write smaller values, or make the field a float.",
            column=where,
        ) from exc
    if old.null_count or new.null_count:
        return pc.coalesce(combined, old, new)
    return combined


def _min(old: pa.Array, new: pa.Array) -> pa.Array:
    return pc.if_else(_yields(pc.less(new, old), old), new, old)


def _max(old: pa.Array, new: pa.Array) -> pa.Array:
    return pc.if_else(_yields(pc.greater(new, old), old), new, old)


def _yields(beaten: pa.Array, old: pa.Array) -> pa.Array:
    return pc.or_(beaten, pc.is_nan(old)) if pa.types.is_floating(old.type) else beaten


def _append(old: pa.Array, new: pa.Array) -> pa.Array:
    """Join lists row by row."""
    lengths = np.stack([_lengths(old), _lengths(new)], axis=1)
    starts = np.cumsum(lengths, axis=0) - lengths
    items_old, items_new = old.flatten(), new.flatten()
    starts[:, 1] += len(items_old)
    pieces = lengths.ravel()
    ends = np.cumsum(pieces)
    # Each piece's places in its own list: its start, and then one after the other.
    places = np.repeat(starts.ravel() - (ends - pieces), pieces) + np.arange(pieces.sum())
    items = pc.take(pa.concat_arrays([items_old, items_new]), pa.array(places))
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))]).astype(np.int32)
    nulls = pc.or_(old.is_null(), new.is_null())
    return pa.ListArray.from_arrays(pa.array(offsets), items, type=old.type, mask=nulls)


def _lengths(lists: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)


def _union(old: pa.Array, new: pa.Array) -> pa.Array:
    """Join lists row by row as sets, sorted; nulls and NaNs come last."""
    rows: list[list[Any] | None] = _append(old, new).to_pylist()
    return pa.array([None if row is None else _sorted_set(row) for row in rows], old.type)


def _sorted_set(items: list[Any]) -> list[Any]:
    ordered = sorted((item for item in items if item is not None and item == item), key=lambda item: item)  # noqa: PLR0124
    kept = [item for place, item in enumerate(ordered) if place == 0 or item != ordered[place - 1]]
    nan = next((item for item in items if item is not None and item != item), None)  # noqa: PLR0124
    kept.extend([] if nan is None else [nan])
    return [*kept, None] if None in items else kept


_KERNELS: dict[Operation, Callable[[pa.Array, pa.Array], pa.Array]] = {
    "sum": pc.add_checked,
    "prod": pc.multiply_checked,
    "min": _min,
    "max": _max,
    "any": pc.or_,
    "all": pc.and_,
    "append": _append,
    "union": _union,
}
