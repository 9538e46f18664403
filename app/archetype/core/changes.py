"""What can happen to a world's entities in one tick, in the order of the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spawn:
    """A new entity with these component payloads; `version` is the log version that caused it."""

    version: int
    entity_id: int
    components: list[Payload]


@dataclass(frozen=True, slots=True, eq=False)
class SpawnBatch:
    """New entities, ids counting up from `first_entity_id`, one per row of a checked spawn batch."""

    version: int
    first_entity_id: int
    batch: pa.Table


@dataclass(frozen=True, slots=True)
class Despawn:
    """An entity ends."""

    version: int
    entity_id: int


@dataclass(frozen=True, slots=True)
class Update:
    """New values for some fields of components that the entity has."""

    version: int
    entity_id: int
    components: list[Payload]


@dataclass(frozen=True, slots=True, eq=False)
class UpdateBatch:
    """New values for some columns of many entities, from a checked update batch."""

    version: int
    batch: pa.Table


@dataclass(frozen=True, slots=True)
class AddComponents:
    """Components the entity gains; one that it has already is replaced."""

    version: int
    entity_id: int
    components: list[Payload]


@dataclass(frozen=True, slots=True)
class RemoveComponents:
    """Components the entity loses, with their values."""

    version: int
    entity_id: int
    component_types: list[str]


SingleChange = Spawn | Despawn | Update | AddComponents | RemoveComponents
BatchChange = SpawnBatch | UpdateBatch
Change = SingleChange | BatchChange


@dataclass(frozen=True, slots=True)
class Rejection:
    """A change that could not be applied, and so changed nothing; `code` is stable, `reason` for people."""

    version: int
    code: str
    reason: str
