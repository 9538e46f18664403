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
from archetype.store.given import given_rows, owned_ticks
from archetype.store.schema import Id, events, labels

__all__ = ["LabelRow", "add", "find_inherited", "find_made", "list_inherited", "own_labels", "remove"]


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
    nearest = _nearest(connection, segments, labels.c.name == name)
    row = connection.execute(sa.select(*nearest.columns)).mappings().one_or_none()
    return LabelRow(**row) if row else None


def list_inherited(
    connection: Connection,
    segments: Sequence[Segment],
    *,
    after: tuple[int, str] | None = None,
    limit: int | None = None,
) -> list[LabelRow]:
    """Return the labels of a lineage by tick and name; of two with one name the nearer world's counts.

    An ancestor contributes the labels of the ticks that the lineage shares with it. `after` continues behind
    a tick and name.
    """
    nearest = _nearest(connection, segments)
    # By code points, whatever the database's own order of texts is.
    name = sa.collate(nearest.c.name, "C" if connection.dialect.name == "postgresql" else "BINARY")
    statement = sa.select(*nearest.columns).order_by(nearest.c.tick, name).limit(limit)
    if after is not None:
        tick, last = after
        is_behind = sa.or_(nearest.c.tick > tick, sa.and_(nearest.c.tick == tick, name > last))
        statement = statement.where(is_behind)
    return [LabelRow(**row) for row in connection.execute(statement).mappings()]


def own_labels(connection: Connection, world_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """Return the ticks that worlds' own labels name, by world and name, in the order of the ticks."""
    wanted = given_rows(connection, {"world_id": Id}, [(each,) for each in world_ids], name="wanted")
    statement = (
        sa.select(labels.c.world_id, labels.c.name, labels.c.tick)
        .join(wanted, wanted.c.world_id == labels.c.world_id)
        .order_by(labels.c.tick, labels.c.name)
    )
    found: dict[UUID, dict[str, int]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.world_id, {})[row.name] = row.tick
    return found


def _nearest(
    connection: Connection, segments: Sequence[Segment], *conditions: sa.ColumnElement[bool]
) -> sa.Subquery:
    """Select those labels of a lineage that meet the conditions, of two with one name the nearer world's."""
    owned = owned_ticks(connection, segments)
    # The nearer a world, the later the ticks begin that it owns.
    place = sa.func.row_number().over(partition_by=labels.c.name, order_by=owned.c.from_tick.desc())
    placed = (
        sa.select(*labels.columns, place.label("place"))
        .join(owned, owned.c.world_id == labels.c.world_id)
        .where(labels.c.tick < owned.c.to_tick, *conditions)
        .subquery("placed")
    )
    own = [placed.c[column.name] for column in labels.columns]
    return sa.select(*own).where(placed.c.place == 1).subquery("nearest")
