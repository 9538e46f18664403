"""Provisional ids: numbers for entities that a group makes, until the real ones are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from archetype.core.scheduling.writes import FIRST_PROVISIONAL_ID, Output, Spawn

__all__ = ["RealIds", "count_spawns"]


def count_spawns(outputs: Iterable[Output]) -> int:
    """Count the entities that these outputs make: as many ids does their fold need."""
    return sum(isinstance(operation, Spawn) for output in outputs for operation in output.operations)


class RealIds:
    """The real ids of a group's spawns, by their provisional ones."""

    def __init__(self, by_provisional: Mapping[int, int]) -> None:
        self._provisional = np.array(sorted(by_provisional), dtype=np.int64)
        self._real = np.array([by_provisional[each] for each in sorted(by_provisional)], dtype=np.int64)
        self._by_provisional = by_provisional

    @classmethod
    def of(cls, outputs: Iterable[Output], first_entity_id: int) -> RealIds:
        """Number the spawns of outputs, which come in the order in which they are folded."""
        spawned = [
            operation.entity_id
            for output in outputs
            for operation in output.operations
            if isinstance(operation, Spawn)
        ]
        return cls({entity_id: first_entity_id + place for place, entity_id in enumerate(spawned)})

    def __getitem__(self, provisional: int) -> int:
        return self._by_provisional[provisional]

    def resolve(self, array: pa.Array) -> pa.Array:
        """Put real ids in the place of provisional ones, also inside of lists and structs.

        Gives the very same array if it holds none.
        """
        return self._resolved(array) if self._by_provisional else array

    def _resolved(self, array: pa.Array) -> pa.Array:
        kind = array.type
        if pa.types.is_int64(kind):
            return self._resolved_numbers(array)
        if pa.types.is_struct(kind):
            children = [array.field(index) for index in range(kind.num_fields)]
            resolved = [self._resolved(child) for child in children]
            if all(new is old for new, old in zip(resolved, children, strict=True)):
                return array
            return pa.StructArray.from_arrays(resolved, fields=list(kind), mask=_nulls(array))
        if pa.types.is_fixed_size_list(kind):
            size = kind.list_size
            items = array.values.slice(array.offset * size, len(array) * size)
            resolved = self._resolved(items)
            if resolved is items:
                return array
            return pa.FixedSizeListArray.from_arrays(resolved, type=kind, mask=_nulls(array))
        if pa.types.is_list(kind):
            return self._resolved_lists(array)
        return array

    def _resolved_numbers(self, array: pa.Array) -> pa.Array:
        numbers = (array.fill_null(0) if array.null_count else array).to_numpy()
        suspects = np.flatnonzero(numbers <= FIRST_PROVISIONAL_ID)
        places = np.searchsorted(self._provisional, numbers[suspects])
        places[places == len(self._provisional)] = 0
        is_known = self._provisional[places] == numbers[suspects]
        if not bool(is_known.any()):
            return array
        out = numbers.copy()
        out[suspects[is_known]] = self._real[places[is_known]]
        return pa.array(out, mask=array.is_null().to_numpy(zero_copy_only=False))

    def _resolved_lists(self, array: pa.Array) -> pa.Array:
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        items = array.values.slice(first, last - first)
        resolved = self._resolved(items)
        if resolved is items:
            return array
        offsets = pa.array(array.offsets.to_numpy() - first)
        return pa.ListArray.from_arrays(offsets, resolved, type=array.type, mask=_nulls(array))


def _nulls(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None
