"""Calls about messages: sending them to the processors of a tick, and reading them back."""

from __future__ import annotations

from typing import Any

from archetype.client import answers
from archetype.client.calls import Calls, path_of, present

__all__ = ["MessageCalls"]


class MessageCalls(Calls):
    """The calls about messages."""

    def send_message(
        self,
        world: str,
        content: Any,
        *,
        receiver: int | None = None,
        sender: int | None = None,
        channel: str | None = None,
        tick: int | None = None,
        priority: int | None = None,
    ) -> answers.Receipt:
        """Send any JSON value to an entity, or to everybody; the processors of the receipt's tick get it."""
        body = {"content": content} | present(
            receiver_id=receiver, sender_id=sender, channel=channel, tick=tick, priority=priority
        )
        return self._change("POST", path_of(world, "messages"), body)

    def messages(
        self,
        world: str,
        *,
        receiver: int | None = None,
        sender: int | None = None,
        channel: str | None = None,
        from_tick: int | None = None,
        to_tick: int | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[answers.Message]:
        """Return the newest messages of the world's whole lineage and what became of each, newest last.

        Only those to and from these entities, on this channel, of the ticks `from_tick` <= t < `to_tick`.
        `before` continues further into the past.
        """
        return self._read(
            path_of(world, "messages"),
            receiver=receiver,
            sender=sender,
            channel=channel,
            from_tick=from_tick,
            to_tick=to_tick,
            limit=limit,
            before=before,
        )
