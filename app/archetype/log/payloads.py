"""The payload of each command type. A class's docstring and fields are what the API documents."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

__all__ = [
    "MAX_ENTITY_ID",
    "AddComponent",
    "AddProcessor",
    "CreateWorld",
    "Custom",
    "Despawn",
    "DestroyWorld",
    "ForkWorld",
    "Message",
    "RemoveComponent",
    "RemoveProcessor",
    "Run",
    "Spawn",
    "Step",
    "Update",
    "is_world_name",
]

MAX_ENTITY_ID = 2**53 - 1
"""Entity ids stay exact in every JSON reader, ECMAScript's included."""

MAX_STEPS = 1_000_000

EntityId = Annotated[int, Field(ge=1, le=MAX_ENTITY_ID, strict=True)]
Tick = Annotated[int, Field(ge=-1, le=2**53 - 1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
_WORLD_NAME = r"[^\s@/\x00-\x1f][^@/\x00-\x1f]*"
_WORLD_NAME_CHARACTERS_MAX = 128
WorldName = Annotated[str, Field(max_length=_WORLD_NAME_CHARACTERS_MAX, pattern=f"^{_WORLD_NAME}$")]
"""A world's name; `@` and `/` are kept for references and routes, control characters for no one."""
ComponentValue = Annotated[dict[str, Any], Field(description='{"type": "Position", "x": 1.0, …}')]


def is_world_name(text: str) -> bool:
    """Tell whether a world may have this name."""
    return len(text) <= _WORLD_NAME_CHARACTERS_MAX and re.fullmatch(_WORLD_NAME, text) is not None


class Payload(BaseModel):
    """The base of payloads: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Spawn(Payload):
    """Make an entity of these components; its id is assigned at acceptance unless one is given."""

    components: list[ComponentValue] = []
    entity_id: EntityId | None = None


class Despawn(Payload):
    """End an entity."""

    entity_id: EntityId


class Update(Payload):
    """Set the named fields of components that the entity has."""

    entity_id: EntityId
    components: Annotated[list[ComponentValue], Field(min_length=1)]


class AddComponent(Update):
    """Give the entity these components; one that it has already gets the given values."""


class RemoveComponent(Payload):
    """Take these components, by type name, from the entity."""

    entity_id: EntityId
    component_types: Annotated[list[str], Field(min_length=1)]


class AddProcessor(Payload):
    """Let a loaded processor run in this world from the command's tick on."""

    processor: Annotated[
        str, Field(min_length=1, validation_alias=AliasChoices("processor", "processor_type"))
    ]
    parameters: dict[str, Any] = {}
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None


class RemoveProcessor(Payload):
    """Stop every processor of that name from the command's tick on."""

    processor: Annotated[
        str, Field(min_length=1, validation_alias=AliasChoices("processor", "processor_type"))
    ]


class Message(Payload):
    """A message between entities; it is kept in the log and changes no state by itself."""

    sender_id: EntityId | None = None
    receiver_id: EntityId | None = None
    channel: str | None = None
    content: Any


class Custom(BaseModel):
    """Anything an application wants in the log; it changes no state by itself."""

    model_config = ConfigDict(extra="allow")


class CreateWorld(Payload):
    """Make a world."""

    name: WorldName
    seed: Seed
    config: dict[str, Any] = {}


class ForkWorld(Payload):
    """Make a world that shares another's past up to and including `tick`."""

    name: WorldName
    parent_id: UUID
    tick: Tick
    seed: Seed


class DestroyWorld(Payload):
    """Archive a world: its past stays readable, its name becomes free."""

    reason: Annotated[str, Field(max_length=1000)] | None = None


class Step(Payload):
    """Run one tick; `inputs` reach every processor that names them, `metadata` is for readers of the log."""

    inputs: dict[str, Any] = {}
    debug: bool = False
    metadata: dict[str, Any] = {}


class Run(Step):
    """Run ticks one after the other."""

    num_steps: Annotated[int, Field(ge=0, le=MAX_STEPS, strict=True)] = 1
