"""The shapes of the server's answers about pasts; fields that a newer server adds are there as well."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "ChangedValue",
    "CodeChange",
    "DiffSide",
    "DiffSummary",
    "DifferentValue",
    "DifferingCommand",
    "DifferingCommands",
    "Divergence",
    "EntityCommand",
    "EntityMoment",
    "FieldCount",
    "ListedEntity",
    "MergeBase",
    "MovedEntity",
    "ReplayReport",
    "TickEntry",
    "TreeNode",
    "WorldDiff",
]


class DiffSide(TypedDict):
    """One of two states that are compared: a world after a tick, -1 before its first."""

    world_id: str
    name: str
    tick: int
    state_hash: str
    entity_count: int


class DiffSummary(TypedDict):
    """How many entities were added, removed and moved, how many others changed, how many values differ."""

    added: int
    removed: int
    moved: int
    changed: int
    values: int


class FieldCount(TypedDict):
    """In how many entities a field differs."""

    component: str
    field: str
    count: int


class ListedEntity(TypedDict):
    """An entity that one of the states lacks."""

    entity_id: int
    archetype: str


class MovedEntity(TypedDict):
    """An entity that has other components in the other state."""

    entity_id: int
    archetype_a: str
    archetype_b: str


class ChangedValue(TypedDict):
    """A value that differs."""

    entity_id: int
    component: str
    field: str
    value_a: Any
    value_b: Any


class DifferingCommand(TypedDict):
    """A command that only one past has; `world_id` is the world in whose log it stands."""

    command_id: str
    world_id: str
    type: str
    tick: int
    due_tick: int
    priority: int
    version: int
    position: int
    actor_id: str | None
    recorded_at: str
    payload: dict[str, Any]
    has_batch: bool


class DifferingCommands(TypedDict):
    """The commands that only one past has: counted all, listed first by (tick, version)."""

    count: int
    count_by_type: dict[str, int]
    first: list[DifferingCommand]


class WorldDiff(TypedDict):
    """What leads from `a` to `b`; the counts are complete, a listing that is shorter than its count goes on.

    Added is what only `b` has, removed what only `a` has; `base_tick` is the last tick that both pasts share.
    """

    a: DiffSide
    b: DiffSide
    tolerance: float
    limit: int
    is_identical: bool
    base_tick: int | None
    commands_a: DifferingCommands
    commands_b: DifferingCommands
    summary: DiffSummary
    fields: list[FieldCount]
    added: list[ListedEntity]
    removed: list[ListedEntity]
    moved: list[MovedEntity]
    values: list[ChangedValue]


class MergeBase(TypedDict):
    """The last tick that two pasts share: the world that owns it, its commit, and the ticks since then."""

    world_id: str
    name: str
    tick: int
    commit_hash: str
    ticks_since_a: int
    ticks_since_b: int


class TreeNode(TypedDict):
    """A world in the tree of forks, `depth` forks away from its root; `labels` are its own."""

    world_id: str
    name: str
    parent_id: str | None
    fork_tick: int | None
    committed_tick: int
    is_archived: bool
    depth: int
    labels: dict[str, int]


class TickEntry(TypedDict):
    """A committed tick of a lineage; `world_id` is the world that owns it."""

    tick: int
    world_id: str
    world_name: str
    commit_hash: str
    parent_hash: str
    state_hash: str
    code_hash: str
    run_id: str
    entity_count: int
    command_count: int
    rejected_count: int
    committed_at: str
    compute_ms: float
    persist_ms: float
    has_snapshot: bool
    labels: list[str]


class EntityCommand(TypedDict):
    """A command that concerned an entity in a tick; `reason` says why it was rejected, if it was."""

    command_id: str
    position: int
    type: str
    payload: dict[str, Any]
    reason: str | None


class EntityMoment(TypedDict):
    """An entity after one tick; in that in which it ended `is_active` is false, its values are its last."""

    tick: int
    is_active: bool
    archetype: str
    components: dict[str, dict[str, Any]]
    commands: list[EntityCommand]


class CodeChange(TypedDict):
    """A processor whose code is not the recorded one, by fingerprints; `loaded` is None if none is."""

    processor: str
    recorded: str
    loaded: str | None


class DifferentValue(TypedDict):
    """One entity's value in the column that differs."""

    entity_id: int
    recorded: Any
    computed: Any


class Divergence(TypedDict):
    """The first tick that did not come out as recorded: what differs, and where if that is known."""

    tick: int
    recorded_hash: str
    computed_hash: str
    what: str
    archetype: str | None
    column: str | None
    values: list[DifferentValue]


class ReplayReport(TypedDict):
    """What a replay of the ticks `from_tick` <= t < `to_tick` found."""

    world_id: str
    from_tick: int
    to_tick: int
    ticks_compared: int
    ticks_skipped: int
    code_changes: list[CodeChange]
    divergence: Divergence | None
