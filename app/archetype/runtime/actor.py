"""Who acts."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from archetype.clock import new_id

__all__ = ["ActorCtx"]


class ActorCtx(BaseModel):
    """The caller of commands: its id stands in every row of the log that it causes."""

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=new_id)
    roles: frozenset[str] = frozenset({"viewer"})
