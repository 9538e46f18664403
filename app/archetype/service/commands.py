"""Commands: submitting them through the door, and reading them back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from uuid import UUID

from archetype.core.component import Component
from archetype.core.hooks import Hooks, OnComponentAdded, OnComponentRemoved, OnDespawn, OnSpawn
from archetype.errors import ArchetypeError
from archetype.log.command import QUEUED_TYPES, Command, CommandStatus, CommandType
from archetype.service.admission import CommandRequest, admit, admit_all
from archetype.service.answers import refusal
from archetype.service.pending import BoundedAppender
from archetype.service.worlds import WorldService
from archetype.store import log
from archetype.store.acceptance import IN_LOG, Answer, NewCommand, Status
from archetype.store.database import Database
from archetype.store.history import EVERY_COMMAND, HistoryFilter, history

__all__ = ["CommandService", "HistoryEntry", "Receipt"]

THREAD_COMMANDS_MIN = 1_000


class Receipt(NamedTuple):
    """Where an accepted command stands: in the log, in its world, and in which tick it will be applied.

    `first_entity_id` and `entity_count` are the ids that a spawn was given; a duplicate is the answer to
    a retry, with the places of the first time.
    """

    command_id: UUID
    world_id: UUID
    type: str
    position: int
    version: int
    tick: int
    priority: int
    first_entity_id: int | None
    entity_count: int
    is_duplicate: bool

    @property
    def entity_ids(self) -> range:
        """The ids that were assigned, in the order of the spawned rows."""
        first = self.first_entity_id or 0
        return range(first, first + (self.entity_count if self.first_entity_id is not None else 0))


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A command of the log: `applied_tick` is the tick it belongs to; `reason` says why it was rejected.

    `world_id` is the world in whose log it stands: the one that was asked for, or an ancestor.
    """

    command: Command
    world_id: UUID
    position: int
    applied_tick: int
    first_entity_id: int | None
    status: CommandStatus
    reason: str | None


class CommandService:
    """Submits commands, each durable before it is answered, and reads them back."""

    def __init__(self, database: Database, appender: BoundedAppender, worlds: WorldService) -> None:
        self._database = database
        self._appender = appender
        self._worlds = worlds

    async def submit(
        self,
        world_id: UUID,
        request: CommandRequest,
        *,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> Receipt:
        """Accept one command and say where it stands.

        Raises `InvalidInputError` on bad input, `StateConflictError` where the world's state forbids it, and
        `OverloadedError` when too many commands wait, to be written or in the world; then nothing is stored.
        """
        check = partial(admit, request, world_id=world_id, actor_id=actor_id)
        # A table of a million rows takes a while to check; a single command less than a thread would.
        command = check() if request.batch is None else await asyncio.to_thread(check)
        return (await self._append([command], [request], expected_version))[0]

    async def submit_batch(
        self,
        world_id: UUID,
        requests: Sequence[CommandRequest],
        *,
        actor_id: UUID | None = None,
        expected_version: int | None = None,
    ) -> list[Receipt]:
        """Accept commands in their order, all or none of them."""
        check = partial(admit_all, requests, world_id=world_id, actor_id=actor_id)
        # A long batch is checked beside the event loop, so that others are answered meanwhile.
        commands = check() if len(requests) < THREAD_COMMANDS_MIN else await asyncio.to_thread(check)
        return await self._append(commands, requests, expected_version)

    async def _append(
        self,
        commands: Sequence[NewCommand],
        requests: Sequence[CommandRequest],
        expected_version: int | None,
    ) -> list[Receipt]:
        answers = await self._appender.append(commands, expected_version=expected_version)
        if not {answer.status for answer in answers} <= IN_LOG:
            raise self._refusal(commands, answers, expected_version)
        receipts = [_receipt(command, answer) for command, answer in zip(commands, answers, strict=True)]
        if commands and self._worlds.live_worlds.has_hooks(commands[0].world_id):
            await self._fire(self._worlds.live_worlds.of(commands[0].world_id).hooks, receipts, requests)
        return receipts

    def _refusal(
        self,
        commands: Sequence[NewCommand],
        answers: Sequence[Answer],
        expected_version: int | None,
    ) -> ArchetypeError:
        """Return the error for the first command that was refused for its own sake."""
        refused = [pair for pair in zip(commands, answers, strict=True) if not pair[1].status.is_in_log]
        first = next((pair for pair in refused if pair[1].status is not Status.ABORTED), refused[0])
        return refusal(*first, expected_version)

    async def _fire(
        self, hooks: Hooks, receipts: Sequence[Receipt], requests: Sequence[CommandRequest]
    ) -> None:
        """Tell the hooks of this process what was accepted here; a retry tells nothing twice."""
        for receipt, request in zip(receipts, requests, strict=True):
            if receipt.is_duplicate:
                continue
            world_id, payload = receipt.world_id, request.payload
            entity_id = payload.get("entity_id", 0)
            match CommandType(receipt.type):
                case CommandType.SPAWN if hooks.has(OnSpawn):
                    components = [Component.from_payload(each) for each in payload.get("components", [])]
                    for spawned in receipt.entity_ids:
                        await hooks.fire(OnSpawn(world_id, spawned, components))
                case CommandType.DESPAWN:
                    await hooks.fire(OnDespawn(world_id, entity_id))
                case CommandType.ADD_COMPONENT:
                    components = [Component.from_payload(each) for each in payload["components"]]
                    await hooks.fire(OnComponentAdded(world_id, entity_id, components))
                case CommandType.REMOVE_COMPONENT:
                    types = [Component.get_type_by_name(name) for name in payload["component_types"]]
                    await hooks.fire(OnComponentRemoved(world_id, entity_id, types))
                case _:
                    pass

    async def history(
        self,
        world_id: UUID,
        *,
        before_position: int | None = None,
        limit: int = 100,
        wanted: HistoryFilter = EVERY_COMMAND,
    ) -> list[HistoryEntry]:
        """Return the newest wanted commands of a world's whole lineage, the oldest of them first.

        `before_position` continues a listing further into the past.
        """
        lineage = await self._worlds.lineage(world_id)
        rows = await self._database.read(
            lambda connection: history(
                connection, lineage, before_position=before_position, limit=limit, wanted=wanted
            )
        )
        return [_entry(row) for row in reversed(log.checked(rows))]

    async def pending_count(self, world_id: UUID) -> int:
        """Count the commands that wait for a tick which is not committed yet."""
        return await self._database.read(
            lambda connection: log.pending_count(connection, world_id, QUEUED_TYPES)
        )


def _receipt(command: NewCommand, answer: Answer) -> Receipt:
    return Receipt(
        command.event_id,
        command.world_id,
        command.type,
        answer.position or 0,
        answer.version or 0,
        answer.tick or 0,
        command.priority,
        answer.first_entity_id,
        command.entity_count if command.entity_id is None else 1,
        answer.status is Status.DUPLICATE,
    )


def _entry(row: log.LogRow) -> HistoryEntry:
    event = row.event
    command = Command(
        id=event.event_id,
        tick=event.due_tick,
        actor_id=event.actor_id,
        type=CommandType(event.type),
        payload=row.payload,
        priority=event.priority,
        version=event.schema_version,
        seq=event.version,
    )
    return HistoryEntry(
        command=command,
        world_id=event.world_id,
        position=event.position,
        applied_tick=event.tick,
        first_entity_id=event.first_entity_id,
        status=row.status or CommandStatus.APPLIED,
        reason=row.reason,
    )
