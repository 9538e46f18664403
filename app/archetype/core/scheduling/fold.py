"""Folding a group: the outputs of its processors make one state of the state that all of them saw.

Outputs are folded in the order of registration, whatever finished first. Each processor owns exactly the
cells it wrote; where several wrote one cell, the component's rule makes one value of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archetype.core.scheduling.conflicts import conflicts_in
from archetype.core.scheduling.output_fold import OutputFold
from archetype.core.scheduling.provisional import RealIds, count_spawns
from archetype.core.scheduling.rebuild import rebuild_state, rebuild_tombstones
from archetype.core.scheduling.records import Conflict
from archetype.core.scheduling.touched import Touched
from archetype.core.scheduling.writes import Output
from archetype.core.state import ArchetypeTable, WorldState

__all__ = ["Folded", "count_spawns", "fold_group"]


@dataclass(frozen=True, eq=False)
class Folded:
    """What a group's outputs made of its state.

    `tombstones` has, by archetype id, each entity of the state that ended: its row, with what had been
    written to it by then. `conflicts` stand in group 0, by component and field. The counts are by
    `Output.index`: distinct cells written, entities spawned and ended, and operations, or entities of
    column writes, that met nothing to act on.
    """

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]
    conflicts: tuple[Conflict, ...]
    cell_counts: Mapping[int, int]
    spawned_counts: Mapping[int, int]
    ended_counts: Mapping[int, int]
    dropped_counts: Mapping[int, int]


def fold_group(state: WorldState, outputs: Sequence[Output], first_entity_id: int) -> Folded:
    """Fold the outputs of a group, in any order, into the state that its processors ran on.

    Spawns get the ids from `first_entity_id` on, in fold order; what they begin with counts as stored, not as
    written. Gives the same state object if nothing was written. Raises InvalidInputError if a value does not
    fit its column, an integer overflows, a field takes no Delta, or an entity would have two components of
    one prefix.
    """
    ordered = sorted(outputs, key=lambda output: output.index)
    real_ids = RealIds.of(ordered, first_entity_id)
    touched = Touched(state)
    folds: dict[int, OutputFold] = {}
    for writer, output in enumerate(ordered):
        fold = folds[output.index] = OutputFold(touched, real_ids, writer=writer)
        fold.fold(output)
    return Folded(
        state=rebuild_state(touched),
        tombstones=rebuild_tombstones(touched),
        conflicts=conflicts_in([*touched.tables, *touched.fresh.values()], [each.name for each in ordered]),
        cell_counts={index: fold.cell_count for index, fold in folds.items()},
        spawned_counts={index: fold.spawned_count for index, fold in folds.items()},
        ended_counts={index: fold.ended_count for index, fold in folds.items()},
        dropped_counts={index: fold.dropped_count for index, fold in folds.items()},
    )
