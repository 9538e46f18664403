"""States: answers of one tick, and of several."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.store.ticks import TickCounts

__all__ = ["ComponentRange", "ComponentRows", "CountsResponse", "StateRange", "StateResponse"]

_FROM = "The first tick."
_TO = "The tick behind the last one."


class StateResponse(BaseModel):
    """Who is in a world after a tick (-1 before the first), and with which components."""

    world_id: UUID
    tick: int
    entities: dict[str, list[str]] = Field(description="Component names by entity id.")
    archetype_counts: dict[str, int] = Field(description="Entities by archetype.")


class StateRange(BaseModel):
    """Who is in a world after each tick of a range, in order."""

    world_id: UUID
    from_tick: int = Field(description=_FROM)
    to_tick: int = Field(description=_TO)
    states: list[StateResponse]


class ComponentRows(BaseModel):
    """Entities that have all of some components; each row holds entity_id, tick and a value by component."""

    world_id: UUID
    component_types: list[str] | None
    entity_ids: list[int] | None
    tick: int
    rows: list[dict[str, Any]]


class ComponentRange(BaseModel):
    """The rows of `ComponentRows` after each tick of a range, by tick and entity id."""

    world_id: UUID
    component_types: list[str] | None
    entity_ids: list[int] | None
    from_tick: int = Field(description=_FROM)
    to_tick: int = Field(description=_TO)
    rows: list[dict[str, Any]]


class CountsResponse(BaseModel):
    """How many entities are active after a tick."""

    tick: int
    entity_count: int
    archetype_counts: dict[str, int] = Field(description="Entities by archetype.")

    @classmethod
    def of(cls, counts: TickCounts) -> CountsResponse:
        """Describe a tick's counts."""
        by_name: Counter[str] = Counter()
        for archetype, count in counts.by_archetype.items():
            by_name[archetype.name] += count
        return cls(tick=counts.tick, entity_count=counts.entity_count, archetype_counts=by_name)
