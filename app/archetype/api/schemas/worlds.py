"""Worlds: bodies and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from archetype.api.schemas.bodies import Body, json_body
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.limits import FORKS_MAX
from archetype.log.payload_fields import Flag, Integer, Seed, Snapshots, WorldName
from archetype.service.world_info import WorldInfo

__all__ = ["ForkBody", "ForkCreate", "WorldBody", "WorldChangeBody", "WorldResponse"]

_SNAPSHOTS = (
    "When states are stored: after every N-th tick (1: after each), or `needed`: only where they could not "
    "be computed again."
)

_SCHEDULER = (
    "Which processors run together, how many at once, what is tried again, and what becomes of conflicts; "
    "null: one after the other, by priority."
)


class WorldCreate(Body):
    """A new world; all fields may be left out."""

    name: WorldName | None = Field(
        default=None, description="Unique among live worlds; without one the world is named by its id."
    )
    seed: Seed | None = Field(default=None, description="Keys every random number of the world's processors.")
    world_id: UUID | None = Field(
        default=None, description="With the same id again the answer is the first one."
    )
    snapshots: Snapshots | None = Field(default=None, description=_SNAPSHOTS)
    scheduler: SchedulerSettings | None = Field(default=None, description=_SCHEDULER)
    storage_uri: str | None = Field(default=None, description="Accepted for old callers; has no effect.")
    namespace: str | None = Field(default=None, description="Accepted for old callers; has no effect.")


_DEMO = {
    "name": "demo",
    "seed": 7,
    "snapshots": 10,
    "scheduler": {"group_builder": "dependency", "max_concurrent": 8, "retry_policy": {"max_attempts": 3}},
}

WorldBody = Annotated[WorldCreate, json_body(_DEMO)]


class WorldChange(Body):
    """Other settings of a world, from its next run on; what is left out stays."""

    snapshots: Snapshots = Field(default=1, description=_SNAPSHOTS)
    scheduler: SchedulerSettings | None = Field(default=None, description=_SCHEDULER)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            msg = "names no setting to change; give snapshots, scheduler or both"
            raise PydanticCustomError("nothing_to_change", msg)
        return self


WorldChangeBody = Annotated[
    WorldChange, json_body({"snapshots": "needed", "scheduler": {"conflicts": "error"}})
]


class ForkCreate(Body):
    """A fork of a world, or several at once."""

    name: WorldName | None = Field(
        default=None, description="By default the parent's name and eight random digits."
    )
    tick: Integer | None = Field(
        default=None,
        ge=-1,
        description="The last tick to share, by default the last one committed; -1 shares none.",
    )
    seed: Seed | None = Field(
        default=None,
        description="Gives other random numbers from the fork on; of several forks each has the next seed.",
    )
    include_pending: Flag = Field(
        default=False, description="Take the commands along that wait in the parent after that tick."
    )
    count: Integer | None = Field(
        default=None,
        ge=1,
        le=FORKS_MAX,
        description="So many forks, `name-1`, `name-2`, …: all are made or none, and the answer is a list.",
    )


ForkBody = Annotated[ForkCreate | None, json_body({"name": "what-if", "tick": 2})]


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
    snapshots: Snapshots = Field(description=_SNAPSHOTS)
    scheduler: SchedulerSettings | None = Field(description=_SCHEDULER)

    @classmethod
    def of(cls, info: WorldInfo) -> WorldResponse:
        """Describe a world."""
        return cls(**{name: getattr(info, name) for name in cls.model_fields})
