"""What differs between two states, and between the commands that led to them: answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

__all__ = ["DiffResponse"]


class DiffSideResponse(BaseModel):
    """One of the two states: a world after a tick, -1 before its first."""

    world_id: UUID
    name: str
    tick: int
    state_hash: str
    entity_count: int


class DiffSummaryResponse(BaseModel):
    """How much differs, in all; `values` counts those of moved entities too."""

    added: int
    removed: int
    moved: int
    changed: int = Field(description="Entities that stayed where they are, with other values.")
    values: int


class FieldCountResponse(BaseModel):
    """In how many entities a field differs."""

    component: str
    field: str
    count: int


class ListedEntityResponse(BaseModel):
    """An entity that one of the states lacks."""

    entity_id: int
    archetype: str


class MovedEntityResponse(BaseModel):
    """An entity that has other components in the other state."""

    entity_id: int
    archetype_a: str
    archetype_b: str


class ChangedValueResponse(BaseModel):
    """A value that differs."""

    entity_id: int
    component: str
    field: str
    value_a: Any
    value_b: Any


class DifferingCommandResponse(BaseModel):
    """A command that only one of the pasts has; `tick` is the one it belongs to."""

    command_id: UUID
    world_id: UUID = Field(description="The world in whose log it stands.")
    type: str
    tick: int
    due_tick: int
    priority: int
    version: int
    position: int
    actor_id: UUID | None
    recorded_at: datetime
    payload: dict[str, Any]
    has_batch: bool


class DifferingCommandsResponse(BaseModel):
    """The commands that only one of the pasts has: counted all, listed first by (tick, version)."""

    count: int
    count_by_type: dict[str, int]
    first: list[DifferingCommandResponse]


class DiffResponse(BaseModel):
    """What leads from `a` to `b`; the counts are complete, a listing that is shorter than its count goes on.

    Added is what only `b` has, removed what only `a` has. Entities are listed by id, values then by component
    and field.
    """

    a: DiffSideResponse
    b: DiffSideResponse
    tolerance: float
    limit: int
    is_identical: bool = Field(description="Whether the state hashes are the same.")
    base_tick: int | None = Field(description="The last tick that both pasts share; null if they share none.")
    commands_a: DifferingCommandsResponse
    commands_b: DifferingCommandsResponse
    summary: DiffSummaryResponse
    fields: list[FieldCountResponse]
    added: list[ListedEntityResponse]
    removed: list[ListedEntityResponse]
    moved: list[MovedEntityResponse]
    values: list[ChangedValueResponse]
