"""Commands: what may be asked of a world, and the one table that says how each kind is treated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archetype.core.faults import field_faults, listed
from archetype.errors import FieldFault, PayloadError
from archetype.log import payloads, run_payloads
from archetype.log.canonical import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "QUEUED_TYPES",
    "RULES",
    "Command",
    "CommandRule",
    "CommandStatus",
    "CommandType",
    "check_payload",
    "parse_type_name",
]


class CommandType(StrEnum):
    """Everything that can be asked of a world."""

    SPAWN = "spawn"
    DESPAWN = "despawn"
    UPDATE = "update"
    ADD_COMPONENT = "add_component"
    REMOVE_COMPONENT = "remove_component"
    ADD_PROCESSOR = "add_processor"
    REMOVE_PROCESSOR = "remove_processor"
    REPLACE_PROCESSOR = "replace_processor"
    ADD_RESOURCE = "add_resource"
    REMOVE_RESOURCE = "remove_resource"
    MESSAGE = "message"
    CUSTOM = "custom"
    CREATE_WORLD = "create_world"
    FORK_WORLD = "fork_world"
    DESTROY_WORLD = "destroy_world"
    CONFIGURE_WORLD = "configure_world"
    THIN_WORLD = "thin_world"
    ADD_LABEL = "add_label"
    REMOVE_LABEL = "remove_label"
    STEP = "step"
    RUN = "run"
    RUN_EPISODE = "run_episode"
    RUN_ROLLOUT = "run_rollout"
    CANCEL_RUN = "cancel_run"


@dataclass(frozen=True, slots=True)
class CommandRule:
    """How one type is treated: the model of its payload, and whether it waits in the log for its tick.

    A type that is not queued acts at once through a call of its own; it is recorded all the same.
    """

    payload: type[BaseModel]
    queued: bool


RULES: Mapping[CommandType, CommandRule] = {
    CommandType.SPAWN: CommandRule(payloads.Spawn, queued=True),
    CommandType.DESPAWN: CommandRule(payloads.Despawn, queued=True),
    CommandType.UPDATE: CommandRule(payloads.Update, queued=True),
    CommandType.ADD_COMPONENT: CommandRule(payloads.AddComponent, queued=True),
    CommandType.REMOVE_COMPONENT: CommandRule(payloads.RemoveComponent, queued=True),
    CommandType.ADD_PROCESSOR: CommandRule(payloads.AddProcessor, queued=True),
    CommandType.REMOVE_PROCESSOR: CommandRule(payloads.RemoveProcessor, queued=True),
    CommandType.REPLACE_PROCESSOR: CommandRule(payloads.ReplaceProcessor, queued=True),
    CommandType.ADD_RESOURCE: CommandRule(payloads.AddResource, queued=True),
    CommandType.REMOVE_RESOURCE: CommandRule(payloads.RemoveResource, queued=True),
    CommandType.MESSAGE: CommandRule(payloads.Message, queued=True),
    CommandType.CUSTOM: CommandRule(payloads.Custom, queued=True),
    CommandType.CREATE_WORLD: CommandRule(payloads.CreateWorld, queued=False),
    CommandType.FORK_WORLD: CommandRule(payloads.ForkWorld, queued=False),
    CommandType.DESTROY_WORLD: CommandRule(payloads.DestroyWorld, queued=False),
    CommandType.CONFIGURE_WORLD: CommandRule(payloads.ConfigureWorld, queued=False),
    CommandType.THIN_WORLD: CommandRule(payloads.ThinWorld, queued=False),
    CommandType.ADD_LABEL: CommandRule(payloads.AddLabel, queued=False),
    CommandType.REMOVE_LABEL: CommandRule(payloads.RemoveLabel, queued=False),
    CommandType.STEP: CommandRule(run_payloads.Step, queued=False),
    CommandType.RUN: CommandRule(run_payloads.Run, queued=False),
    CommandType.RUN_EPISODE: CommandRule(run_payloads.RunEpisode, queued=False),
    CommandType.RUN_ROLLOUT: CommandRule(run_payloads.RunRollout, queued=False),
    CommandType.CANCEL_RUN: CommandRule(run_payloads.CancelRun, queued=False),
}

QUEUED_TYPES = tuple(kind.value for kind, rule in RULES.items() if rule.queued)
"""The types whose commands wait in the log for their tick."""


_TYPES: Mapping[str, CommandType] = {kind.value: kind for kind in CommandType}


class CommandStatus(StrEnum):
    """What became of an accepted command; one that acts at once is applied as soon as it is in the log."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"


_ASKED = ("id", "tick", "actor_id", "type", "payload", "priority", "version", "seq")
"""The fields of a command itself, beside what became of it."""


class Command(BaseModel):
    """One command as callers see it; `seq` is its version within its world, once it is accepted.

    A history says what became of it too: `applied_tick` is the tick it belongs to, `status` whether it waits
    for that tick, was applied or was rejected in it, and `reason` why. It is the same command whatever that
    was: two are equal, and sorted, by the rest.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    tick: int = 0
    actor_id: UUID | None = None
    type: CommandType = CommandType.CUSTOM
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = 0
    version: int = 1
    seq: int | None = None
    applied_tick: int | None = None
    status: CommandStatus | None = None
    reason: str | None = None

    def __eq__(self, other: object) -> bool:
        return self._asked == other._asked if isinstance(other, Command) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __lt__(self, other: Command) -> bool:
        """Order as commands are applied: by tick, then priority (the lower first), then seq."""
        return (self.tick, self.priority, self.seq or 0) < (other.tick, other.priority, other.seq or 0)

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """Give the Arrow schema of commands as rows, suitable for Parquet; ids and payloads are text."""
        import pyarrow as pa  # noqa: PLC0415  only those who ask for it pay for it

        nullable = ("actor_id", "seq")
        types = {"tick": pa.int64(), "priority": pa.int32(), "version": pa.int32(), "seq": pa.int64()}
        return pa.schema(
            [pa.field(name, types.get(name, pa.string()), nullable=name in nullable) for name in _ASKED]
        )

    def to_row(self) -> dict[str, Any]:
        """Give the command as a row of `arrow_schema`; its payload is canonical JSON."""
        row = self.model_dump(mode="json", include=set(_ASKED))
        return row | {"payload": canonical_json(self.payload)}

    @property
    def _asked(self) -> dict[str, Any]:
        return self.model_dump(include=set(_ASKED))


def parse_type_name(name: str) -> CommandType:
    """Return the command type of that name; an unknown one raises `PayloadError` with all that are known."""
    kind = _TYPES.get(name)
    if kind is None:
        msg = f"unknown command type {name!r}; known types: {', '.join(CommandType)}"
        raise PayloadError(msg, faults=[FieldFault("type", msg)])
    return kind


def check_payload(kind: CommandType, payload: Mapping[str, Any]) -> Any:
    """Return the payload as its type's model; what does not fit raises `PayloadError` naming each field."""
    try:
        return RULES[kind].payload.__pydantic_validator__.validate_python(payload)
    except ValidationError as error:
        faults = field_faults(error, "payload")
        msg = f"the payload does not fit {kind}: {listed(faults)}"
        raise PayloadError(msg, faults=faults) from None
