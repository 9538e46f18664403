"""The bodies of requests and responses, with what the API document says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg
from pydantic import BaseModel, ConfigDict, Field

from archetype.log.payloads import MAX_STEPS, ComponentValue, Seed, WorldName
from archetype.service.admission import CommandRequest
from archetype.service.commands import HistoryEntry, Receipt
from archetype.service.worlds import WorldInfo

__all__ = [
    "BatchBody",
    "BatchRequest",
    "BulkReceipt",
    "CommandBody",
    "CommandEntry",
    "ComponentRows",
    "ComponentType",
    "ComponentsBody",
    "EntityResponse",
    "FieldType",
    "ForkBody",
    "HistoryItem",
    "PendingResponse",
    "Problem",
    "ProcessorResponse",
    "ProcessorType",
    "ReceiptResponse",
    "RunBody",
    "RunResponse",
    "ServerInfo",
    "SpawnBody",
    "StateResponse",
    "StatusResponse",
    "StepBody",
    "StepResponse",
    "WorldBody",
    "WorldResponse",
]


def _json_body(example: Any) -> BodyKwarg:
    return BodyKwarg(media_type=RequestEncodingType.JSON, examples=[Example(value=example)])


class Body(BaseModel):
    """The base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class WorldCreate(Body):
    """A new world; all fields may be left out."""

    name: WorldName | None = Field(
        default=None, description="Unique among live worlds; without one the world is named by its id."
    )
    seed: Seed | None = Field(default=None, description="Keys every random number of the world's processors.")
    world_id: UUID | None = Field(
        default=None, description="With the same id again the answer is the first one."
    )
    storage_uri: str | None = Field(default=None, description="Accepted for old callers; has no effect.")
    namespace: str | None = Field(default=None, description="Accepted for old callers; has no effect.")


WorldBody = Annotated[WorldCreate, _json_body({"name": "demo", "seed": 7})]


class ForkCreate(Body):
    """A fork of a world."""

    name: WorldName | None = Field(
        default=None, description="By default the parent's name and eight random digits."
    )
    tick: int | None = Field(
        default=None,
        ge=-1,
        description="The last tick to share, by default the last one committed; -1 shares none.",
    )


ForkBody = Annotated[ForkCreate | None, _json_body({"name": "what-if", "tick": 2})]


class CommandIn(Body):
    """A command; `payload` is what its type says."""

    id: UUID | None = Field(
        default=None, description="Makes a retry harmless; Idempotency-Key does the same."
    )
    type: str = Field(default="custom", description="spawn, despawn, update, add_component, … or custom.")
    tick: int = Field(default=0, description="The earliest tick to be applied in.")
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(default=0, description="Within a tick, lower is applied first.")

    def request(self, command_id: UUID | None) -> CommandRequest:
        """Return the command as the services take it."""
        return CommandRequest(self.type, self.payload, self.tick, self.priority, command_id)


_SPAWN = {"type": "spawn", "payload": {"components": [{"type": "Position", "x": 1.0, "y": 2.0}]}}

CommandBody = Annotated[CommandIn, _json_body(_SPAWN)]


class BatchRequest(Body):
    """Commands that are accepted together, in this order, or not at all."""

    commands: list[CommandIn]


BatchBody = Annotated[
    BatchRequest, _json_body({"commands": [_SPAWN, {"type": "despawn", "payload": {"entity_id": 1}}]})
]


class ReceiptResponse(BaseModel):
    """Where an accepted command stands; a duplicate answers as the first time."""

    id: UUID
    type: str
    tick: int = Field(description="The tick that the command is applied in.")
    due_tick: int = Field(description="The tick that was asked for.")
    priority: int
    version: int = Field(description="The world's version with this command; contiguous.")
    position: int = Field(description="The command's place in the log of all worlds.")
    entity_id: int | None = Field(description="The id that a spawn was given, else null.")
    is_duplicate: bool

    @classmethod
    def of(cls, receipt: Receipt, due_tick: int) -> ReceiptResponse:
        """Describe a receipt; its values are known to fit."""
        return cls.model_construct(
            id=receipt.command_id,
            type=receipt.type,
            tick=receipt.tick,
            due_tick=due_tick,
            priority=receipt.priority,
            version=receipt.version,
            position=receipt.position,
            entity_id=receipt.first_entity_id if receipt.entity_count == 1 else None,
            is_duplicate=receipt.is_duplicate,
        )


class BulkReceipt(BaseModel):
    """Where an accepted bulk command stands; the ids of spawned rows follow each other."""

    id: UUID
    first_entity_id: int | None = Field(description="The id of the first spawned row; null for an update.")
    entity_count: int = Field(description="How many entities were spawned; 0 for an update.")
    tick: int
    version: int
    position: int


