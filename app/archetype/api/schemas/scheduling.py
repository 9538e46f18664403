"""What processors declare, the plan of a tick, and what ran in ticks: answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.service.executions import TickExecutions

__all__ = ["DeclaredProcessor", "PlanResponse", "TickExecutionsResponse", "declared_fields"]

Kind = Literal["frame", "system"]

_KIND = "`frame`: it works on frames, archetype by archetype; `system`: on objects."


class DeclaredProcessor(BaseModel):
    """A processor, and what its code declares: what it may touch, and when it runs.

    With neither `reads` nor `writes` it may touch everything, with `reads` alone it writes nothing, and what
    it writes it may read; `Component` stands for every component.
    """

    name: str
    priority: int
    components: list[str]
    kind: Kind = Field(default="frame", description=_KIND)
    reads: list[str] | None = Field(default=None, description="Null where none are declared.")
    writes: list[str] | None = Field(default=None, description="Null where none are declared.")
    depends_on: list[str] = Field(default=[], description="Processors that have to run before it.")
    every: int = Field(default=1, description="It is due in ticks t with t % every == offset.")
    offset: int = 0
    runs_alone: bool = Field(default=False, description="Whether it shares no group.")
    has_condition: bool = Field(default=False, description="Whether it runs only where a condition holds.")
    retry_policy: RetryPolicy | None = Field(default=None, description="Null: the scheduler's.")


def declared_fields(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Spell declarations as they are recorded by the fields of `DeclaredProcessor`."""
    return {"has_condition" if name == "condition" else name: value for name, value in declared.items()}


class PlannedProcessorResponse(BaseModel):
    """A processor in a plan."""

    index: int = Field(description="Its place in registration.")
    name: str = Field(description="With a number where others before it have the same.")
    kind: Kind = Field(description=_KIND)
    priority: int
    components: list[str]
    reads: list[str] | None = Field(description="What it may read; null: everything.")
    writes: list[str] | None = Field(description="What it may write; null: everything.")
    depends_on: list[str]
    every: int
    offset: int
    has_condition: bool
    retry_policy: RetryPolicy = Field(description="Its own, or the scheduler's.")


class OverlapResponse(BaseModel):
    """A component that two processors of a group both declare to write."""

    component: str
    processors: tuple[str, str]
    resolution: str | dict[str, str] = Field(
        description="`last`: the last registered writer wins; `combine`: the component does; else the "
        "operation of each field."
    )


class GroupResponse(BaseModel):
    """Processors that run together on one state; their writes apply in this order, whoever ends first."""

    number: int
    processors: list[PlannedProcessorResponse]
    overlaps: list[OverlapResponse]


class PlanResponse(BaseModel):
    """The plan of a world's next tick, made on its last committed state."""

    world_id: UUID
    tick: int
    scheduler: SchedulerSettings
    groups: list[GroupResponse] = Field(description="In the order in which they run.")
    not_due: list[str] = Field(description="The processors that the tick leaves out.")


class AttemptResponse(BaseModel):
    """One try of a processor that failed."""

    ms: float
    error: str


class ExecutionResponse(BaseModel):
    """One processor in one tick: what it ran on, what it wrote, and how it went."""

    group: int
    index: int = Field(description="Its place in registration.")
    processor: str
    status: Literal["done", "skipped", "condition_false"]
    archetypes: int = Field(description="How many it was given.")
    rows: int = Field(description="How many it was given, over all archetypes.")
    cells: int | None = Field(
        description="How many it wrote; null where the next processor's figures hold for both."
    )
    ms: float | None = Field(description="How long its last attempt took; null as with `cells`.")
    attempts: int
    spawned: int = 0
    ended: int = 0
    dropped: int = Field(default=0, description="Writes to entities that had ended.")
    failures: list[AttemptResponse] = Field(default=[], description="The attempts that failed.")


class ConflictResponse(BaseModel):
    """Cells that several processors of one group wrote."""

    group: int
    component: str
    field: str | None = Field(description="Null for all fields of the component.")
    writers: list[str] = Field(description="In order of registration.")
    resolution: str = Field(
        description="The operation that combined them, `combine` for the component's own, or `last`: the "
        "last registered writer won."
    )
    winners: list[str] = Field(description="Those whose value stands.")
    entity_count: int
    entity_ids: list[int] = Field(description="The first of them.")


class SpawnedResponse(BaseModel):
    """Ids that the spawns of a group were given; they follow each other."""

    first_entity_id: int
    entity_count: int


class TickExecutionsResponse(BaseModel):
    """What ran in one tick."""

    tick: int
    run_id: UUID
    compute_ms: float
    executions: list[ExecutionResponse] = Field(description="By group, then in order of registration.")
    conflicts: list[ConflictResponse]
    spawned: list[SpawnedResponse]

    @classmethod
    def of(cls, recorded: TickExecutions) -> Self:
        """Describe what a tick recorded."""
        return cls(
            tick=recorded.tick,
            run_id=recorded.run_id,
            compute_ms=recorded.compute_ms,
            executions=[ExecutionResponse(**each) for each in recorded.executions],
            conflicts=[ConflictResponse(**each) for each in recorded.conflicts],
            spawned=[
                SpawnedResponse(first_entity_id=first, entity_count=count)
                for first, count in recorded.spawned
            ],
        )
