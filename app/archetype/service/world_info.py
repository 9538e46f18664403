"""Worlds as they are described to whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from archetype.core.scheduling.settings import SchedulerSettings
from archetype.log.payload_fields import Snapshots
from archetype.service.policy import SnapshotPolicy
from archetype.service.schedulers import scheduler_settings
from archetype.store.ticks import TickCounts
from archetype.store.worlds import WorldRow

__all__ = ["WorldInfo", "described", "info_of"]


@dataclass(frozen=True, slots=True)
class WorldInfo:
    """A world as it is listed: `tick` is the number of the next tick to run."""

    world_id: UUID
    name: str
    tick: int
    entity_count: int
    parent_id: UUID | None
    fork_tick: int | None
    version: int
    seed: int
    created_at: datetime
    snapshots: Snapshots
    scheduler: SchedulerSettings | None = None
    archetype_signatures: tuple[tuple[str, ...], ...] = ()


def info_of(world: WorldRow, counts: Sequence[TickCounts]) -> WorldInfo:
    """Describe a world by its row and by what it holds after its last tick, if it has one."""
    by_archetype = counts[0].by_archetype if counts else {}
    signatures = tuple(sorted(archetype.components for archetype in by_archetype))
    return described(world, sum(by_archetype.values()), signatures)


def described(world: WorldRow, entity_count: int, signatures: tuple[tuple[str, ...], ...] = ()) -> WorldInfo:
    """Describe a world by its row and by how many entities it holds, of which archetypes."""
    return WorldInfo(
        world_id=world.world_id,
        name=world.name,
        tick=world.tick,
        entity_count=entity_count,
        parent_id=world.parent_id,
        fork_tick=world.fork_tick,
        version=world.head_version,
        seed=world.seed,
        created_at=world.created_at,
        snapshots=SnapshotPolicy.of_config(world.config).setting,
        scheduler=scheduler_settings(world.config),
        archetype_signatures=signatures,
    )
