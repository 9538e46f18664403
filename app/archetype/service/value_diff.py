"""Which values of entities that two states share differ: counted all, listed first by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from archetype.core.diff import differing
from archetype.core.state import Int64s
from archetype.service.table_diff import Column, Pages, Pairs
from archetype.service.values import json_value

__all__ = ["ChangedValue", "DifferingValues", "compare_values", "list_values"]


@dataclass(frozen=True, slots=True)
class ChangedValue:
    """A value that differs, in JSON forms."""

    entity_id: int
    component: str
    field: str
    value_a: Any
    value_b: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Differing:
    """The first values of a column that differ, by ascending id."""

    column: Column
    ids: Int64s
    a: pa.Array
    b: pa.Array


@dataclass(frozen=True, slots=True)
class DifferingValues:
    """How many entities have values that differ, how many values of each column do, and the first of them."""

    entity_count: int
    count_by_column: Counter[Column]
    first: Sequence[_Differing]


def compare_values(pairs: Sequence[Pairs], pages: Pages, tolerance: float, limit: int) -> DifferingValues:
    """Compare the values of pairs, column by column; of each, the first `limit` that differ are kept."""
    entity_count = 0
    counts: Counter[Column] = Counter()
    first: list[_Differing] = []
    for each in pairs:
        is_changed = np.zeros(len(each.ids), dtype=np.bool_)
        for column in each.columns:
            a, b = each.a.column(column.name, pages), each.b.column(column.name, pages)
            differs = differing(a, b, tolerance)
            is_changed |= differs
            places = np.flatnonzero(differs)
            if len(places):
                counts[column] += len(places)
                places = places[:limit]
                kept = pa.array(places)
                first.append(_Differing(column, each.ids[places], a.take(kept), b.take(kept)))
        entity_count += int(np.count_nonzero(is_changed))
    return DifferingValues(entity_count, counts, first)


def list_values(found: Sequence[_Differing], limit: int) -> list[ChangedValue]:
    """Return the first values by (entity id, component, field)."""
    found = sorted(found, key=lambda each: each.column)
    none = np.empty(0, dtype=np.int64)
    ids = np.concatenate([none, *(each.ids for each in found)])
    source = np.repeat(np.arange(len(found)), [len(each.ids) for each in found])
    place = np.concatenate([none, *(np.arange(len(each.ids)) for each in found)])
    chosen = np.lexsort((source, ids))[:limit]
    listed: list[ChangedValue] = []
    for index in chosen.tolist():
        each, row = found[source[index]], int(place[index])
        value_a, value_b = json_value(each.a[row].as_py()), json_value(each.b[row].as_py())
        component, name, _ = each.column
        listed.append(ChangedValue(int(ids[index]), component, name, value_a, value_b))
    return listed
