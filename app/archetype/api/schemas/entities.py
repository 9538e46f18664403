"""Entities: bodies and answers."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.log.payload_fields import ComponentValue, Integer

__all__ = ["BulkReceipt", "ComponentsBody", "EntityMomentResponse", "EntityResponse", "SpawnBody"]


class ComponentsChange(Body):
    """Component values for an entity; an update may name only some fields of each."""

    components: list[ComponentValue]
    tick: Integer = Field(default=0, description="The earliest tick to be applied in.")
    priority: Integer = Field(default=0, description="Within a tick, lower is applied first.")


class SpawnRequest(ComponentsChange):
    """A new entity."""

    components: list[ComponentValue] = Field(default=[], description="Its components.")
    entity_id: Integer | None = Field(default=None, description="By default the next free one.")


_POSITION = {"components": [{"type": "Position", "x": 1.0, "y": 2.0}]}

SpawnBody = Annotated[SpawnRequest, json_body(_POSITION)]
ComponentsBody = Annotated[ComponentsChange, json_body(_POSITION)]


class BulkReceipt(BaseModel):
    """Where an accepted bulk command stands; the ids of spawned rows follow each other."""

    id: UUID
    first_entity_id: int | None = Field(description="The id of the first spawned row; null for an update.")
    entity_count: int = Field(description="How many entities were spawned; 0 for an update.")
    tick: int
    version: int
    position: int


class EntityResponse(BaseModel):
    """One entity after a tick."""

    world_id: UUID
    entity_id: int
    tick: int
    archetype: str
    components: dict[str, dict[str, Any]]


class EntityCommandResponse(BaseModel):
    """A command that concerned an entity in a tick."""

    command_id: UUID
    position: int
    type: str
    payload: dict[str, Any]
    reason: str | None = Field(description="Why it was rejected, if it was.")


class EntityMomentResponse(BaseModel):
    """One entity after one tick."""

    tick: int
    is_active: bool = Field(description="False in the tick in which it ended; its values are its last.")
    archetype: str
    components: dict[str, dict[str, Any]]
    commands: list[EntityCommandResponse]
