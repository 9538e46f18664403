"""What processors are told of the tick they run in, and what they draw random numbers from."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from archetype.core.messages import NO_MESSAGES, Messages
from archetype.core.resources import Resources

__all__ = ["IdSource", "TickContext", "Timers", "rng_for"]

IdSource = Callable[[int], Awaitable[int]]
"""Reserves so many consecutive entity ids, and gives the first."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The clock that durations are measured with, in seconds, and what waits; both are the caller's."""

    now: Callable[[], float] = lambda: 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def _no_ids(count: int) -> int:
    raise RuntimeError(f"{count} entities were spawned in a tick that has no source of entity ids")


@dataclass(frozen=True)
class TickContext:
    """What processors are told of the tick they run in; `inputs` are the step's own keyword arguments.

    `messages` are those of the tick's commands. `reserve_ids` gives the ids of entities that processors
    spawn. A tick that is computed again skips the processors in `skipped`, by registration index: those that
    were skipped the first time.
    """

    world_id: UUID
    run_id: UUID
    tick: int
    seed: int
    resources: Resources
    debug: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    messages: Messages = NO_MESSAGES
    reserve_ids: IdSource = _no_ids
    skipped: frozenset[int] | None = None
    timers: Timers = field(default_factory=Timers)

    @property
    def is_replay(self) -> bool:
        """Whether the tick was computed before, and is now computed again."""
        return self.skipped is not None


def rng_for(context: TickContext, processor: str, ordinal: int, archetype_id: bytes) -> np.random.Generator:
    """Give the random generator of one processor, archetype and tick: the same key, the same numbers."""
    parts = [context.seed, context.tick, processor, ordinal, archetype_id.hex()]
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
