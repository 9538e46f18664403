"""What a reference means in the state that is checked: a world, the worlds of its past, and one commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from archetype.errors import LabelNotFoundError, TickNotFoundError, WorldNotFoundError
from archetype.log.lineage import Lineage
from archetype.log.payload_fields import as_uuid, is_world_name
from archetype.service.references import Reference
from archetype.service.verification.faults import CheckedCommit
from archetype.store import audit, labels
from archetype.store.database import Reading
from archetype.store.raw_rows import RawRow, read_row
from archetype.store.schema import ticks, worlds

__all__ = ["Scope", "find_scope"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows of a world and of those that own its past, the oldest first, and the commit it is about."""

    rows: list[RawRow]
    commit: CheckedCommit | None


async def find_scope(reading: Reading, reference: str) -> Scope:
    """Find what a reference names, by what the rows of the worlds say; archived worlds go by their ids.

    Without a tick it is about the last commit, which a world without ticks has none of. Raises
    `InvalidInputError`, `WorldNotFoundError`, `TickNotFoundError` or `LabelNotFoundError`.
    """
    named = Reference.parse(reference)
    chain = await _chain(reading, named.world)
    world = _values(chain[0])
    lineage = Lineage([(values["world_id"], _whole(values["fork_tick"])) for values in map(_values, chain)])
    tick = last = _whole(world["committed_tick"], -1)
    if named.tick is not None:
        tick = named.tick
    elif named.back is not None:
        tick = last - named.back
    elif named.label is not None:
        tick = await _labelled(reading, lineage, named.label)
    if named.names_tick and not 0 <= tick <= last:
        msg = f"{reference!r} names tick {tick}, which is not committed; the last one is {last}"
        raise TickNotFoundError(msg, tick=tick, committed_tick=last)
    commit = await _commit(reading, world["world_id"], lineage.owner_of(tick), tick) if tick >= 0 else None
    return Scope(chain[::-1], commit)


async def _chain(reading: Reading, reference: str) -> list[RawRow]:
    """Return the rows from a world to the oldest that owns some of its past, as far as they are there."""
    row = await _world_row(reading, reference)
    if row is None:
        msg = f"world {reference!r} does not exist; one that was removed goes by its id"
        raise WorldNotFoundError(msg, world=reference)
    chain, seen = [row], {row.world_id}
    while True:
        values = _values(chain[-1])
        parent_id, fork_tick = values["parent_id"], values["fork_tick"]
        if not isinstance(parent_id, UUID) or not isinstance(fork_tick, int) or fork_tick < 0:
            return chain
        parent = await _first(reading, audit.select_worlds(parent_id))
        if parent is None or parent.world_id in seen:
            return chain  # the check of the fork says so
        chain.append(parent)
        seen.add(parent.world_id)


async def _world_row(reading: Reading, reference: str) -> RawRow | None:
    world_id = as_uuid(reference)
    if world_id is None and not is_world_name(reference):
        return None
    named = audit.select_worlds(name=reference) if world_id is None else audit.select_worlds(world_id)
    return await _first(reading, named)


async def _labelled(reading: Reading, lineage: Lineage, label: str) -> int:
    found = await reading.read(lambda connection: labels.find_inherited(connection, lineage.segments, label))
    if found is None:
        msg = f"the world has no label {label!r}; `archetype world labels` lists them"
        raise LabelNotFoundError(msg, label=label)
    return found.tick


async def _commit(reading: Reading, world_id: UUID, owner_id: UUID, tick: int) -> CheckedCommit:
    found = await _first(reading, audit.select_ticks(owner_id, tick))
    value = None if found is None else read_row(ticks, found).values["commit_hash"]
    return CheckedCommit(world_id, tick, value if isinstance(value, bytes) else None)


async def _first(reading: Reading, statement: Any) -> RawRow | None:
    return await reading.read(lambda connection: connection.execute(statement).first())


def _values(row: RawRow) -> Any:
    return read_row(worlds, row).values


def _whole(value: Any, otherwise: Any = None) -> Any:
    """A column that may hold anything: what is no number is a fault, but not of the reference."""
    return value if type(value) is int else otherwise
