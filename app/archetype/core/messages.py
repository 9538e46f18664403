"""Messages as processors get them: those that the commands of a tick brought, in order of application."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

import numpy as np

from archetype.core.changes import Rejection
from archetype.core.state import WorldState

__all__ = ["NO_MESSAGES", "Message", "Messages", "deliver"]

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `version` is the log version that caused it, `document` its content as JSON.

    Without a receiver it is for everybody. The sender need not be active, nor an entity of this world at all.
    """

    version: int
    command_id: UUID
    sender_id: int | None
    receiver_id: int | None
    channel: str | None
    document: str

    @property
    def content(self) -> Any:
        """The content, the caller's own to change: nobody else sees what becomes of it."""
        return json.loads(self.document)


@dataclass(frozen=True)
class Messages:
    """The messages of one tick, in the order in which its commands are applied."""

    all: tuple[Message, ...] = ()

    def inbox(self, entity_id: int) -> tuple[Message, ...]:
        """Give the messages to an entity; those to everybody are in `broadcast`."""
        return self.by_receiver.get(entity_id, ())

    @property
    def broadcast(self) -> tuple[Message, ...]:
        """The messages to nobody in particular."""
        return self._by_receiver.get(None, ())

    @cached_property
    def by_receiver(self) -> Mapping[int, tuple[Message, ...]]:
        """The inboxes that hold anything, by entity id in order of their first messages."""
        inboxes = {key: value for key, value in self._by_receiver.items() if key is not None}
        return MappingProxyType(inboxes)

    @cached_property
    def by_channel(self) -> Mapping[str | None, tuple[Message, ...]]:
        """The messages of each channel, those to nobody in particular too; None has those without one."""
        return MappingProxyType(_grouped([(each.channel, each) for each in self.all]))

    @cached_property
    def _by_receiver(self) -> Mapping[int | None, tuple[Message, ...]]:
        return _grouped([(each.receiver_id, each) for each in self.all])

    def __iter__(self) -> Iterator[Message]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)


NO_MESSAGES = Messages()
"""What a tick has whose commands brought none."""


def deliver(sent: Messages, state: WorldState) -> tuple[Messages, list[Rejection]]:
    """Give the messages that reach somebody in the state that processors see, and what is said of the others.

    A receiver must be active once all commands of the tick are applied, whichever of them came first.
    """
    addressed = [each for each in sent if each.receiver_id is not None]
    if not addressed:
        return sent, []
    tables, _ = state.locate(np.array([each.receiver_id for each in addressed], dtype=np.int64))
    lost = {each.version: each for each, table in zip(addressed, tables, strict=True) if table < 0}
    if not lost:
        return sent, []
    rejections = [
        Rejection(version, "entity_not_found", f"Entity {each.receiver_id} is not active.")
        for version, each in lost.items()
    ]
    return Messages(tuple(each for each in sent if each.version not in lost)), rejections


def _grouped(pairs: Sequence[tuple[K, Message]]) -> dict[K, tuple[Message, ...]]:
    groups: dict[K, list[Message]] = {}
    for key, message in pairs:
        groups.setdefault(key, []).append(message)
    return {key: tuple(group) for key, group in groups.items()}
