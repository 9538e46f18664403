"""Commands that act at once, through a call of their own; the log records them all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from archetype.clock import new_id
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType, check_payload
from archetype.log.costs import cost_of
from archetype.service.answers import refusal
from archetype.store.acceptance import Answer, NewCommand
from archetype.store.database import Database, Mapper

__all__ = ["direct_command", "write_direct"]


def direct_command(
    kind: CommandType,
    world_id: UUID,
    payload: Mapping[str, Any],
    *,
    command_id: UUID | None = None,
    actor_id: UUID | None = None,
) -> NewCommand:
    """Return the command that a call stands for; a payload that does not fit raises `PayloadError`."""
    check_payload(kind, payload)
    return NewCommand(
        event_id=command_id or new_id(),
        world_id=world_id,
        type=kind.value,
        payload=canonical_json(payload),
        actor_id=actor_id,
        cost=0 if actor_id is None else cost_of(kind),
    )


async def write_direct(
    database: Database, command: NewCommand, write: Mapper[Answer], expected_version: int | None = None
) -> None:
    """Let a command act; where it is not accepted nothing is written, and the reason is raised."""
    answer = await database.write(write)
    if not answer.status.is_in_log:
        raise refusal(command, answer, expected_version)
