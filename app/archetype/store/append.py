"""Accepting commands: on PostgreSQL one function call, on SQLite the same decisions in the one writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.log.hashes import HashedEvent, event_digest, iso_utc
from archetype.store.schema import Moment
from archetype.store.usage import Meter, Share, exceeded

__all__ = [
    "APPEND_SQL",
    "Answer",
    "NewCommand",
    "Status",
    "append",
    "append_parameters",
    "charge_for_worlds",
    "lock_log",
    "to_answers",
]


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
        return self is Status.ACCEPTED or self is Status.DUPLICATE


class Answer(NamedTuple):
    """The answer to one command: where it stands in the log, or what stood against it.

    `head_version` and `next_entity_id` are the world's before this call. `used` of `allowed` is what stood
    against a command that goes beyond a quota.
    """

    status: Status
    position: int | None
    version: int | None
    tick: int | None
    first_entity_id: int | None
    head_version: int | None
    next_entity_id: int | None
    used: int | None = None
    allowed: int | None = None


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


def append_parameters(groups: Sequence[Sequence[NewCommand]], expected_version: int | None) -> list[Any]:
    """Lay groups of commands out as the arrays that `append_commands` takes."""
    items = [command for group in groups for command in group]
    costs = [item.cost for item in items]
    return [
        [number for number, group in enumerate(groups) for _ in group],
        [item.world_id for item in items],
        [item.event_id for item in items],
        [item.type for item in items],
        [item.schema_version for item in items],
        [item.due_tick for item in items],
        [item.priority for item in items],
        [item.actor_id for item in items],
        [item.payload for item in items],
        [item.batch for item in items],
        [item.entity_count for item in items],
        [item.entity_id for item in items],
        costs if any(costs) else None,
        expected_version,
    ]


def to_answers(rows: Iterable[Sequence[Any]]) -> list[Answer]:
    """Read the rows that `APPEND_SQL` returns."""
    return [Answer(Status(status), *stands) for status, *stands in rows]


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
    return _SqliteAppend(connection).append(groups, expected_version)


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


@dataclass(slots=True)
class _Head:
    """The heads of one world while a SQLite append is under way."""

    world_id: str
    version: int
    open_tick: int
    next_entity_id: int
    is_archived: bool
    is_touched: bool = False


class _SqliteAppend:
    """The append as `append_commands` does it on PostgreSQL, on the driver: this is the hottest path.

    It asks as little of the driver as it can, since every call hands the interpreter to another thread.
    """

    def __init__(self, connection: Connection) -> None:
        self._driver: Any = connection.connection.driver_connection
        self._heads: dict[UUID, _Head | None] = {}
        self._found: dict[tuple[UUID, str], Any] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._moment = utc_now()
        self._meter = Meter(self._execute, str, self._moment)
        (self._position,) = self._driver.execute("SELECT position FROM log_head").fetchone()

    def append(self, groups: Sequence[Sequence[NewCommand]], expected_version: int | None) -> list[Answer]:
        self._look_up([command for group in groups for command in group])
        answers: list[Answer] = []
        for group in groups:
            answers.extend(self._append_group(group, expected_version))
        if self._rows:
            self._write()
        return answers

    def _look_up(self, commands: Sequence[NewCommand]) -> None:
        """Read the heads of the worlds, and which of the ids stand in their logs already."""
        ids: dict[UUID, list[str]] = {}
        for command in commands:
            ids.setdefault(command.world_id, []).append(str(command.event_id))
        for world_id, event_ids in ids.items():
            text = str(world_id)
            row = self._driver.execute(
                "SELECT head_version, open_tick, next_entity_id, archived_at IS NOT NULL FROM worlds "
                "WHERE world_id = ?",
                (text,),
            ).fetchone()
            self._heads[world_id] = _Head(text, row[0], row[1], row[2], bool(row[3])) if row else None
            found = self._driver.execute(
                "SELECT event_id, position, version, tick, first_entity_id, type, payload, due_tick, "
                "priority, batch FROM events "
                "WHERE world_id = ? AND event_id IN (SELECT value FROM json_each(?))",
                (text, json.dumps(event_ids)),
            )
            for event_id, *stands in found:
                self._found[world_id, event_id] = stands

    def _append_group(self, group: Sequence[NewCommand], expected_version: int | None) -> list[Answer]:
        judged = [(command, *self._judge(command, expected_version)) for command in group]
        shares, excess = self._shares(judged), None
        if shares and (excess := self._meter.excess(shares)) is not None:
            over = _OVER[excess.quota]
            judged = [
                (command, over if verdict is Status.ACCEPTED else verdict, found)
                for command, verdict, found in judged
            ]
        free_ids = {world_id: head.next_entity_id for world_id, head in self._heads.items() if head}
        verdicts: list[tuple[NewCommand, Status, Any]] = []
        for command, verdict, found in judged:
            status = verdict
            if status is Status.ACCEPTED:
                free = free_ids[command.world_id]
                if command.entity_id is not None and command.entity_id < free:
                    status = Status.ENTITY_ID_TAKEN
                else:
                    free_ids[command.world_id] = _next_free(command, free)
            verdicts.append((command, status, found))
        is_refused = any(not status.is_in_log for _, status, _ in verdicts)
        if shares and not is_refused:
            self._meter.charge(shares)
        answers = [self._settle(*verdict, is_refused=is_refused) for verdict in verdicts]
        if excess is None:
            return answers
        return [answer._replace(used=excess.used, allowed=excess.allowed) for answer in answers]

    def _shares(self, judged: Sequence[tuple[NewCommand, Status, Any]]) -> list[Share]:
        """Return what the commands of actors would take, each in the tick that it would get."""
        return [
            Share(command.actor_id, command.world_id, max(command.due_tick, head.open_tick), command.cost)
            for command, verdict, _ in judged
            if command.cost and command.actor_id is not None and verdict is Status.ACCEPTED
            if (head := self._heads[command.world_id]) is not None
        ]

    def _execute(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self._driver.execute(statement, parameters).fetchall()

    def _judge(self, command: NewCommand, expected_version: int | None) -> tuple[Status, Any]:
        head = self._heads[command.world_id]
        if head is None:
            return Status.UNKNOWN_WORLD, None
        found = self._found.get((command.world_id, str(command.event_id))) if self._found else None
        if found is not None:
            content = [command.type, command.payload, command.due_tick, command.priority, command.batch]
            return (Status.DUPLICATE if found[4:] == content else Status.CONFLICT), found
        if head.is_archived:
            return Status.ARCHIVED, None
        if expected_version is not None and head.version != expected_version:
            return Status.VERSION_CONFLICT, None
        return Status.ACCEPTED, None

    def _settle(self, command: NewCommand, status: Status, found: Any, *, is_refused: bool) -> Answer:
        head = self._heads[command.world_id]
        if status is Status.ACCEPTED and is_refused:
            status = Status.ABORTED
        before = (head.version, head.next_entity_id) if head else (None, None)
        if status is not Status.ACCEPTED or head is None:
            position, version, tick, first_id = found[:4] if found is not None else (None,) * 4
            return Answer(status, position, version, tick, first_id, *before)
        first_id = command.entity_id
        if first_id is None and command.entity_count:
            first_id = head.next_entity_id
        head.next_entity_id = _next_free(command, head.next_entity_id)
        head.version += 1
        self._position += 1
        head.is_touched = True
        tick = max(command.due_tick, head.open_tick)
        self._rows.append(self._row(command, head, tick, first_id))
        return Answer(status, self._position, head.version, tick, first_id, *before)

    def _row(self, command: NewCommand, head: _Head, tick: int, first_id: int | None) -> tuple[Any, ...]:
        """Lay a row out for the driver, in the order of `_SQLITE_COLUMNS`."""
        fields = (
            self._position,
            head.world_id,
            head.version,
            str(command.event_id),
            "command",
            command.type,
            command.schema_version,
            command.due_tick,
            tick,
            command.priority,
            command.actor_id and str(command.actor_id),
            None,
            first_id,
        )
        digest = event_digest(*fields, self._moment, command.batch, command.payload)
        return (*fields, iso_utc(self._moment), command.batch, command.payload, digest)

    def _write(self) -> None:
        whole = len(self._rows) - len(self._rows) % _ROWS_PER_INSERT
        for start in range(0, whole, _ROWS_PER_INSERT):
            rows = self._rows[start : start + _ROWS_PER_INSERT]
            self._driver.execute(_SQLITE_INSERT_MANY, [value for row in rows for value in row])
        self._driver.executemany(_SQLITE_INSERT, self._rows[whole:])
        self._driver.execute("UPDATE log_head SET position = ?", (self._position,))
        heads = [
            (head.version, head.next_entity_id, head.world_id)
            for head in self._heads.values()
            if head is not None and head.is_touched
        ]
        self._driver.executemany(
            "UPDATE worlds SET head_version = ?, next_entity_id = ? WHERE world_id = ?", heads
        )
        self._meter.write()


def _next_free(command: NewCommand, free: int) -> int:
    """Return the next free entity id after a command: a given id lifts it, a count takes that many."""
    return command.entity_id + 1 if command.entity_id is not None else free + command.entity_count


_OVER = {"commands_per_tick": Status.TICK_QUOTA, "tokens_per_day": Status.TOKEN_BUDGET}
_SQLITE_COLUMNS = (*HashedEvent._fields, "hash")
_ROWS_PER_INSERT = 32
_ONE_ROW = f"({', '.join('?' * len(_SQLITE_COLUMNS))})"
_SQLITE_INSERT = f"INSERT INTO events ({', '.join(_SQLITE_COLUMNS)}) VALUES {_ONE_ROW}"
_SQLITE_INSERT_MANY = f"{_SQLITE_INSERT}{f', {_ONE_ROW}' * (_ROWS_PER_INSERT - 1)}"
