"""Labels: names for ticks, each unique in its world and inherited by the forks that share the tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.errors import LabelNotFoundError, LabelTakenError
from archetype.log.lineage import Segment
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.append import append, lock_log
from archetype.store.given import owned_ticks
from archetype.store.schema import events, labels

__all__ = ["LabelRow", "add", "find_inherited", "find_made", "list_inherited", "remove"]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A label as its row says: the world it is of, the tick it names, the version of its command."""

    world_id: UUID
    name: str
    tick: int
    version: int


def add(
    connection: Connection, command: NewCommand, name: str, tick: int, expected_version: int | None = None
) -> Answer:
    """Name a tick by the command that asks for it; a retry is answered as the first time.

    Raises `LabelTakenError` when the world has a label of that name; then nothing is written.
    """
    lock_log(connection)
    (answer,) = append(connection, [[command]], expected_version)
    if answer.status is Status.ACCEPTED:
        taken = _own(connection, command.world_id, name)
        if taken is not None:
            msg = f"label {name!r} names tick {taken.tick} already; remove it first, or choose another name"
            raise LabelTakenError(msg, name=name, tick=taken.tick)
        row = {"world_id": command.world_id, "name": name, "tick": tick, "version": answer.version}
        connection.execute(labels.insert(), row)
    return answer


def remove(
    connection: Connection, command: NewCommand, name: str, expected_version: int | None = None
) -> Answer:
    """Take a world's own label away by the command that asks for it; a retry is answered as the first time.

    Raises `LabelNotFoundError` when the world has none of that name; then nothing is written.
    """
    lock_log(connection)
    (answer,) = append(connection, [[command]], expected_version)
    if answer.status is Status.ACCEPTED:
        own = sa.and_(labels.c.world_id == command.world_id, labels.c.name == name)
        if connection.execute(labels.delete().where(own)).rowcount == 0:
            msg = f"the world has no label {name!r} of its own; one that it inherits is its ancestor's"
            raise LabelNotFoundError(msg, label=name)
    return answer


def _own(connection: Connection, world_id: UUID, name: str) -> LabelRow | None:
    statement = sa.select(*labels.columns).where(labels.c.world_id == world_id, labels.c.name == name)
    row = connection.execute(statement).mappings().one_or_none()
    return LabelRow(**row) if row else None


def find_made(connection: Connection, command: NewCommand, name: str) -> LabelRow | None:
    """Return the world's own label of that name if this very command made it, whatever it says now."""
    statement = (
        sa.select(*labels.columns)
        .join(events, sa.and_(events.c.world_id == labels.c.world_id, events.c.version == labels.c.version))
        .where(
            labels.c.world_id == command.world_id,
            labels.c.name == name,
            events.c.event_id == command.event_id,
        )
    )
    row = connection.execute(statement).mappings().one_or_none()
    return LabelRow(**row) if row else None


def find_inherited(connection: Connection, segments: Sequence[Segment], name: str) -> LabelRow | None:
    """Return a lineage's label of that name: the world's own, else that of the nearest ancestor."""
    found = _nearest(connection, segments, labels.c.name == name)
    return found.get(name)


def list_inherited(connection: Connection, segments: Sequence[Segment]) -> list[LabelRow]:
    """Return the labels of a lineage by tick and name; of two with one name the nearer world's counts.

    An ancestor contributes the labels of the ticks that the lineage shares with it.
    """
    return sorted(_nearest(connection, segments).values(), key=lambda each: (each.tick, each.name))


def _nearest(
    connection: Connection, segments: Sequence[Segment], *conditions: sa.ColumnElement[bool]
) -> dict[str, LabelRow]:
    """Return by name those labels of a lineage that meet the conditions, of two the nearer world's."""
    depth_of = {segment.world_id: depth for depth, segment in enumerate(segments)}
    owned = owned_ticks(connection, segments)
    statement = (
        sa.select(*labels.columns)
        .join(owned, owned.c.world_id == labels.c.world_id)
        .where(labels.c.tick < owned.c.to_tick, *conditions)
    )
    nearest: dict[str, LabelRow] = {}
    for row in connection.execute(statement).mappings():
        label = LabelRow(**row)
        other = nearest.get(label.name)
        if other is None or depth_of[other.world_id] < depth_of[label.world_id]:
            nearest[label.name] = label
    return nearest
