"""The shapes of the server's answers about scheduling; fields that a newer server adds are there as well."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "Attempt",
    "Conflict",
    "Execution",
    "Overlap",
    "PlannedGroup",
    "PlannedProcessor",
    "SpawnedIds",
    "TickExecutions",
    "WorldPlan",
]


class PlannedProcessor(TypedDict):
    """A processor in a plan; `reads` and `writes` are None where it may touch everything."""

    index: int
    name: str
    kind: str
    priority: int
    components: list[str]
    reads: list[str] | None
    writes: list[str] | None
    depends_on: list[str]
    every: int
    offset: int
    has_condition: bool
    retry_policy: dict[str, Any]


class Overlap(TypedDict):
    """A component that two processors of a group both declare to write.

    `resolution` is "last" or "combine" for the whole component, else the operation of each field.
    """

    component: str
    processors: list[str]
    resolution: str | dict[str, str]


class PlannedGroup(TypedDict):
    """Processors that run together, in order of registration."""

    number: int
    processors: list[PlannedProcessor]
    overlaps: list[Overlap]


class WorldPlan(TypedDict):
    """The plan of a world's next tick; `not_due` are the processors that it leaves out."""

    world_id: str
    tick: int
    scheduler: dict[str, Any]
    groups: list[PlannedGroup]
    not_due: list[str]


class Attempt(TypedDict):
    """One try of a processor that failed."""

    ms: float
    error: str


class Execution(TypedDict):
    """One processor in one tick; `status` is done, skipped or condition_false.

    `cells` and `ms` are None where the figures of the next processor hold for both.
    """

    group: int
    index: int
    processor: str
    status: str
    archetypes: int
    rows: int
    cells: int | None
    ms: float | None
    attempts: int
    spawned: int
    ended: int
    dropped: int
    failures: list[Attempt]


class Conflict(TypedDict):
    """Cells that several processors of one group wrote; `field` is None for all of the component's.

    `resolution` is the operation that combined them, "combine" for the component's own, or "last" where the
    last registered writer won; `entity_ids` are the first of `entity_count`.
    """

    group: int
    component: str
    field: str | None
    writers: list[str]
    resolution: str
    winners: list[str]
    entity_count: int
    entity_ids: list[int]


class SpawnedIds(TypedDict):
    """Ids that the spawns of a group were given; they follow each other."""

    first_entity_id: int
    entity_count: int


class TickExecutions(TypedDict):
    """What ran in one tick: executions by group and then in order of registration, conflicts, and spawns."""

    tick: int
    run_id: str
    compute_ms: float
    executions: list[Execution]
    conflicts: list[Conflict]
    spawned: list[SpawnedIds]
