"""Messages: bodies and answers."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.log.command import CommandStatus
from archetype.log.payload_fields import Integer

__all__ = ["MessageBody", "MessageResponse"]


class MessageSend(Body):
    """A message to an entity or, without a receiver, to everybody."""

    content: Any = Field(description="Any JSON value.")
    receiver_id: Integer | None = Field(default=None, description="The entity that it is for.")
    sender_id: Integer | None = Field(default=None, description="The entity that it is from.")
    channel: str | None = Field(default=None, description="What it is about, for those who listen.")
    tick: Integer = Field(default=0, description="The earliest tick to be applied in.")
    priority: Integer = Field(default=0, description="Within a tick, lower is applied first.")

    def payload(self) -> dict[str, Any]:
        """Return the payload of its command."""
        return self.model_dump(exclude={"tick", "priority"})


MessageBody = Annotated[MessageSend, json_body({"content": {"say": "hello"}, "receiver_id": 1})]


class MessageResponse(BaseModel):
    """A message of the log, and what became of it."""

    command_id: UUID
    sender_id: int | None
    receiver_id: int | None
    channel: str | None
    content: Any
    tick: int = Field(description="The tick whose processors get it.")
    position: int
    world_id: UUID = Field(description="The world in whose log it stands: this one, or an ancestor.")
    actor_id: UUID | None
    status: CommandStatus
    reason: str | None = Field(description="Why it reached nobody.")
