"""The shapes of the server's answers; fields that a newer server adds are simply there as well."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "BulkReceipt",
    "CommandEntry",
    "ComponentRange",
    "ComponentRows",
    "ComponentType",
    "Counts",
    "EntityState",
    "Event",
    "HistoryEntry",
    "Label",
    "Message",
    "Pending",
    "ProcessorType",
    "Receipt",
    "Resource",
    "State",
    "StateRange",
    "World",
    "WorldProcessor",
]


class World(TypedDict):
    """A world; `tick` is the number of the next tick to run, `snapshots` says when its states are stored.

    `scheduler` says how its processors run; None is one after the other, by priority.
    """

    world_id: str
    name: str
    tick: int
    entity_count: int
    parent_id: str | None
    fork_tick: int | None
    version: int
    seed: int
    created_at: str
    snapshots: int | str
    scheduler: dict[str, Any] | None


class Label(TypedDict):
    """A name for a tick; `world_id` is the world it is of, which may be an ancestor."""

    name: str
    tick: int
    world_id: str


class Receipt(TypedDict):
    """Where an accepted command stands; `due_tick` was asked for, `tick` is the one it belongs to."""

    id: str
    type: str
    tick: int
    due_tick: int
    priority: int
    version: int
    position: int
    entity_id: int | None
    is_duplicate: bool


class BulkReceipt(TypedDict):
    """Where a bulk command stands; the rows' ids follow each other from `first_entity_id` on."""

    id: str
    first_entity_id: int | None
    entity_count: int
    tick: int
    version: int
    position: int


class CommandEntry(TypedDict):
    """A command of the log in short; `status` is pending, applied or rejected, `version` the world's."""

    id: str
    type: str
    tick: int
    priority: int
    version: int
    position: int
    applied_tick: int
    status: str
    reason: str | None


class HistoryEntry(TypedDict):
    """A command of the log, whole; `seq` is the version with it of the world in whose log it stands.

    `status` is pending, applied or rejected, `reason` why it was rejected.
    """

    id: str
    tick: int
    actor_id: str | None
    type: str
    payload: dict[str, Any]
    priority: int
    version: int
    seq: int
    position: int
    applied_tick: int
    entity_id: int | None
    world_id: str
    status: str
    reason: str | None


class Message(TypedDict):
    """A message of the log; `tick` is the one whose processors get it, `reason` why it reached nobody."""

    command_id: str
    sender_id: int | None
    receiver_id: int | None
    channel: str | None
    content: Any
    tick: int
    position: int
    world_id: str
    actor_id: str | None
    status: str
    reason: str | None


class Event(TypedDict):
    """A row of the log: a command that was accepted, or a fact that the engine recorded; `kind` says which.

    `command_id` is the command's, or that of the command which caused a fact, if one did.
    """

    position: int
    world_id: str
    version: int
    kind: str
    type: str
    tick: int
    command_id: str | None
    actor_id: str | None
    payload: dict[str, Any]
    batch_size_bytes: int | None
    recorded_at: str


class Pending(TypedDict):
    """How many commands wait for a tick that is not committed yet."""

    world_id: str
    pending_count: int


class ProcessorType(TypedDict):
    """A processor that the server has loaded, with its parameters and their defaults.

    `kind` is frame or system; `reads` and `writes` are None where it declares none, and `retry_policy` is
    where the scheduler's holds.
    """

    name: str
    priority: int
    components: list[str]
    kind: str
    reads: list[str] | None
    writes: list[str] | None
    depends_on: list[str]
    every: int
    offset: int
    runs_alone: bool
    has_condition: bool
    retry_policy: dict[str, Any] | None
    module: str
    parameters: dict[str, Any]


class WorldProcessor(ProcessorType):
    """A processor that runs in a world, with its own parameters.

    `is_loaded` says whether the server has code for it, `is_current` whether that is the recorded code.
    """

    is_loaded: bool
    is_current: bool


class Resource(TypedDict):
    """A recorded resource; `is_loaded` says whether the server has its class."""

    name: str
    module: str
    value: Any
    is_loaded: bool


class State(TypedDict):
    """A world after a tick: each entity's component names, and how many entities each archetype has."""

    world_id: str
    tick: int
    entities: dict[str, list[str]]
    archetype_counts: dict[str, int]


class StateRange(TypedDict):
    """A world after each tick `from_tick` <= t < `to_tick`."""

    world_id: str
    from_tick: int
    to_tick: int
    states: list[State]


class Counts(TypedDict):
    """How many entities are active after a tick, in all and by archetype."""

    tick: int
    entity_count: int
    archetype_counts: dict[str, int]


class EntityState(TypedDict):
    """One entity after a tick."""

    world_id: str
    entity_id: int
    tick: int
    archetype: str
    components: dict[str, dict[str, Any]]


class ComponentRows(TypedDict):
    """The entities that have all of some components, one row each: entity_id, tick, and each component."""

    world_id: str
    component_types: list[str] | None
    entity_ids: list[int] | None
    tick: int
    rows: list[dict[str, Any]]


class ComponentRange(TypedDict):
    """The rows of `ComponentRows` after each tick `from_tick` <= t < `to_tick`, by tick and entity id."""

    world_id: str
    component_types: list[str] | None
    entity_ids: list[int] | None
    from_tick: int
    to_tick: int
    rows: list[dict[str, Any]]


class ComponentType(TypedDict):
    """A component that the server has loaded; a field is a dictionary of name, type and nullable."""

    name: str
    module: str
    fields: list[dict[str, Any]]
