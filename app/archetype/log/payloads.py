"""The payload of each command type. A class's docstring and fields are what the API documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.limits import (
    CHANNEL_CHARACTERS_MAX,
    CODE_NAME_CHARACTERS_MAX,
    ENTITY_ID_MAX,
    EPISODES_AT_ONCE_MAX,
    FORKS_MAX,
    NAME_CHARACTERS_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    REASON_CHARACTERS_MAX,
    RUN_TICKS_MAX,
    SEED_MAX,
    SNAPSHOT_TICKS_MAX,
    TICK_MAX,
)

__all__ = [
    "AddComponent",
    "AddLabel",
    "AddProcessor",
    "AddResource",
    "CancelRun",
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
    "Run",
    "RunEpisode",
    "RunRollout",
    "Snapshots",
    "Spawn",
    "Step",
    "ThinWorld",
    "Update",
    "WorldSettings",
    "changed_settings",
    "is_label_name",
    "is_world_name",
    "spelled_settings",
]

EntityId = Annotated[int, Field(ge=1, le=ENTITY_ID_MAX, strict=True)]
Tick = Annotated[int, Field(ge=-1, le=TICK_MAX, strict=True)]
Seed = Annotated[int, Field(ge=0, le=SEED_MAX, strict=True)]
_WORLD_NAME = r"[^\s@/\x00-\x1f][^@/\x00-\x1f]*"
WorldName = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX, pattern=f"^{_WORLD_NAME}$")]
"""A world's name; `@` and `/` are kept for references and routes, control characters for no one."""
_LABEL_NAME = r"[^\W\d][\w.\-]*"
LabelName = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX, pattern=f"^{_LABEL_NAME}$")]
"""A label's name begins with a letter or `_`, so that no tick number can be taken for one."""
CodeName = Annotated[str, Field(min_length=1, max_length=CODE_NAME_CHARACTERS_MAX)]
Channel = Annotated[str, Field(max_length=CHANNEL_CHARACTERS_MAX)]
Reason = Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)]


def _one_fault(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    """Refuse what is neither a number of ticks nor a word with one fault, not one for each of the two."""
    try:
        return inner(value)
    except ValidationError:
        msg = "must be a number of ticks from 1 to {most}, or 'needed'"
        raise PydanticCustomError("snapshots", msg, {"most": SNAPSHOT_TICKS_MAX}) from None


Snapshots = Annotated[
    Annotated[int, Field(ge=1, le=SNAPSHOT_TICKS_MAX, strict=True)] | Literal["needed"],
    WrapValidator(_one_fault),
]
"""When a world's state is stored: after every N-th tick (1: after each), or only where it must be."""
ComponentValue = Annotated[dict[str, Any], Field(description='{"type": "Position", "x": 1.0, …}')]


def is_world_name(text: str) -> bool:
    """Tell whether a world may have this name."""
    return len(text) <= NAME_CHARACTERS_MAX and re.fullmatch(_WORLD_NAME, text) is not None


def is_label_name(text: str) -> bool:
    """Tell whether a tick may be labelled so."""
    return len(text) <= NAME_CHARACTERS_MAX and re.fullmatch(_LABEL_NAME, text) is not None


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
    component_types: Annotated[list[CodeName], Field(min_length=1)]


class AddProcessor(Payload):
    """Let a loaded processor run in this world from the command's tick on."""

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]
    parameters: dict[str, Any] = {}
    priority: Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX)] | None = None


class RemoveProcessor(Payload):
    """Stop every processor of that name from the command's tick on."""

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]


class ReplaceProcessor(Payload):
    """Let this process's code of a processor run from the command's tick on, in place of the recorded one.

    Parameters and priority stay as they are recorded unless they are given.
    """

    processor: Annotated[CodeName, Field(validation_alias=AliasChoices("processor", "processor_type"))]
    parameters: dict[str, Any] | None = None
    priority: Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX)] | None = None


class AddResource(Payload):
    """Let the processors have this Pydantic model from the command's tick on, in place of one of its class.

    The class is named by `Name` or `module.Name`; defaults are filled in at acceptance.
    """

    resource: CodeName
    value: Any = {}


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
    include_pending: bool = False


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


class Step(Payload):
    """Run one tick; `inputs` reach every processor that names them, `metadata` is for readers of the log."""

    inputs: dict[str, Any] = {}
    debug: bool = False
    metadata: dict[str, Any] = {}


class Run(Step):
    """Run ticks one after the other."""

    num_steps: Annotated[int, Field(ge=0, le=RUN_TICKS_MAX, strict=True)] = 1


class RunEpisode(Step):
    """Run ticks until an entity has the component `terminal`, the condition holds, or there were so many.

    Both are asked after each tick, and before the first: an episode that begins where it is over takes none.
    """

    max_steps: Annotated[int, Field(ge=1, le=RUN_TICKS_MAX, strict=True)]
    terminal: CodeName | None = None
    condition: Condition | None = None
    returns: Return | None = None

    @property
    def rules(self) -> EpisodeRules:
        """When the episode is over, and what it returns."""
        return EpisodeRules(self.terminal, self.condition, self.returns)


class RunRollout(RunEpisode):
    """Run an episode in each of so many forks of a committed tick, by default of the last one.

    Each has a seed of its own: those given as `seeds`, or derived from `seed`, by default the world's. The
    forks are removed when their episodes are over, unless they are to be kept.
    """

    episodes: Annotated[int, Field(ge=1, le=FORKS_MAX, strict=True)]
    tick: Tick | None = None
    seed: Seed | None = None
    seeds: list[Seed] | None = None
    parallel: Annotated[int, Field(ge=1, le=EPISODES_AT_ONCE_MAX, strict=True)] = 4
    keep: bool = False
    snapshots: Snapshots = "needed"
    include_pending: bool = False

    @model_validator(mode="after")
    def _has_a_seed_for_each(self) -> Self:
        if self.seeds is not None and self.seed is not None:
            msg = "give a seed to derive those of the episodes from, or seeds for each, not both"
            raise PydanticCustomError("seeds", msg)
        if self.seeds is not None and len(self.seeds) != self.episodes:
            msg = "seeds must be as many as episodes"
            raise PydanticCustomError("seeds", msg)
        return self


class CancelRun(Payload):
    """Let a run end behind the tick that is being computed; one that nobody computes ends at once.

    Of a rollout, the episodes under way end so, and no more begin.
    """

    run_id: UUID
    reason: Reason | None = None
