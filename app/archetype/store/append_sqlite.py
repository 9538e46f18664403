"""The append on SQLite: what `append_commands` decides on PostgreSQL, on the driver, in the one writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.log.hashes import HashedEvent, event_digest, iso_utc
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.usage import Meter, Share

__all__ = ["SqliteAppend"]


@dataclass(slots=True)
class _Head:
    """The heads of one world while an append is under way."""

    world_id: str
    version: int
    open_tick: int
    next_entity_id: int
    is_archived: bool
    is_touched: bool = False


@dataclass(slots=True)
class _Judged:
    """A command with its id as the table has it, what the log knows of it, and what becomes of it."""

    command: NewCommand
    id: str
    head: _Head | None
    found: Sequence[Any] | None
    status: Status


class SqliteAppend:
    """One call: this is the hottest path.

    It asks as little of the driver as it can, since every call hands the interpreter to another thread.
    """

    def __init__(self, connection: Connection) -> None:
        self._driver: Any = connection.connection.driver_connection
        self._heads: dict[UUID, _Head] = {}
        self._found: dict[tuple[UUID, str], Sequence[Any]] = {}
        self._values: list[Any] = []
        self._row_count = 0
        self._moment = utc_now()
        self._recorded_at = iso_utc(self._moment)
        self._meter = Meter(partial(_execute, self._driver), str, self._moment)
        (self._position,) = self._driver.execute("SELECT position FROM log_head").fetchone()

    def append(self, groups: Sequence[Sequence[NewCommand]], expected_version: int | None) -> list[Answer]:
        """Accept groups in order and answer each command, in order; a group stands or falls as one."""
        ids = [[str(command.event_id) for command in group] for group in groups]
        is_clear = self._look_up(groups, ids)
        answers = self._accept_clear(groups, ids) if is_clear and expected_version is None else None
        if answers is None:
            answers = []
            for group, group_ids in zip(groups, ids, strict=True):
                judged = [
                    self._judge(command, event_id, expected_version)
                    for command, event_id in zip(group, group_ids, strict=True)
                ]
                answers.extend(self._settle(judged))
        if self._row_count:
            self._write()
        return answers

    def _look_up(self, groups: Sequence[Sequence[NewCommand]], ids: Sequence[Sequence[str]]) -> bool:
        """Read the heads of the worlds, and which of the ids stand in their logs already.

        Tell whether all of the worlds take commands, and none of the ids is known.
        """
        ids_of: dict[UUID, list[str]] = {}
        for group, group_ids in zip(groups, ids, strict=True):
            for command, event_id in zip(group, group_ids, strict=True):
                ids_of.setdefault(command.world_id, []).append(event_id)
        for world_id, event_ids in ids_of.items():
            text = str(world_id)
            row = self._driver.execute(_SELECT_HEAD, (text,)).fetchone()
            if row:
                self._heads[world_id] = _Head(text, row[0], row[1], row[2], bool(row[3]))
            for event_id, *stands in self._driver.execute(_SELECT_FOUND, (text, json.dumps(event_ids))):
                self._found[world_id, event_id] = stands
        are_live = len(self._heads) == len(ids_of) and not any(
            head.is_archived for head in self._heads.values()
        )
        return are_live and not self._found

    def _accept_clear(
        self, groups: Sequence[Sequence[NewCommand]], ids: Sequence[Sequence[str]]
    ) -> list[Answer] | None:
        """Accept a call in which there is nothing to refuse, as in nearly all; of any other do nothing.

        What fits into the quotas all together fits group by group.
        """
        commands = list(chain.from_iterable(groups))
        if any(command.entity_id is not None for command in commands):
            return None
        shares = _shares((command, self._heads[command.world_id]) for command in commands)
        if shares and self._meter.excess(shares) is not None:
            return None
        self._meter.charge(shares)
        return list(map(self._accept, commands, chain.from_iterable(ids)))

    def _judge(self, command: NewCommand, event_id: str, expected_version: int | None) -> _Judged:
        head = self._heads.get(command.world_id)
        found = self._found.get((command.world_id, event_id))
        status = _ACCEPTED
        if head is None:
            status = Status.UNKNOWN_WORLD
        elif found is not None:
            content = [command.type, command.payload, command.due_tick, command.priority, command.batch]
            status = Status.DUPLICATE if found[4:] == content else Status.CONFLICT
        elif head.is_archived:
            status = Status.ARCHIVED
        elif expected_version is not None and head.version != expected_version:
            status = Status.VERSION_CONFLICT
        return _Judged(command, event_id, head, found, status)

    def _settle(self, group: Sequence[_Judged]) -> list[Answer]:
        shares = _shares(
            (each.command, each.head) for each in group if each.status is _ACCEPTED and each.head
        )
        excess = None
        if shares and (excess := self._meter.excess(shares)) is not None:
            for each in group:
                if each.status is _ACCEPTED:
                    each.status = _OVER[excess.quota]
        _refuse_taken_ids(group)
        if not all(each.status.is_in_log for each in group):
            for each in group:
                if each.status is _ACCEPTED:
                    each.status = Status.ABORTED
            answers = [_stands(each) for each in group]
            if excess is None:
                return answers
            return [answer._replace(used=excess.used, allowed=excess.allowed) for answer in answers]
        self._meter.charge(shares)
        return [
            self._accept(each.command, each.id) if each.status is _ACCEPTED else _stands(each)
            for each in group
        ]

    def _accept(self, command: NewCommand, event_id: str) -> Answer:
        """Number a command, lay its row out in the order of `_COLUMNS`, and answer it."""
        head = self._heads[command.world_id]
        first_id = command.entity_id
        if first_id is None and command.entity_count:
            first_id = head.next_entity_id
        head.next_entity_id = _next_free(command, head.next_entity_id)
        head.version += 1
        head.is_touched = True
        self._position += 1
        tick = max(command.due_tick, head.open_tick)
        fields = (
            self._position,
            head.world_id,
            head.version,
            event_id,
            "command",
            command.type,
            command.schema_version,
            command.due_tick,
            tick,
            command.priority,
            command.actor_id and _spelled(command.actor_id),
            None,
            first_id,
            self._recorded_at,
            command.batch,
            command.payload,
        )
        self._values += fields
        self._values.append(event_digest(*fields))
        self._row_count += 1
        return Answer(_ACCEPTED, self._position, head.version, tick, first_id)

    def _write(self) -> None:
        start = 0
        for row_count in _ROWS_PER_INSERT:
            while self._row_count - start >= row_count:
                stop = start + row_count
                values = self._values[start * len(_COLUMNS) : stop * len(_COLUMNS)]
                self._driver.execute(_INSERTS[row_count], values)
                start = stop
        self._driver.execute("UPDATE log_head SET position = ?", (self._position,))
        for head in self._heads.values():
            if head.is_touched:
                heads = head.version, head.next_entity_id, head.world_id
                self._driver.execute(_UPDATE_HEAD, heads)
        self._meter.write()


def _execute(driver: Any, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Run a statement; a method in its place would make a cycle, which keeps the rows of a flush for long."""
    return driver.execute(statement, parameters).fetchall()


