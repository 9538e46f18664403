"""Conflicts: the cells that several processors of a group wrote, summed up by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from archetype.core.scheduling.cells import Cells
from archetype.core.scheduling.records import NAMED_ENTITIES_MAX, Conflict
from archetype.core.scheduling.slots import Slots
from archetype.core.state import Int64s

__all__ = ["conflicts_in"]


@dataclass(frozen=True, slots=True, eq=False)
class _Contest:
    """The contested cells of one field: their entities, ascending, and what became of them."""

    conflict: Conflict
    entity_ids: Int64s

    def is_alike(self, other: _Contest) -> bool:
        """Say whether another field of the component was contested in the very same way."""
        return replace(self.conflict, field=other.conflict.field) == other.conflict and np.array_equal(
            self.entity_ids, other.entity_ids
        )


def conflicts_in(every: Iterable[Slots], names: Sequence[str]) -> tuple[Conflict, ...]:
    """Give the conflicts of a group, by component and field; `names` are its writers by number.

    Where all fields of a component were contested alike, one conflict stands for all of them.
    """
    contested: dict[str, dict[str, list[tuple[Slots, Cells]]]] = {}
    fields: dict[str, set[str]] = {}
    for slots in every:
        for column, cells in slots.cells.items():
            if cells.contested is not None:
                columns = contested.setdefault(cells.component, {})
                columns.setdefault(column, []).append((slots, cells))
                own = slots.columns_of(cells.component) or ()
                fields.setdefault(cells.component, set()).update(each.name for each in own)
    conflicts: list[Conflict] = []
    for component, columns in sorted(contested.items()):
        contests = [_contest(columns[column], names) for column in sorted(columns)]
        if len(contests) == len(fields[component]) and all(map(contests[0].is_alike, contests)):
            conflicts.append(replace(contests[0].conflict, field=None))
        else:
            conflicts.extend(each.conflict for each in contests)
    return tuple(conflicts)


def _contest(parts: Sequence[tuple[Slots, Cells]], names: Sequence[str]) -> _Contest:
    writers: set[int] = set()
    winners: set[int] = set()
    ids: list[Int64s] = []
    for slots, cells in parts:
        assert cells.contested is not None, "only contested cells are summed up"  # noqa: S101
        where = np.flatnonzero(cells.contested)
        ids.append(slots.entity_ids_at(where))
        writers |= _writers(cells)
        winners |= _standing(cells)
    resolution = _resolution(parts)
    entity_ids = _distinct(ids)
    conflict = Conflict(
        group=0,
        component=parts[0][1].component,
        field=parts[0][1].field,
        writers=tuple(names[each] for each in sorted(writers)),
        resolution=resolution,
        winners=tuple(names[each] for each in sorted(winners if resolution == "last" else writers)),
        entity_count=len(entity_ids),
        entity_ids=tuple(entity_ids[:NAMED_ENTITIES_MAX].tolist()),
    )
    return _Contest(conflict, entity_ids)


def _distinct(parts: Sequence[Int64s]) -> Int64s:
    """Give the distinct ids, ascending; on ids that mostly ascend this is far quicker than `np.unique`."""
    ids = np.sort(np.concatenate(parts), kind="stable")
    is_new = np.ones(len(ids), dtype=np.bool_)
    is_new[1:] = ids[1:] != ids[:-1]
    return ids[is_new]


def _resolution(parts: Sequence[tuple[Slots, Cells]]) -> str:
    """Name what combined the cells: the rule of any part by which nothing was lost, else the last writer."""
    if any(cells.is_lossy for _, cells in parts):
        return "last"
    slots, cells = parts[0]
    rule = slots.rule(cells.component)
    if rule.combining is not None:
        return "combine"
    return rule.operations.get(cells.column.name, "sum")


def _writers(cells: Cells) -> set[int]:
    assert cells.contested is not None, "only contested cells have writers to name"  # noqa: S101
    contested = cells.contested
    return {mark.writer for mark in cells.marks if mark.slots is None or bool(contested[mark.slots].any())}


def _standing(cells: Cells) -> set[int]:
    """Give those writers whose value was not put aside in each contested cell, by the marks from the last."""
    assert cells.contested is not None, "only contested cells have winners"  # noqa: S101
    is_open = cells.contested.copy()
    standing: set[int] = set()
    for mark in reversed(cells.marks):
        where = slice(None) if mark.slots is None else mark.slots
        if bool(is_open[where].any()):
            standing.add(mark.writer)
            if mark.replaces:
                is_open[where] = False
    return standing
