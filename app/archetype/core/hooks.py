"""Lifecycle hooks: functions that a world calls when something has happened to it in this process.

The events of entities tell what was accepted, at once; whether it can be applied, the command's tick tells.
What processors do, and what other processes accept, raises none: `world.events()` and `PostTick` see it all.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from archetype.errors import InvalidInputError

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
    """A spawn was accepted here; of a bulk spawn the components are not repeated."""

    world_id: UUID
    entity_id: int
    components: Sequence[Any]


@dataclass(frozen=True)
class OnDespawn:
    """An entity's end was accepted here."""

    world_id: UUID
    entity_id: int


@dataclass(frozen=True)
class OnComponentAdded:
    """Adding components to an entity was accepted here; `components` are those the caller gave."""

    world_id: UUID
    entity_id: int
    components: Sequence[Any]


@dataclass(frozen=True)
class OnComponentRemoved:
    """Taking components from an entity was accepted here."""

    world_id: UUID
    entity_id: int
    component_types: Sequence[Any]


@dataclass(frozen=True)
class OnDestroy:
    """A world was removed."""

    world_id: UUID


_EVENTS = (PreTick, PostTick, OnSpawn, OnDespawn, OnComponentAdded, OnComponentRemoved, OnDestroy)


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

        `blocking` awaits it before going on; `spawn` runs it as a task of its own. Raises
        `InvalidInputError` on another mode, and on what is no type of event or no function.
        """
        if event_type not in _EVENTS:
            known = ", ".join(each.__name__ for each in _EVENTS)
            msg = f"{event_type!r} is no type of event; pass one of archetype.core.hooks: {known}"
            raise InvalidInputError(msg)
        if not callable(fn):
            raise InvalidInputError(f"a hook is a function that takes the event, not {fn!r}")
        if mode not in {"blocking", "spawn"}:
            raise InvalidInputError(f"a hook's mode is 'blocking' or 'spawn', not {mode!r}")
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
