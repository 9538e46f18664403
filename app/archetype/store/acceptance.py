"""What is asked of the log, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

__all__ = ["IN_LOG", "Answer", "NewCommand", "Status"]


class NewCommand(NamedTuple):
    """A checked command on its way into the log; those of one `group` are accepted together or not at all.

    `entity_count` is how many entity ids it needs; `entity_id` is the one it asks for, if it does. `cost` is
    what its actor pays for it, in tokens; without one it is free.
    """

    event_id: UUID
    world_id: UUID
    type: str
    payload: str
    due_tick: int = 0
    priority: int = 0
    actor_id: UUID | None = None
    batch: bytes | None = None
    entity_count: int = 0
    entity_id: int | None = None
    schema_version: int = 1
    cost: int = 0


class Status(StrEnum):
    """What became of one command at the door."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    VERSION_CONFLICT = "version_conflict"
    ENTITY_ID_TAKEN = "entity_id_taken"
    ARCHIVED = "archived"
    UNKNOWN_WORLD = "unknown_world"
    TICK_QUOTA = "tick_quota"
    TOKEN_BUDGET = "token_budget"  # noqa: S105  no secret
    ABORTED = "aborted"

    @property
    def is_in_log(self) -> bool:
        """Whether the command stands in the log, now or since an earlier try."""
        return self in IN_LOG


IN_LOG = frozenset({Status.ACCEPTED, Status.DUPLICATE})


class Answer(NamedTuple):
    """The answer to one command: where it stands in the log, or what stood against it.

    Where it was not accepted, `head_version` and `next_entity_id` are the world's as it found them; `used` of
    `allowed` is what stood against it in a quota.
    """

    status: Status
    position: int | None
    version: int | None
    tick: int | None
    first_entity_id: int | None
    head_version: int | None = None
    next_entity_id: int | None = None
    used: int | None = None
    allowed: int | None = None
