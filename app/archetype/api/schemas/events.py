"""Events of live feeds, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.service.live import Event, EventKind

__all__ = ["EventResponse"]


class EventResponse(BaseModel):
    """A row of the log: a command that was accepted, or a fact that the engine recorded."""

    position: int = Field(description="Its place in the log of all worlds; contiguous.")
    world_id: UUID
    version: int = Field(description="The world's version with it; contiguous.")
    kind: EventKind
    type: str
    tick: int = Field(description="The tick that it belongs to.")
    command_id: UUID | None = Field(
        description="The command's id; of a fact, that of its cause if it has one."
    )
    actor_id: UUID | None
    payload: dict[str, Any]
    batch_size_bytes: int | None = Field(description="Of a bulk command, the size of its Arrow batch.")
    recorded_at: datetime

    @classmethod
    def of(cls, event: Event) -> EventResponse:
        """Describe an event; its values are known to fit."""
        return cls.model_construct(**{name: getattr(event, name) for name in cls.model_fields})
