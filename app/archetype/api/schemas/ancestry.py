"""Where worlds come from: answers."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

__all__ = ["MergeBaseResponse", "TickResponse", "TreeNodeResponse"]


class MergeBaseResponse(BaseModel):
    """The last tick that two pasts share."""

    world_id: UUID = Field(description="The world that owns the tick.")
    name: str
    tick: int
    commit_hash: str
    ticks_since_a: int
    ticks_since_b: int


class TreeNodeResponse(BaseModel):
    """A world in the tree of forks."""

    world_id: UUID
    name: str
    parent_id: UUID | None
    fork_tick: int | None
    committed_tick: int = Field(description="The last committed tick; -1 before the first.")
    is_archived: bool
    depth: int = Field(description="How many forks away from its root.")
    labels: dict[str, int] = Field(description="The ticks that its own labels name.")


class TickResponse(BaseModel):
    """A committed tick of a world's past."""

    tick: int
    world_id: UUID = Field(description="The world that owns it: this one, or an ancestor.")
    world_name: str
    commit_hash: str
    parent_hash: str
    state_hash: str
    code_hash: str
    run_id: UUID
    entity_count: int
    command_count: int
    rejected_count: int
    committed_at: datetime
    compute_ms: float
    persist_ms: float
    has_snapshot: bool = Field(description="Whether its state can be read without computing it again.")
    labels: list[str] = Field(description="The labels that name it in the world that was asked about.")
