"""What a tick records of the processors that ran in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

__all__ = ["NAMED_ENTITIES_MAX", "Attempt", "Conflict", "Execution", "IdRange", "TickReport"]

NAMED_ENTITIES_MAX = 10
"""Entities that a conflict or a dropped write names; the others are counted."""

ERROR_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a processor that failed: how long it took, and what it raised."""

    duration_ms: float
    error: str

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        return {"ms": round(self.duration_ms, 3), "error": self.error[:ERROR_CHARACTERS_MAX]}


@dataclass(frozen=True, slots=True)
class Execution:
    """One processor in one tick: what it ran on, what it wrote, and how it went.

    `group` counts the tick's groups from 0, `index` is the processor's place in registration. `row_count` are
    the rows it was given over its `archetype_count` archetypes. `cell_count` counts cells written and
    `duration_ms` the last attempt; both are None where it was fused into one query with the processor
    behind it, with which these figures then stand. `failures` are the attempts that failed.
    """

    group: int
    index: int
    processor: str
    status: Literal["done", "skipped", "condition_false"] = "done"
    archetype_count: int = 0
    row_count: int = 0
    cell_count: int | None = 0
    duration_ms: float | None = 0.0
    failures: tuple[Attempt, ...] = ()
    spawned_count: int = 0
    ended_count: int = 0
    dropped_count: int = 0

    @property
    def attempt_count(self) -> int:
        """How often it was tried."""
        ran = self.status == "done"
        return len(self.failures) + ran

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log; counts of nothing are left out."""
        spelled: dict[str, Any] = {
            "group": self.group,
            "index": self.index,
            "processor": self.processor,
            "status": self.status,
            "archetypes": self.archetype_count,
            "rows": self.row_count,
            "cells": self.cell_count,
            "ms": None if self.duration_ms is None else round(self.duration_ms, 3),
            "attempts": self.attempt_count,
        }
        counts = {"spawned": self.spawned_count, "ended": self.ended_count, "dropped": self.dropped_count}
        spelled |= {name: count for name, count in counts.items() if count}
        if self.failures:
            spelled["failures"] = [each.to_json() for each in self.failures]
        return spelled


@dataclass(frozen=True, slots=True)
class Conflict:
    """Cells that several processors of one group wrote, by field; `field` is None for a whole component.

    `resolution` is the operation that combined them, "combine" for the component's own `__combine__`, or
    "last" where no rule does and the last registered writer won: `winners` are those whose value stands.
    Writers and winners are in order of registration; `entity_ids` are the first few of `entity_count`.
    """

    group: int
    component: str
    field: str | None
    writers: tuple[str, ...]
    resolution: str
    winners: tuple[str, ...]
    entity_count: int
    entity_ids: tuple[int, ...]

    @property
    def is_resolved_by_rule(self) -> bool:
        """Whether the component says how its writes combine, so that nothing was lost."""
        return self.resolution != "last"

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        return {
            "group": self.group,
            "component": self.component,
            "field": self.field,
            "writers": list(self.writers),
            "resolution": self.resolution,
            "winners": list(self.winners),
            "entity_count": self.entity_count,
            "entity_ids": list(self.entity_ids),
        }

    def in_group(self, group: int) -> Self:
        """Give it as one of that group."""
        return replace(self, group=group)


@dataclass(frozen=True, slots=True)
class IdRange:
    """Entity ids that a group's spawns were given: `count` from `first` on."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class TickReport:
    """What ran in a tick, in the order of its groups, and what its writes came to."""

    executions: tuple[Execution, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    spawned: tuple[IdRange, ...] = ()

    @property
    def next_entity_id(self) -> int:
        """The lowest id behind those that its spawns were given, 0 if it spawned nothing."""
        return max((each.first + each.count for each in self.spawned), default=0)
