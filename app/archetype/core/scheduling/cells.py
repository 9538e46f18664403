"""Cells: one column of a group's state while writes are folded into it, and who wrote what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from archetype.core.columns import overwrite
from archetype.core.combine import Operation
from archetype.core.diff import Bools
from archetype.core.scheduling.kernels import combine_arrays
from archetype.core.state import Int64s

__all__ = ["Cells", "Mark"]

_NOBODY = -1


class Mark(NamedTuple):
    """One write: its writer, the slots it wrote (None for all), and whether it put aside what was there."""

    writer: int
    slots: Int64s | None
    replaces: bool


class Cells:
    """The values of one column by slot, and the marks of its writes in order.

    Writers are numbered in the order of registration. Slots of one call are distinct. `contested` are the
    cells that two of them wrote, None while there are none; `is_lossy` says whether one's value was put aside
    for another's. Calls give how many cells their writer had not written before.
    """

    def __init__(self, component: str, column: pa.Field, stored: pa.Array) -> None:
        self.component = component
        self.column = column
        self.current = stored
        self.marks: list[Mark] = []
        self.contested: Bools | None = None
        self.is_lossy = False
        self._writers: npt.NDArray[np.int32] | None = None

    @property
    def field(self) -> str:
        """The field's own name."""
        return self.column.name[len(self.component) + 2 :]

    @property
    def name(self) -> str:
        """Component and field, for messages."""
        return f"{self.component}.{self.field}"

    def at(self, slots: Int64s | None) -> pa.Array:
        """Give the values at some slots."""
        return self.current if slots is None else pc.take(self.current, pa.array(slots))

    def is_written(self, slots: Int64s | None) -> Bools:
        """Tell of some slots whether they have been written."""
        if not self.marks:
            return np.zeros(len(self.current) if slots is None else len(slots), dtype=np.bool_)
        writers = self._last_writers()
        return (writers if slots is None else writers[slots]) != _NOBODY

    def fold(self, slots: Int64s | None, values: pa.Array, writer: int, operation: Operation | None) -> int:
        """Write plainly: what was written before is combined by the operation, or else put aside."""
        if operation is None or operation == "last":
            return self.put(slots, values, writer, replaces=True)
        meets = self.is_written(slots)
        if bool(meets.all()):
            return self.fold_onto(slots, values, writer, operation)
        where = np.flatnonzero(meets)
        if len(where):
            some = pa.array(where)
            old, new = pc.take(self.at(slots), some), pc.take(values, some)
            values = overwrite(values, where, combine_arrays(operation, old, new, where=self.name))
        return self.put(slots, values, writer, replaces=False)

    def fold_onto(self, slots: Int64s | None, values: pa.Array, writer: int, operation: Operation) -> int:
        """Write by an operation onto what is there, whether written or stored."""
        if operation == "last":
            return self.put(slots, values, writer, replaces=True)
        combined = combine_arrays(operation, self.at(slots), values, where=self.name)
        return self.put(slots, combined, writer, replaces=False)

    def put(self, slots: Int64s | None, values: pa.Array, writer: int, *, replaces: bool) -> int:
        """Set values, and mark them as written."""
        self.current = values if slots is None else overwrite(self.current, slots, values)
        return self.mark(slots, writer, replaces=replaces)

    def mark(self, slots: Int64s | None, writer: int, *, replaces: bool) -> int:
        """Mark cells as written without a change to their values."""
        count = len(self.current) if slots is None else len(slots)
        if self.marks:
            count -= self._meet(slots, writer, replaces=replaces)
        self.marks.append(Mark(writer, slots, replaces))
        return count

    def extend(self, values: pa.Array, writer: int, written: Bools) -> int:
        """Add new slots at the end, of which only some count as written."""
        first = len(self.current)
        self.current = pa.concat_arrays([self.current, values]) if first else values
        if self._writers is not None:
            added = np.where(written, np.int32(writer), np.int32(_NOBODY))
            self._writers = np.concatenate([self._writers, added])
        if self.contested is not None:
            self.contested = np.concatenate([self.contested, np.zeros(len(values), dtype=np.bool_)])
        slots = first + np.flatnonzero(written)
        if len(slots):
            self.marks.append(Mark(writer, slots, replaces=False))
        return len(slots)

    def _meet(self, slots: Int64s | None, writer: int, *, replaces: bool) -> int:
        """Note who wrote these cells before; gives how many of them the writer itself had."""
        writers = self._last_writers()
        before = writers if slots is None else writers[slots]
        is_own = before == writer
        clashes = ~is_own & (before != _NOBODY)
        own_count = int(np.count_nonzero(is_own))
        where = slice(None) if slots is None else slots
        if self.contested is None and bool(clashes.any()):
            self.contested = np.zeros(len(self.current), dtype=np.bool_)
        if self.contested is not None:
            self.contested[where] |= clashes
            self.is_lossy |= replaces and bool(self.contested[where].any())
        writers[where] = writer
        return own_count

    def _last_writers(self) -> npt.NDArray[np.int32]:
        if self._writers is None:
            self._writers = np.full(len(self.current), _NOBODY, dtype=np.int32)
            for mark in self.marks:
                self._writers[slice(None) if mark.slots is None else mark.slots] = mark.writer
        return self._writers
