"""How many commands wait in a world, as of which of its heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.given import is_given
from archetype.store.log import pending_count
from archetype.store.schema import events, worlds

__all__ = ["PendingCount", "are_accepted", "recounted"]


@dataclass(frozen=True, slots=True)
class PendingCount:
    """How many commands waited in a world when it was at a version, its last tick being committed."""

    committed_tick: int
    head_version: int
    count: int


def recounted(
    connection: Connection, world_id: UUID, types: Sequence[str], before: PendingCount | None
) -> PendingCount:
    """Count the commands of these types that wait, unless nothing changed since they were counted `before`.

    What is accepted while they are counted may be in the count, though not in `head_version`.
    """
    statement = sa.select(worlds.c.committed_tick, worlds.c.head_version).where(worlds.c.world_id == world_id)
    head = connection.execute(statement).one_or_none() or (-1, 0)
    if before is not None and head == (before.committed_tick, before.head_version):
        return before
    return PendingCount(*head, count=pending_count(connection, world_id, types))


def are_accepted(connection: Connection, world_id: UUID, event_ids: Sequence[UUID]) -> bool:
    """Tell whether rows of all these ids stand in a world's own log."""
    ids = list(set(event_ids))
    statement = sa.select(sa.func.count()).where(
        events.c.world_id == world_id, is_given(connection, events.c.event_id, ids)
    )
    return connection.scalar(statement) == len(ids)
