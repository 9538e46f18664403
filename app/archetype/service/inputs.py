"""The inputs of a tick: its commands as changes to entities and to the program, and as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archetype.core.bulk import decode_batch
from archetype.core.changes import (
    AddComponents,
    Change,
    Despawn,
    Rejection,
    RemoveComponents,
    Spawn,
    SpawnBatch,
    Update,
    UpdateBatch,
)
from archetype.core.messages import NO_MESSAGES, Message, Messages
from archetype.errors import CorruptionError, InvalidInputError
from archetype.log.command import RULES, CommandType
from archetype.service.program import ProcessorRecord, Program, Replacement
from archetype.service.resource_records import ResourceRecord
from archetype.store.log import LogRow, checked

__all__ = ["TickInputs", "read_inputs"]


_PROGRAM = frozenset(
    {
        CommandType.ADD_PROCESSOR,
        CommandType.REMOVE_PROCESSOR,
        CommandType.REPLACE_PROCESSOR,
        CommandType.ADD_RESOURCE,
        CommandType.REMOVE_RESOURCE,
    }
)
"""The types that concern the program."""


@dataclass(frozen=True)
class TickInputs:
    """What a tick starts from, in the order of application.

    `queued_count` counts the commands that wait for a tick; a step, say, only asks for one.
    """

    commands: Sequence[LogRow]
    changes: Sequence[Change]
    program: Program
    rejections: Sequence[Rejection]
    queued_count: int
    messages: Messages = NO_MESSAGES

    @classmethod
    def none(cls, program: Program) -> TickInputs:
        """Return the inputs of a tick without commands."""
        return cls((), (), program, (), 0)


def read_inputs(rows: Sequence[LogRow], program: Program) -> TickInputs:
    """Check a tick's commands, turn them into changes, and fold those that concern the program into it."""
    changes: list[Change] = []
    rejections: list[Rejection] = []
    messages: list[Message] = []
    queued_count = 0
    for row in checked(rows):
        kind = CommandType(row.event.type)
        queued_count += RULES[kind].queued
        if kind in _PROGRAM:
            folded = _folded(kind, row, program)
            if isinstance(folded, Rejection):
                rejections.append(folded)
            else:
                program = folded
        elif kind is CommandType.MESSAGE:
            messages.append(_message(row))
        elif (change := _change(kind, row)) is not None:
            changes.append(change)
    return TickInputs(rows, changes, program, rejections, queued_count, Messages(tuple(messages)))


def _folded(kind: CommandType, row: LogRow, program: Program) -> Program | Rejection:
    """Return a program with a command that concerns it applied."""
    version, payload = row.event.version, row.payload
    match kind:
        case CommandType.ADD_PROCESSOR:
            return program.add(ProcessorRecord.from_json(payload))
        case CommandType.REMOVE_PROCESSOR:
            name = payload["processor"]
            reason = f"no processor named {name!r} runs in this world"
            return program.remove(name) or Rejection(version, "processor_not_found", reason)
        case CommandType.ADD_RESOURCE:
            return program.add_resource(ResourceRecord.from_json(payload))
        case CommandType.REMOVE_RESOURCE:
            name = payload["resource"]
            reason = f"no resource named {name!r} is recorded in this world"
            return program.remove_resource(name) or Rejection(version, "resource_not_found", reason)
        case _:
            try:
                return program.replace(Replacement.from_json(payload))
            except InvalidInputError as error:
                return Rejection(version, "processor_not_replaced", error.message)


def _change(kind: CommandType, row: LogRow) -> Change | None:
    event = row.event
    payload: Mapping[str, Any] = json.loads(event.payload)
    match kind:
        case CommandType.SPAWN if event.batch is not None:
            return SpawnBatch(event.version, _assigned(row), decode_batch(event.batch))
        case CommandType.SPAWN:
            return Spawn(event.version, _assigned(row), payload["components"])
        case CommandType.UPDATE if event.batch is not None:
            return UpdateBatch(event.version, decode_batch(event.batch))
        case CommandType.UPDATE:
            return Update(event.version, payload["entity_id"], payload["components"])
        case CommandType.DESPAWN:
            return Despawn(event.version, payload["entity_id"])
        case CommandType.ADD_COMPONENT:
            return AddComponents(event.version, payload["entity_id"], payload["components"])
        case CommandType.REMOVE_COMPONENT:
            return RemoveComponents(event.version, payload["entity_id"], payload["component_types"])
        case _:
            return None


def _message(row: LogRow) -> Message:
    payload = row.payload
    return Message(
        version=row.event.version,
        command_id=row.event.event_id,
        sender_id=payload.get("sender_id"),
        receiver_id=payload.get("receiver_id"),
        channel=payload.get("channel"),
        document=json.dumps(payload.get("content")),
    )


def _assigned(row: LogRow) -> int:
    if row.event.first_entity_id is None:
        msg = f"the spawn at position {row.event.position} has no entity id"
        raise CorruptionError(msg, position=row.event.position)
    return row.event.first_entity_id
