"""Leases: who may run a world, until when, and what only its holder may write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import is_alive
from archetype.errors import WorldBusyError
from archetype.log.facts import Fact, FactType
from archetype.store.append import lock_log
from archetype.store.log import record_facts
from archetype.store.schema import worlds
from archetype.store.worlds import WorldRow

__all__ = [
    "IS_HELD",
    "LEASE_TTL_S",
    "Lease",
    "holder",
    "is_leased",
    "renew_lease",
    "reserve_entity_ids",
    "take_lease",
]

LEASE_TTL_S = 10.0
"""How long a dead owner on another machine keeps a world from the others."""

_BELIEVED_S = 2 * LEASE_TTL_S
"""A lease that ends later was written before the clock was set back: a step of less takes nobody's lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a world: the owner, its fencing token, and for how long at a time."""

    owner: str
    epoch: int
    ttl_s: float


def is_leased(owner: str | None, until: datetime | None, now: datetime) -> bool:
    """Tell whether a process that may still live holds a lease.

    One that ends later than any that was written by now is over too: else a dead owner would hold it for as
    long as the clock was set back. A living one that loses it so cannot commit, as with any other.
    """
    if owner is None or until is None:
        return False
    return timedelta() < until - now <= timedelta(seconds=_BELIEVED_S) and is_alive(owner)


def take_lease(world: WorldRow, owner: str, ttl_s: float, *, now: datetime) -> Lease:
    """Give the right to run a world, with a new epoch where another had it; nothing is written yet.

    Raises `WorldBusyError` while another living process holds it.
    """
    last, until = world.lease_owner, world.lease_until
    if last is None or until is None or last == owner:
        return Lease(owner, world.lease_epoch + (last != owner), ttl_s)
    if is_leased(last, until, now):
        remaining_s = (until - now).total_seconds()
        msg = f"world {world.name!r} is run by {last} just now; try again in {remaining_s:.0f} s"
        raise WorldBusyError(msg, owner=last, retry_after_s=max(remaining_s, 1.0))
    return Lease(owner, world.lease_epoch + 1, ttl_s)


def renew_lease(connection: Connection, world_id: UUID, lease: Lease) -> bool:
    """Hold a lease for longer; False when it belongs to another owner by now."""
    parameters = holder(world_id, lease, lock_log(connection))
    return connection.execute(_RENEW_LEASE, parameters).rowcount == 1


def reserve_entity_ids(
    connection: Connection, world_id: UUID, lease: Lease, *, tick: int, count: int
) -> int | None:
    """Take entity ids for what a tick spawns, and record it; return the first, None if the lease is lost.

    Ids of a tick that is never committed are not used again.
    """
    now = lock_log(connection)
    parameters = holder(world_id, lease, now) | {"count": count}
    row = connection.execute(_TAKE_IDS, parameters).one_or_none()
    if row is None:
        return None
    first_id = row.next_entity_id - count
    fact = Fact(FactType.ENTITY_IDS_RESERVED, tick, {"first_entity_id": first_id, "count": count})
    record_facts(connection, world_id, [fact], first_version=row.head_version, moment=now)
    return first_id


# Built once: building an expression costs as much as running it.
IS_HELD = sa.and_(
    worlds.c.world_id == sa.bindparam("world"),
    worlds.c.lease_owner == sa.bindparam("owner"),
    worlds.c.lease_epoch == sa.bindparam("epoch"),
)
_RENEW_LEASE = sa.update(worlds).where(IS_HELD).values(lease_until=sa.bindparam("until"))
_TAKE_IDS = (
    sa.update(worlds)
    .where(IS_HELD)
    .values(
        next_entity_id=worlds.c.next_entity_id + sa.bindparam("count", type_=sa.BigInteger),
        head_version=worlds.c.head_version + 1,
        lease_until=sa.bindparam("until"),
    )
    .returning(worlds.c.next_entity_id, worlds.c.head_version)
)


def holder(world_id: UUID, lease: Lease, now: datetime, *, is_kept: bool = True) -> dict[str, Any]:
    """Name a lease, and until when it holds: not a moment longer than its run."""
    until = now + timedelta(seconds=lease.ttl_s if is_kept else 0)
    return {"world": world_id, "owner": lease.owner, "epoch": lease.epoch, "until": until}
