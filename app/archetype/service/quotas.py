"""Quotas: showing what an actor may ask for and has used up, and setting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import QUOTA_MAX
from archetype.log.costs import Quota
from archetype.log.hashes import iso_utc
from archetype.service.gate import LOCAL, Principal
from archetype.store import usage as store
from archetype.store.acts import ActType, lock_acts, record_act
from archetype.store.database import Database
from archetype.store.identities import ActorRow, find_actor, list_actors

__all__ = ["QUOTA_FIELDS", "ActorQuota", "QuotaService"]

QUOTA_FIELDS = ("commands_per_tick", "tokens_per_day")


@dataclass(frozen=True, slots=True)
class ActorQuota:
    """What an actor may ask for, None without a limit, and what they used up on a UTC day until `resets_at`.

    `is_default` says that none was set for them. Without an `actor_id` it is who is not limited at all.
    """

    actor_id: UUID | None
    actor: str
    commands_per_tick: int | None
    tokens_per_day: int | None
    is_default: bool
    day: str
    commands_used: int
    tokens_used: int
    tokens_left: int | None
    resets_at: datetime
    changed_at: datetime | None
    reason: str | None


class QuotaService:
    """Quotas of actors. Whoever calls it has passed the gate, or holds the database itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def show(self, name: str) -> ActorQuota:
        """Return the quota of the actor of that name; `IdentityNotFoundError` if there is none."""
        return await self._database.read(lambda connection: _of(connection, find_actor(connection, name)))

    async def show_all(self) -> list[ActorQuota]:
        """Return the quotas of all actors in the order of their making."""
        return await self._database.read(
            lambda connection: [_of(connection, actor) for actor in list_actors(connection)]
        )

    async def of(self, actor_id: UUID | None, name: str) -> ActorQuota:
        """Return the quota of whoever asks, be they in the list of actors or not."""
        if actor_id is None:
            return _unlimited(name)
        usage = await self._database.read(lambda connection: store.find_usage(connection, actor_id))
        return _quota(usage, name)

    async def set(
        self,
        name: str,
        change: Mapping[str, int | None],
        *,
        reason: str | None = None,
        by: Principal = LOCAL,
    ) -> ActorQuota:
        """Set what `change` names of an actor's quota, from the next command on; the rest stays as it is.

        None is without a limit. Raises `InvalidInputError` for what is no quota, `IdentityNotFoundError`.
        """
        _check(change)

        def write(connection: Connection) -> ActorQuota:
            lock_acts(connection)
            actor = find_actor(connection, name)
            before = store.find_usage(connection, actor.actor_id).quota
            quota = Quota(**{field: change.get(field, getattr(before, field)) for field in QUOTA_FIELDS})
            usage = store.set_quota(connection, actor.actor_id, quota, reason)
            detail: dict[str, Any] = {"actor_id": str(actor.actor_id), "name": name}
            detail |= {field: getattr(quota, field) for field in QUOTA_FIELDS}
            detail["changed_at"] = None if usage.changed_at is None else iso_utc(usage.changed_at)
            record_act(connection, ActType.SET_QUOTA, detail, by.acting(reason))
            return _quota(usage, actor.name)

        return await self._database.write(write)


def _check(change: Mapping[str, int | None]) -> None:
    if not change:
        msg = f"must name what to change: {' or '.join(QUOTA_FIELDS)}"
        raise InvalidInputError(f"the change {msg}", faults=[FieldFault("", msg)])
    for field, value in change.items():
        if field not in QUOTA_FIELDS:
            msg = f"is no quota; there are {' and '.join(QUOTA_FIELDS)}"
            raise InvalidInputError(f"{field} {msg}", faults=[FieldFault(field, msg)])
        if value is not None and not 0 <= value <= QUOTA_MAX:
            msg = f"must be a whole number from 0 to {QUOTA_MAX}, or none for no limit, not {value!r}"
            raise InvalidInputError(f"{field} {msg}", faults=[FieldFault(field, msg)])


def _unlimited(name: str) -> ActorQuota:
    """Return the quota of who is no actor: the single user of a database without keys."""
    today = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    return ActorQuota(
        actor_id=None,
        actor=name,
        commands_per_tick=None,
        tokens_per_day=None,
        is_default=True,
        day=store.day_of(today),
        commands_used=0,
        tokens_used=0,
        tokens_left=None,
        resets_at=today + timedelta(days=1),
        changed_at=None,
        reason=None,
    )


def _of(connection: Connection, actor: ActorRow) -> ActorQuota:
    return _quota(store.find_usage(connection, actor.actor_id), actor.name)


def _quota(usage: store.Usage, name: str) -> ActorQuota:
    allowed = usage.quota.tokens_per_day
    day = datetime.fromisoformat(usage.day).replace(tzinfo=UTC)
    return ActorQuota(
        actor_id=usage.actor_id,
        actor=name,
        commands_per_tick=usage.quota.commands_per_tick,
        tokens_per_day=allowed,
        is_default=usage.is_default,
        day=usage.day,
        commands_used=usage.commands,
        tokens_used=usage.tokens,
        tokens_left=None if allowed is None else max(0, allowed - usage.tokens),
        resets_at=day + timedelta(days=1),
        changed_at=usage.changed_at,
        reason=usage.reason,
    )
