"""The payloads of commands that change worlds. A class's docstring and fields are what the API documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from archetype.core.scheduling.settings import SchedulerSettings
from archetype.limits import PRIORITY_MAX, PRIORITY_MIN, TICK_MAX
from archetype.log.payload_fields import (
    Channel,
    CodeName,
    ComponentValue,
    EntityId,
    Flag,
    GivenEntityId,
    LabelName,
    Payload,
    Reason,
    Seed,
    Snapshots,
    Tick,
    WorldName,
)

__all__ = [
    "AddComponent",
    "AddLabel",
    "AddProcessor",
    "AddResource",
    "ConfigureWorld",
    "CreateWorld",
    "Custom",
    "Despawn",
    "DestroyWorld",
    "ForkWorld",
    "Message",
    "RemoveComponent",
    "RemoveLabel",
    "RemoveProcessor",
    "RemoveResource",
    "ReplaceProcessor",
    "Spawn",
    "ThinWorld",
    "Update",
    "WorldSettings",
    "changed_settings",
    "spelled_settings",
]


class Spawn(Payload):
    """Make an entity of these components; its id is assigned at acceptance unless one is given."""

    components: list[ComponentValue] = Field(default=[])
    entity_id: GivenEntityId | None = None


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
    component_types: Annotated[list[CodeName], Field(min_length=1)]


class AddProcessor(Payload):
    """Let a loaded processor run in this world from the command's tick on."""

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]
    parameters: dict[str, Any] = Field(default={})
    priority: Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX, strict=True)] | None = None


class RemoveProcessor(Payload):
    """Stop every processor of that name from the command's tick on."""

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]


class ReplaceProcessor(Payload):
    """Let this process's code of a processor run from the command's tick on, in place of the recorded one.

    Parameters and priority stay as they are recorded unless they are given.
    """

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]
    parameters: dict[str, Any] | None = None
    priority: Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX, strict=True)] | None = None


class AddResource(Payload):
    """Let the processors have this Pydantic model from the command's tick on, in place of one of its class.

    The class is named by `Name` or `module.Name`; defaults are filled in at acceptance.
    """

    resource: CodeName
    value: Any = Field(default={})


class RemoveResource(Payload):
    """Take the recorded resources of that name away from the command's tick on."""

    resource: CodeName


class Message(Payload):
    """A message that reaches the processors of its tick; it stays in the log and changes no state by itself.

    Without a receiver it is for everybody. A receiver that is not active once the tick's commands are applied
    makes it rejected; the sender is not looked up.
    """

    sender_id: EntityId | None = None
    receiver_id: EntityId | None = None
    channel: Channel | None = None
    content: Any


class Custom(BaseModel):
    """Anything an application wants in the log; it changes no state by itself."""

    model_config = ConfigDict(extra="allow")


class WorldSettings(Payload):
    """How a world is kept and run; a fork has its parent's settings.

    Without a scheduler processors run one after the other, by priority and then in order of registration.
    """

    snapshots: Snapshots = 1
    scheduler: SchedulerSettings | None = None


def spelled_settings(settings: WorldSettings) -> dict[str, Any]:
    """Spell settings as a world's config: what is as by default is left out."""
    spelled = settings.model_dump(mode="json", exclude={"scheduler"}, exclude_defaults=True)
    if settings.scheduler is not None:
        spelled["scheduler"] = settings.scheduler.model_dump(mode="json", exclude_defaults=True)
    return spelled


def changed_settings(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Give a world's config with the settings that a change names; both are as in the log."""
    return spelled_settings(WorldSettings.model_validate({**config, **change}))


class CreateWorld(Payload):
    """Make a world."""

    name: WorldName
    seed: Seed
    config: WorldSettings = WorldSettings()


class ForkWorld(Payload):
    """Make a world that shares another's past up to and including `tick`."""

    name: WorldName
    parent_id: UUID
    tick: Tick
    seed: Seed
    config: WorldSettings = WorldSettings()
    include_pending: Flag = False


class DestroyWorld(Payload):
    """Archive a world: its past stays readable, its name becomes free."""

    reason: Reason | None = None


class ConfigureWorld(Payload):
    """Change how a world is kept or run from its next run on; settings that are not named stay."""

    config: WorldSettings

    @field_validator("config")
    @classmethod
    def _names_something(cls, config: WorldSettings) -> WorldSettings:
        if not config.model_fields_set:
            msg = "names no setting to change; give snapshots, scheduler or both"
            raise PydanticCustomError("nothing_to_change", msg)
        return config


class ThinWorld(Payload):
    """Drop snapshots that a replay can rebuild; `ticks_dropped` says of how many ticks."""

    ticks_dropped: Annotated[int, Field(ge=0, strict=True)]
    keep_every: Annotated[int, Field(ge=1, strict=True)] | None = None
    keep: Literal["log-spaced"] | None = None
    reason: Reason | None = None


class AddLabel(Payload):
    """Name a committed tick."""

    name: LabelName
    tick: Annotated[int, Field(ge=0, le=TICK_MAX, strict=True)]


class RemoveLabel(Payload):
    """Take a tick's name away; the name is free again."""

    name: LabelName