class CommandEntry(BaseModel):
    """One command of the log, in short."""

    id: UUID
    type: str
    tick: int = Field(description="The tick that was asked for.")
    priority: int
    version: int = Field(description="The world's version with this command.")
    position: int
    applied_tick: int = Field(description="The tick that it belongs to.")
    status: Literal["pending", "applied", "rejected"]
    reason: str | None = Field(description="Why it was rejected when its tick was computed.")

    @classmethod
    def of(cls, entry: HistoryEntry, *, is_pending: bool) -> CommandEntry:
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
            status="rejected" if entry.reason is not None else "pending" if is_pending else "applied",
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
    reason: str | None = Field(description="Why it was rejected when its tick was computed.")

    @classmethod
    def of(cls, entry: HistoryEntry) -> HistoryItem:
        """Describe a command of the log."""
        return cls(
            **entry.command.model_dump(),
            position=entry.position,
            applied_tick=entry.applied_tick,
            entity_id=entry.first_entity_id,
            reason=entry.reason,
        )


class PendingResponse(BaseModel):
    """How many commands wait for a tick that is not committed yet."""

    world_id: UUID
    pending_count: int


class ComponentsChange(Body):
    """Component values for an entity; an update may name only some fields of each."""

    components: list[ComponentValue]
    tick: int = Field(default=0, description="The earliest tick to be applied in.")
    priority: int = Field(default=0, description="Within a tick, lower is applied first.")


class SpawnRequest(ComponentsChange):
    """A new entity."""

    components: list[ComponentValue] = []
    entity_id: int | None = Field(default=None, description="By default the next free one.")


_POSITION = {"components": [{"type": "Position", "x": 1.0, "y": 2.0}]}

SpawnBody = Annotated[SpawnRequest, _json_body(_POSITION)]
ComponentsBody = Annotated[ComponentsChange, _json_body(_POSITION)]


class StepRequest(Body):
    """One tick."""

    num_steps: int = Field(default=1, description="Accepted for old callers; a step is always one tick.")
    debug: bool = Field(default=False, description="Reaches every processor as `debug`.")
    inputs: dict[str, Any] = Field(default={}, description="Reach every processor that names them.")


class RunRequest(StepRequest):
    """Ticks one after the other."""

    num_steps: int = Field(default=1, ge=0, le=MAX_STEPS, description="How many ticks to run.")


StepBody = Annotated[StepRequest | None, _json_body({"inputs": {"wind": 0.5}})]
RunBody = Annotated[RunRequest | None, _json_body({"num_steps": 10})]


class StepResponse(BaseModel):
    """What a step did."""

    world_id: UUID
    commands_applied: int
    commands_rejected: int
    run_id: UUID
    tick: int = Field(description="The world's tick now: the number of the next tick to run.")


class RunResponse(BaseModel):
    """What a run did."""

    run_id: UUID
    world_id: UUID
    ticks_completed: int
    commands_applied: int
    commands_rejected: int
    final_tick: int = Field(description="The world's tick now: the number of the next tick to run.")


class WorldResponse(BaseModel):
    """A world; `tick` is the number of the next tick to run."""

    world_id: UUID
    name: str
    tick: int
    entity_count: int = Field(description="Active entities after the last committed tick.")
    parent_id: UUID | None = Field(description="The world that owns the tick this one was forked at.")
    fork_tick: int | None
    version: int = Field(description="Grows by one with each entry of the world's log.")
    seed: int
    created_at: datetime

    @classmethod
    def of(cls, info: WorldInfo) -> WorldResponse:
        """Describe a world."""
        return cls(**{name: getattr(info, name) for name in cls.model_fields})


class ProcessorResponse(BaseModel):
    """A processor that runs in a world."""

    name: str
    priority: int
    components: list[str]
    parameters: dict[str, Any]
    module: str
    is_loaded: bool = Field(description="Whether this server has its code.")


class StateResponse(BaseModel):
    """Who is in a world after a tick (-1 before the first), and with which components."""

    world_id: UUID
    tick: int
    entities: dict[str, list[str]] = Field(description="Component names by entity id.")
    archetype_counts: dict[str, int] = Field(description="Entities by archetype.")


class EntityResponse(BaseModel):
    """One entity after a tick."""

    world_id: UUID
    entity_id: int
    tick: int
    archetype: str
    components: dict[str, dict[str, Any]]


class ComponentRows(BaseModel):
    """Entities that have all of some components; each row holds entity_id, tick and a value by component."""

    world_id: UUID
    component_types: list[str] | None
    entity_ids: list[int] | None
    tick: int
    rows: list[dict[str, Any]]


class FieldType(BaseModel):
    """A field of a component, with its Arrow type."""

    name: str
    type: str
    nullable: bool


class ComponentType(BaseModel):
    """A component class that this server has loaded."""

    name: str
    module: str
    fields: list[FieldType]


class ProcessorType(BaseModel):
    """A processor class that this server has loaded."""

    name: str
    module: str
    priority: int
    components: list[str]
    parameters: dict[str, Any] = Field(
        description="Constructor parameters with their defaults; null where there is none."
    )


class ServerInfo(BaseModel):
    """What answers here."""

    name: str
    version: str


class StatusResponse(BaseModel):
    """How the server is."""

    status: str


class Problem(BaseModel):
    """Why a request was refused; the error's own facts stand beside these fields."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A URN with the code.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do about it.")
    code: str = Field(description="Stable; for programs.")
    errors: list[dict[str, str]] = Field(description="Each bad field: its `path` and a `message`.")
