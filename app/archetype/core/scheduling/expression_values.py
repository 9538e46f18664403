"""The values of Daft expressions over a frame, one array each, in the order of the frame's rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype.core.frame_rows import in_order, one_array, owned
from archetype.core.scheduling.frames import Frames
from archetype.core.state import ArchetypeTable

if TYPE_CHECKING:
    from daft import DataFrame, Expression

__all__ = ["expression_values"]


async def expression_values(
    frames: Frames, df: DataFrame, expressions: Sequence[Expression], *, may_be_aggregates: bool
) -> list[pa.Array]:
    """Evaluate expressions beside the ids of their rows, whose order a query need not keep.

    Aggregates cannot stand beside ids; they have one row.
    """
    from daft import col  # noqa: PLC0415

    named = {f"value_{place}": expression for place, expression in enumerate(expressions)}
    try:
        with_ids = {"entity_id": col("entity_id")} | named
        return await frames.evaluated(df, with_ids, functools.partial(_ordered_arrays, frames.shown))
    except Exception:
        if not (may_be_aggregates and _are_aggregates(df, named)):
            raise
    return await frames.evaluated(df, named, _arrays)


def _are_aggregates(df: DataFrame, named: Mapping[str, Expression]) -> bool:
    """Say whether columns can be selected, but not beside those of the frame."""
    selected = [each.alias(name) for name, each in named.items()]
    try:
        df.select(*selected)
    except Exception:  # noqa: BLE001 (Daft's own)
        return False
    try:
        df.select("entity_id", *selected)
    except Exception:  # noqa: BLE001 (Daft's own)
        return True
    return False


def _ordered_arrays(before: ArchetypeTable, rows: pa.Table) -> list[pa.Array]:
    return _arrays(in_order(before, rows).drop_columns(["entity_id"]))


def _arrays(rows: pa.Table) -> list[pa.Array]:
    return [owned(one_array(column)) for column in rows.columns]
