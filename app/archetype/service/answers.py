"""What the log answered, as the error that its caller is owed."""

from __future__ import annotations

from archetype.errors import (
    ArchetypeError,
    CommandConflictError,
    StateConflictError,
    VersionConflictError,
    WorldArchivedError,
    WorldNotFoundError,
)
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.usage import Excess, exceeded

__all__ = ["refusal"]


def refusal(command: NewCommand, answer: Answer, expected_version: int | None = None) -> ArchetypeError:
    """Return the error for a command that was not accepted."""
    world = str(command.world_id)
    match answer.status:
        case Status.UNKNOWN_WORLD:
            msg = f"world {world} does not exist; `archetype world list` shows those that do"
            return WorldNotFoundError(msg, world=world)
        case Status.ARCHIVED:
            msg = f"world {world} was removed and takes no more commands; fork it or make another"
            return WorldArchivedError(msg, world=world)
        case Status.CONFLICT:
            msg = (
                f"command id {command.event_id} was accepted before with other content, "
                f"as version {answer.version}; give each command an id of its own"
            )
            return CommandConflictError(msg, command_id=str(command.event_id), version=answer.version)
        case Status.ENTITY_ID_TAKEN:
            msg = (
                f"entity id {command.entity_id} is not free: ids only grow, and the next free one was "
                f"{answer.next_entity_id}; leave entity_id out to get one"
            )
            return CommandConflictError(
                msg, entity_id=command.entity_id, next_entity_id=answer.next_entity_id
            )
        case Status.VERSION_CONFLICT:
            msg = f"the world is at version {answer.head_version}, not {expected_version}; read it again"
            return VersionConflictError(
                msg, expected_version=expected_version, actual_version=answer.head_version
            )
        case Status.TICK_QUOTA | Status.TOKEN_BUDGET:
            is_tick = answer.status is Status.TICK_QUOTA
            quota = "commands_per_tick" if is_tick else "tokens_per_day"
            excess = Excess(quota, answer.used or 0, answer.allowed or 0)
            return exceeded(excess, actor_id=command.actor_id)
        case _:
            msg = "another command of the same batch was refused, so none was accepted"
            return StateConflictError(msg)
