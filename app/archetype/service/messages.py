"""Messages as they are read back: those of a world's lineage, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import ENTITY_ID_MAX
from archetype.log.command import CommandStatus, CommandType
from archetype.service.commands import CommandService, HistoryEntry
from archetype.service.filters import history_filter
from archetype.store.history import HistoryFilter

__all__ = ["MessageService", "SentMessage", "message_filter"]


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of the log: `tick` is the one whose processors get it, `reason` why it reached nobody.

    `world_id` is the world in whose log it stands: the one that was asked for, or an ancestor.
    """

    command_id: UUID
    sender_id: int | None
    receiver_id: int | None
    channel: str | None
    content: Any
    tick: int
    position: int
    world_id: UUID
    actor_id: UUID | None
    status: CommandStatus
    reason: str | None


def message_filter(
    *,
    receiver_id: int | None = None,
    sender_id: int | None = None,
    channel: str | None = None,
    from_tick: int | None = None,
    to_tick: int | None = None,
) -> HistoryFilter:
    """Return the filter for messages to this entity, from this one, on this channel, in these ticks.

    None does not restrict. Raises `InvalidInputError` on an entity id or a tick that cannot be one.
    """
    for name, entity_id in (("receiver", receiver_id), ("sender", sender_id)):
        is_number = isinstance(entity_id, int) and not isinstance(entity_id, bool)
        if entity_id is not None and not (is_number and 1 <= entity_id <= ENTITY_ID_MAX):
            msg = f"must be an entity id from 1 to {ENTITY_ID_MAX}, not {entity_id!r}"
            raise InvalidInputError(f"{name} {msg}", faults=[FieldFault(name, msg)])
    wanted = history_filter([CommandType.MESSAGE.value], from_tick=from_tick, to_tick=to_tick)
    return replace(wanted, receiver_id=receiver_id, sender_id=sender_id, channel=channel)


class MessageService:
    """Reads messages back, as far into the past as a world's lineage goes."""

    def __init__(self, commands: CommandService) -> None:
        self._commands = commands

    async def list_messages(
        self, world_id: UUID, wanted: HistoryFilter, *, before_position: int | None = None, limit: int = 100
    ) -> Sequence[SentMessage]:
        """Return the newest messages of a `message_filter`, the oldest of them first.

        `before_position` continues a listing further into the past.
        """
        entries = await self._commands.history(
            world_id, before_position=before_position, limit=limit, wanted=wanted
        )
        return [_sent(entry) for entry in entries]


def _sent(entry: HistoryEntry) -> SentMessage:
    payload = entry.command.payload
    return SentMessage(
        command_id=entry.command.id,
        sender_id=payload.get("sender_id"),
        receiver_id=payload.get("receiver_id"),
        channel=payload.get("channel"),
        content=payload.get("content"),
        tick=entry.applied_tick,
        position=entry.position,
        world_id=entry.world_id,
        actor_id=entry.command.actor_id,
        status=entry.status,
        reason=entry.reason,
    )
