"""What a world's handle says to the world's processors, and what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.runtime.handle import CommandOptions, WorldHandle
from archetype.service.messages import SentMessage, message_filter

__all__ = ["Messaging"]


class Messaging(WorldHandle):
    """Sends messages, and reads them back."""

    async def send(
        self,
        content: Any,
        *,
        to: int | None = None,
        sender: int | None = None,
        channel: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Send a JSON value to an entity, or to everybody; return the command's id.

        The processors of the command's tick get it as `messages`. It is rejected if the receiver is not
        active once that tick's commands are applied.
        """
        payload = {"content": content, "receiver_id": to, "sender_id": sender, "channel": channel}
        return (await self._submit(CommandType.MESSAGE, payload, **options)).command_id

    async def messages(
        self,
        limit: int = 100,
        *,
        receiver: int | None = None,
        sender: int | None = None,
        channel: str | None = None,
        from_tick: int | None = None,
        to_tick: int | None = None,
    ) -> Sequence[SentMessage]:
        """Return the newest messages of the world and its ancestors, the oldest of them first.

        Only those to and from these entities, on this channel, of the ticks `from_tick` <= t < `to_tick`;
        those that still wait, and those that reached nobody, are among them.
        """
        wanted = message_filter(
            receiver_id=receiver, sender_id=sender, channel=channel, from_tick=from_tick, to_tick=to_tick
        )
        services = await self._activate(Access.READ_LOG)
        return await services.message_service.list_messages(self.world_id, wanted, limit=limit)