def _shares(commands: Iterable[tuple[NewCommand, _Head]]) -> list[Share]:
    """Return what the commands of actors would take, in the ticks that they would get."""
    paying = (
        (command.actor_id, command.world_id, max(command.due_tick, head.open_tick), command.cost)
        for command, head in commands
        if command.cost and command.actor_id is not None
    )
    shares: list[Share] = []
    for (actor_id, world_id, tick), alike in groupby(paying, itemgetter(0, 1, 2)):
        costs = [cost for *_, cost in alike]
        shares.append(Share(actor_id, world_id, tick, sum(costs), len(costs)))
    return shares


def _refuse_taken_ids(group: Sequence[_Judged]) -> None:
    """Refuse commands that ask for an entity id which is not free by their turn."""
    if all(each.command.entity_id is None for each in group):
        return
    free_ids: dict[str, int] = {}
    for each in group:
        command, head = each.command, each.head
        if each.status is not _ACCEPTED or head is None:
            continue
        free = free_ids.get(head.world_id, head.next_entity_id)
        if command.entity_id is not None and command.entity_id < free:
            each.status = Status.ENTITY_ID_TAKEN
        else:
            free_ids[head.world_id] = _next_free(command, free)


def _stands(judged: _Judged) -> Answer:
    """Answer a command that is not accepted now: where it stands, if it does."""
    head = judged.head
    position, version, tick, first_id = judged.found[:4] if judged.found is not None else (None,) * 4
    before = (None, None) if head is None else (head.version, head.next_entity_id)
    return Answer(judged.status, position, version, tick, first_id, *before)


def _next_free(command: NewCommand, free: int) -> int:
    """Return the next free entity id after a command: a given id lifts it, a count takes that many."""
    return command.entity_id + 1 if command.entity_id is not None else free + command.entity_count


_spelled = lru_cache(maxsize=256)(str)
"""The few actors of a moment ask for many commands each."""

_ACCEPTED = Status.ACCEPTED
_OVER = {"commands_per_tick": Status.TICK_QUOTA, "tokens_per_day": Status.TOKEN_BUDGET}
_COLUMNS = (*HashedEvent._fields, "hash")
_SELECT_HEAD = (
    "SELECT head_version, open_tick, next_entity_id, archived_at IS NOT NULL FROM worlds WHERE world_id = ?"
)
_SELECT_FOUND = (
    "SELECT event_id, position, version, tick, first_entity_id, type, payload, due_tick, priority, batch "
    "FROM events WHERE world_id = ? AND event_id IN (SELECT value FROM json_each(?))"
)
_UPDATE_HEAD = "UPDATE worlds SET head_version = ?, next_entity_id = ? WHERE world_id = ?"
_ROWS_PER_INSERT = (256, 64, 16, 4, 1)
"""A flush is written in few statements, the longest first."""
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
_INSERTS = {
    row_count: f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES {', '.join([_ROW] * row_count)}"
    for row_count in _ROWS_PER_INSERT
}
