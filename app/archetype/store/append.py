"""Accepting commands: on PostgreSQL one function call, on SQLite the same decisions in the one writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.append_sqlite import SqliteAppend
from archetype.store.schema import Moment
from archetype.store.usage import Meter, Share, exceeded

__all__ = ["APPEND_SQL", "append", "append_parameters", "charge_for_worlds", "lock_log", "to_answers"]

SILENT_HOLDER = "10s"
"""How long PostgreSQL bears a holder of the log's lock that says nothing, while all others wait."""

_LOCK = sa.text(
    "SELECT clock_timestamp(), set_config('idle_in_transaction_session_timeout', :silence, true) "
    "FROM lock_log()"
).columns(moment=Moment, silence=sa.Text)


def lock_log(connection: Connection) -> datetime:
    """Make this transaction the log's only writer until it ends, and return the database's time.

    Of all who write to one database, its clock is the one that counts; a SQLite file's writer holds the
    lock already, and has the clock of its machine.
    """
    if connection.dialect.name == "postgresql":
        return connection.execute(_LOCK, {"silence": SILENT_HOLDER}).scalar_one()
    return utc_now()


APPEND_SQL = (
    "SELECT status, position, version, tick, first_entity_id, head_version, next_entity_id, used, allowed "
    "FROM append_commands($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ORDER BY ordinal"
)

_OWN = ("event_id", "payload")
"""What each command has for itself."""

_COLUMNS = [
    (attrgetter(name), name not in _OWN)
    for name in (
        "world_id",
        "event_id",
        "type",
        "schema_version",
        "due_tick",
        "priority",
        "actor_id",
        "payload",
        "batch",
        "entity_count",
        "entity_id",
    )
]
_STATUSES = {status.value: status for status in Status}


def append_parameters(groups: Sequence[Sequence[NewCommand]], expected_version: int | None) -> list[Any]:
    """Lay groups of commands out as the arrays that `append_commands` takes.

    The driver looks at each value of an array. What all commands of a flush have in common, and that is
    nearly all that they may, is sent once.
    """
    items = list(chain.from_iterable(groups))
    is_each_alone = all(len(group) == 1 for group in groups)
    numbers = None if is_each_alone else [number for number, group in enumerate(groups) for _ in group]
    parameters: list[Any] = [numbers and _once(numbers)]
    for read, may_be_common in _COLUMNS:
        values = list(map(read, items))
        parameters.append(_once(values) if may_be_common else values)
    costs = [item.cost for item in items]
    return [*parameters, _once(costs) if any(costs) else None, expected_version]


def _once(values: list[Any]) -> list[Any]:
    return values[:1] if values[:1] * len(values) == values else values


def to_answers(rows: Iterable[Sequence[Any]]) -> list[Answer]:
    """Read the rows that `APPEND_SQL` returns."""
    return [Answer(_STATUSES[status], *stands) for status, *stands in rows]


def append(
    connection: Connection, groups: Sequence[Sequence[NewCommand]], expected_version: int | None = None
) -> list[Answer]:
    """Accept groups of commands in order and answer each command, in order.

    A group stands or falls as one. `expected_version`, and commands that ask for an entity id, are
    allowed in a call of one group only. Ids are looked up before versions are compared: a retry of an
    accepted command is a duplicate, whatever it expected.
    """
    if connection.dialect.name == "postgresql":
        parameters = append_parameters(groups, expected_version)
        return to_answers(connection.exec_driver_sql(APPEND_SQL, tuple(parameters)).fetchall())
    return SqliteAppend(connection).append(groups, expected_version)


def charge_for_worlds(connection: Connection, commands: Sequence[NewCommand], moment: datetime) -> None:
    """Charge for commands that make worlds, all or none; `QuotaExceededError` where that goes beyond a quota.

    The caller took the log's lock at `moment`. Such a command takes no place in a tick of its world.
    """
    shares = [
        Share(command.actor_id, command.world_id, None, command.cost)
        for command in commands
        if command.cost and command.actor_id is not None
    ]
    if not shares:
        return

    def execute(statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        result = connection.execute(sa.text(statement), parameters)
        return result.fetchall() if result.returns_rows else ()

    is_postgres = connection.dialect.name == "postgresql"
    meter = Meter(execute, (lambda each: each) if is_postgres else str, moment)
    if (excess := meter.excess(shares)) is not None:
        raise exceeded(excess, actor_id=shares[0].actor_id)
    meter.charge(shares)
    meter.write()
