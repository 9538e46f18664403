"""Commands: bodies, receipts, and the log's entries."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct
from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.log.command import CommandStatus
from archetype.log.payload_fields import Integer
from archetype.service.admission import CommandRequest
from archetype.service.commands import HistoryEntry, Receipt

__all__ = [
    "BatchBody",
    "BatchRequest",
    "CommandBody",
    "CommandEntry",
    "HistoryItem",
    "PendingResponse",
    "ReceiptResponse",
]


class CommandIn(Body):
    """A command; `payload` is what its type says."""

    id: UUID | None = Field(
        default=None, description="Makes a retry harmless; Idempotency-Key does the same."
    )
    type: str = Field(default="custom", description="spawn, despawn, update, add_component, … or custom.")
    tick: Integer = Field(default=0, description="The earliest tick to be applied in.")
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: Integer = Field(default=0, description="Within a tick, lower is applied first.")

    def request(self) -> CommandRequest:
        """Return the command as the services take it."""
        return CommandRequest(self.type, self.payload, self.tick, self.priority, self.id)


_SPAWN = {"type": "spawn", "payload": {"components": [{"type": "Position", "x": 1.0, "y": 2.0}]}}

CommandBody = Annotated[CommandIn, json_body(_SPAWN)]


class BatchRequest(Body):
    """Commands that are accepted together, in this order, or not at all."""

    commands: list[CommandIn]


BatchBody = Annotated[
    BatchRequest, json_body({"commands": [_SPAWN, {"type": "despawn", "payload": {"entity_id": 1}}]})
]


class ReceiptResponse(Struct, frozen=True):
    """Where an accepted command stands; a duplicate answers as the first time."""

    id: UUID
    type: str
    tick: Annotated[int, Meta(description="The tick that the command is applied in.")]
    due_tick: Annotated[int, Meta(description="The tick that was asked for.")]
    priority: int
    version: Annotated[int, Meta(description="The world's version with this command; contiguous.")]
    position: Annotated[int, Meta(description="The command's place in the log of all worlds.")]
    entity_id: Annotated[int | None, Meta(description="The id that a spawn was given, else null.")]
    is_duplicate: bool

    @classmethod
    def of(cls, receipt: Receipt, due_tick: int) -> ReceiptResponse:
        """Describe a receipt."""
        return cls(
            receipt.command_id,
            receipt.type,
            receipt.tick,
            due_tick,
            receipt.priority,
            receipt.version,
            receipt.position,
            receipt.first_entity_id if receipt.entity_count == 1 else None,
            receipt.is_duplicate,
        )


class CommandEntry(BaseModel):
    """One command of the log, in short."""

    id: UUID
    type: str
    tick: int = Field(description="The tick that was asked for.")
    priority: int
    version: int = Field(description="The world's version with this command.")
    position: int
    applied_tick: int = Field(description="The tick that it belongs to.")
    status: CommandStatus
    reason: str | None = Field(description="Why it was rejected when its tick was computed.")

    @classmethod
    def of(cls, entry: HistoryEntry) -> CommandEntry:
        """Describe a command of the log."""
        command = entry.command
        return cls(
            id=command.id,
            type=command.type.value,
            tick=command.tick,
            priority=command.priority,
            version=command.seq or 0,
            position=entry.position,
            applied_tick=entry.applied_tick,
            status=entry.status,
            reason=entry.reason,
        )


class HistoryItem(BaseModel):
    """One command of the log, whole; `seq` is the world's version with it, `version` its payload's schema."""

    id: UUID
    tick: int = Field(description="The tick that was asked for.")
    actor_id: UUID | None
    type: str
    payload: dict[str, Any]
    priority: int
    version: int
    seq: int | None
    position: int
    applied_tick: int = Field(description="The tick that it belongs to.")
    entity_id: int | None = Field(description="The first id that a spawn was given.")
    world_id: UUID = Field(description="The world in whose log it stands: this one, or an ancestor.")
    status: CommandStatus
    reason: str | None = Field(description="Why it was rejected when its tick was computed.")

    @classmethod
    def of(cls, entry: HistoryEntry) -> HistoryItem:
        """Describe a command of the log."""
        return cls(
            **entry.command.model_dump(exclude={"applied_tick", "status", "reason"}),
            position=entry.position,
            applied_tick=entry.applied_tick,
            entity_id=entry.first_entity_id,
            world_id=entry.world_id,
            status=entry.status,
            reason=entry.reason,
        )


class PendingResponse(BaseModel):
    """How many commands wait for a tick that is not committed yet."""

    world_id: UUID
    pending_count: int
