"""Facts: what the engine itself records in the log beside the commands it accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

__all__ = ["Fact", "FactType"]


class FactType(StrEnum):
    """The facts that are recorded."""

    TICK_COMMITTED = "tick_committed"
    COMMAND_REJECTED = "command_rejected"
    RUN_FINISHED = "run_finished"
    EPISODE_FINISHED = "episode_finished"
    ENTITY_IDS_RESERVED = "entity_ids_reserved"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a tick: its type, its payload, and the command that caused it, if one did."""

    type: FactType
    tick: int
    payload: Mapping[str, Any]
    cause_id: UUID | None = None
