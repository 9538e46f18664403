"""Lifecycle hooks: functions that a world calls when something has happened to it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

logger = logging.getLogger(__name__)

Handler = Callable[[Any], Any]
Mode = Literal["blocking", "spawn"]


@dataclass(frozen=True)
class PreTick:
    """A tick is about to be computed."""

    world_id: UUID
    tick: int


@dataclass(frozen=True)
class PostTick:
    """A tick is committed; `tick` is the next one to run, `results` what was computed."""

    world_id: UUID
    tick: int
    results: Any


@dataclass(frozen=True)
class OnSpawn:
    """An entity was accepted; of a bulk spawn the components are not repeated here."""

    world_id: UUID
    entity_id: int
    components: Sequence[Any]


@dataclass(frozen=True)
class OnDespawn:
    """An entity's end was accepted."""

    world_id: UUID
    entity_id: int


@dataclass(frozen=True)
class OnComponentAdded:
    """Components were added to an entity; `components` are those the caller gave."""

    world_id: UUID
    entity_id: int
    components: Sequence[Any]


@dataclass(frozen=True)
class OnComponentRemoved:
    """Components were taken from an entity."""

    world_id: UUID
    entity_id: int
    component_types: Sequence[Any]


@dataclass(frozen=True)
class OnDestroy:
    """A world was removed."""

    world_id: UUID


class HookHandle:
    """Names one registration; opaque, and good only for the registry that gave it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "HookHandle()"


@dataclass(frozen=True, slots=True)
class _Registration:
    event_type: type[Any]
    handler: Handler
    mode: Mode


class Hooks:
    """The handlers of one world, called in the order they were added."""

    def __init__(self) -> None:
        self._registrations: dict[HookHandle, _Registration] = {}
        self._running: set[asyncio.Task[None]] = set()

    def add(self, event_type: type[Any], fn: Handler, mode: Mode = "blocking") -> HookHandle:
        """Call `fn` with every event of this type.

        `blocking` awaits it before going on; `spawn` runs it as a task of its own. Raises ValueError on
        another mode.
        """
        if mode not in {"blocking", "spawn"}:
            raise ValueError(f"A hook's mode is 'blocking' or 'spawn', not {mode!r}.")
        handle = HookHandle()
        self._registrations[handle] = _Registration(event_type, fn, mode)
        return handle

    def remove(self, handle: HookHandle) -> None:
        """Undo `add`; a handle that is unknown or removed already is passed over."""
        self._registrations.pop(handle, None)

    def has(self, event_type: type[Any]) -> bool:
        """Say whether anything listens to this type of event."""
        return any(known.event_type is event_type for known in self._registrations.values())

    def registrations(self) -> Mapping[HookHandle, tuple[type[Any], Handler, Mode]]:
        """Give what is registered, in order."""
        return {
            handle: (known.event_type, known.handler, known.mode)
            for handle, known in self._registrations.items()
        }

    async def fire(self, event: object) -> None:
        """Call the handlers of this event's type; what they raise is logged and goes no further."""
        for known in list(self._registrations.values()):
            if known.event_type is not type(event):
                continue
            if known.mode == "blocking":
                await _call(known.handler, event)
            else:
                task = asyncio.create_task(_call(known.handler, event))
                self._running.add(task)
                task.add_done_callback(self._running.discard)


async def _call(handler: Handler, event: object) -> None:
    try:
        outcome = handler(event)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        name = getattr(handler, "__qualname__", repr(handler))
        logger.warning("Hook %s failed on %s.", name, type(event).__name__, exc_info=True)
