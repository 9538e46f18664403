"""What a processor did in its group, in the forms in which groups are folded.

A processor that works on frames gives `ColumnWrite`s and the rows it ended; one that works on objects gives
operations, in the order in which it asked for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from archetype.core.component import Component
from archetype.core.state import Int64s

__all__ = [
    "FIRST_PROVISIONAL_ID",
    "ColumnWrite",
    "Despawn",
    "Operation",
    "Output",
    "Remove",
    "Spawn",
    "Write",
    "provisional_id",
]

FIRST_PROVISIONAL_ID = -(2**62)
"""Provisional ids count down from here, far from any number that a simulation uses."""

_SPAWNS_PER_PROCESSOR = 2**32


def provisional_id(index: int, ordinal: int) -> int:
    """Give the provisional id of a processor's spawn: `index` is its place in registration, both from 0."""
    return FIRST_PROVISIONAL_ID - index * _SPAWNS_PER_PROCESSOR - ordinal


@dataclass(frozen=True, slots=True, eq=False)
class ColumnWrite:
    """New values for one column of one archetype, one a row, of the column's type.

    `rows` are ascending, distinct indices into the archetype's table in the group's state; None is every
    row. Each listed cell counts as written, whatever it held.
    """

    archetype_id: bytes
    column: str
    rows: Int64s | None
    values: pa.Array
    is_delta: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A whole component for an entity, which gains it if it has none of that type."""

    entity_id: int
    component: Component
    is_delta: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """An entity loses a component."""

    entity_id: int
    kind: type[Component]


@dataclass(frozen=True, slots=True)
class Spawn:
    """A new entity under a provisional id."""

    entity_id: int
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Despawn:
    """An entity ends."""

    entity_id: int


Operation = Write | Remove | Spawn | Despawn


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """All that one processor did in a group; `index` is its place in registration, `name` tells it apart.

    `ended` are, by archetype id, ascending indices of rows whose entities it ended, after its writes.
    """

    index: int
    name: str
    columns: Sequence[ColumnWrite] = ()
    ended: Mapping[bytes, Int64s] = field(default_factory=dict[bytes, Int64s])
    operations: Sequence[Operation] = ()
