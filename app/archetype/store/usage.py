"""What actors have used up, and what they may: counted in the transaction that accepts their commands.

On PostgreSQL `append_commands` counts by itself; this is the same for SQLite, and for worlds that are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import utc_now
from archetype.errors import QuotaExceededError
from archetype.log.costs import DEFAULT_QUOTA, Quota
from archetype.store.moments import database_now
from archetype.store.schema import daily_usage, quotas

__all__ = [
    "Excess",
    "Meter",
    "Share",
    "Usage",
    "day_of",
    "exceeded",
    "find_usage",
    "set_quota",
]

_TICK_RETRY_S = 1.0


class Share(NamedTuple):
    """What commands of one actor take: places in a tick, and tokens. Without a tick only tokens count."""

    actor_id: UUID
    world_id: UUID
    tick: int | None
    tokens: int
    commands: int = 1


class Excess(NamedTuple):
    """Which quota a group goes beyond: the name of the quota, what was used up before it, what is allowed."""

    quota: str
    used: int
    allowed: int


def day_of(moment: datetime) -> str:
    """Return the UTC day that tokens are counted in, as `2026-01-31`."""
    return moment.date().isoformat()


def exceeded(excess: Excess, *, actor_id: UUID | None) -> QuotaExceededError:
    """Return the error for commands that would go beyond a quota; nothing was debited."""
    if excess.quota == "commands_per_tick":
        what = f"{excess.used} of {excess.allowed} commands for this tick"
        remedy, wait_s = "let the tick run, or send more rows in one command", _TICK_RETRY_S
    else:
        now = utc_now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        what = f"{excess.used} of {excess.allowed} tokens of this UTC day"
        remedy, wait_s = "wait for the next day", (midnight - now).total_seconds()
    msg = (
        f"the actor has used {what}, and what was asked for goes beyond; {remedy}, "
        "or let an administrator raise it with `archetype quota set`"
    )
    return QuotaExceededError(
        msg,
        actor_id=str(actor_id),
        quota=excess.quota,
        used=excess.used,
        allowed=excess.allowed,
        retry_after_s=wait_s,
    )


class Meter:
    """Counts what one transaction takes; its caller holds the log's lock, and writes at the end.

    `execute` runs a statement with named parameters and returns its rows; `spelled` gives an id as that
    takes it.
    """

    def __init__(
        self,
        execute: Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]],
        spelled: Callable[[UUID], Any],
        moment: datetime,
    ) -> None:
        self._execute = execute
        self._spelled = spelled
        self._day = day_of(moment)
        self._quotas: dict[UUID, Quota] = {}
        self._before: dict[object, int] = {}
        self._ticks: dict[tuple[UUID, UUID, int], int] = {}
        self._days: dict[UUID, tuple[int, int]] = {}

    def excess(self, group: Iterable[Share]) -> Excess | None:
        """Return which quota a group would go beyond, behind what is charged already; None if it fits."""
        ticks: dict[tuple[UUID, UUID, int], int] = {}
        tokens: dict[UUID, int] = {}
        for share in group:
            if share.tick is not None:
                place = (share.actor_id, share.world_id, share.tick)
                ticks[place] = ticks.get(place, 0) + share.commands
            tokens[share.actor_id] = tokens.get(share.actor_id, 0) + share.tokens
        for place, count in ticks.items():
            allowed = self._quota(place[0]).commands_per_tick
            if allowed is not None:
                used = self._used_in_tick(place) + self._ticks.get(place, 0)
                if used + count > allowed:
                    return Excess("commands_per_tick", used, allowed)
        for actor_id, count in tokens.items():
            allowed = self._quota(actor_id).tokens_per_day
            if allowed is not None:
                used = self._used_today(actor_id) + self._days.get(actor_id, (0, 0))[1]
                if used + count > allowed:
                    return Excess("tokens_per_day", used, allowed)
        return None

    def charge(self, group: Iterable[Share]) -> None:
        """Count what was accepted."""
        for share in group:
            if share.tick is not None:
                place = (share.actor_id, share.world_id, share.tick)
                self._ticks[place] = self._ticks.get(place, 0) + share.commands
            commands, tokens = self._days.get(share.actor_id, (0, 0))
            self._days[share.actor_id] = (commands + share.commands, tokens + share.tokens)

    def write(self) -> None:
        """Write what was counted, and forget ticks that are committed: they take no more commands."""
        for actor_id, world_id in {place[:2] for place in self._ticks}:
            self._execute(_FORGET, {"actor": self._spelled(actor_id), "world": self._spelled(world_id)})
        for (actor_id, world_id, tick), count in self._ticks.items():
            place = {"actor": self._spelled(actor_id), "world": self._spelled(world_id), "tick": tick}
            self._execute(_ADD_TO_TICK, {**place, "count": count})
        for actor_id, (commands, tokens) in self._days.items():
            spent = {"count": commands, "tokens": tokens}
            self._execute(_ADD_TO_DAY, {"actor": self._spelled(actor_id), "day": self._day, **spent})

    def _quota(self, actor_id: UUID) -> Quota:
        if actor_id not in self._quotas:
            rows = self._execute(_QUOTA, {"actor": self._spelled(actor_id)})
            self._quotas[actor_id] = Quota(*rows[0]) if rows else DEFAULT_QUOTA
        return self._quotas[actor_id]

    def _used_in_tick(self, place: tuple[UUID, UUID, int]) -> int:
        if place not in self._before:
            actor, world = self._spelled(place[0]), self._spelled(place[1])
            rows = self._execute(_TICK_USED, {"actor": actor, "world": world, "tick": place[2]})
            self._before[place] = rows[0][0] if rows else 0
        return self._before[place]

    def _used_today(self, actor_id: UUID) -> int:
        if actor_id not in self._before:
            rows = self._execute(_DAY_USED, {"actor": self._spelled(actor_id), "day": self._day})
            self._before[actor_id] = rows[0][0] if rows else 0
        return self._before[actor_id]


_QUOTA = "SELECT commands_per_tick, tokens_per_day FROM quotas WHERE actor_id = :actor"
_TICK_USED = "SELECT commands FROM tick_usage WHERE actor_id = :actor AND world_id = :world AND tick = :tick"
_DAY_USED = "SELECT tokens FROM daily_usage WHERE actor_id = :actor AND day = :day"
_FORGET = (
    "DELETE FROM tick_usage WHERE actor_id = :actor AND world_id = :world "
    "AND tick <= (SELECT committed_tick FROM worlds WHERE world_id = :world)"
)
_ADD_TO_TICK = (
    "INSERT INTO tick_usage (actor_id, world_id, tick, commands) VALUES (:actor, :world, :tick, :count) "
    "ON CONFLICT (actor_id, world_id, tick) DO UPDATE SET commands = tick_usage.commands + excluded.commands"
)
_ADD_TO_DAY = (
    "INSERT INTO daily_usage (actor_id, day, commands, tokens) VALUES (:actor, :day, :count, :tokens) "
    "ON CONFLICT (actor_id, day) DO UPDATE SET commands = daily_usage.commands + excluded.commands, "
    "tokens = daily_usage.tokens + excluded.tokens"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """An actor's quota, whether it was set for them, and what they used up of it on a day."""

    actor_id: UUID
    quota: Quota
    is_default: bool
    day: str
    commands: int
    tokens: int
    changed_at: datetime | None
    reason: str | None


def find_usage(connection: Connection, actor_id: UUID) -> Usage:
    """Return the quota of an actor and what they used up today, by the database's clock."""
    today = day_of(database_now(connection))
    row = connection.execute(sa.select(*quotas.columns).where(quotas.c.actor_id == actor_id)).one_or_none()
    used = connection.execute(
        sa.select(daily_usage.c.commands, daily_usage.c.tokens).where(
            daily_usage.c.actor_id == actor_id, daily_usage.c.day == today
        )
    ).one_or_none()
    quota = DEFAULT_QUOTA if row is None else Quota(row.commands_per_tick, row.tokens_per_day)
    return Usage(
        actor_id=actor_id,
        quota=quota,
        is_default=row is None,
        day=today,
        commands=0 if used is None else used.commands,
        tokens=0 if used is None else used.tokens,
        changed_at=None if row is None else row.changed_at,
        reason=None if row is None else row.reason,
    )


def set_quota(connection: Connection, actor_id: UUID, quota: Quota, reason: str | None) -> Usage:
    """Set the quota of an actor, from the next command on; the default one leaves no row.

    Whoever sets one by what it was holds the lock of the acts, so that nobody sets another meanwhile.
    """
    connection.execute(quotas.delete().where(quotas.c.actor_id == actor_id))
    if quota != DEFAULT_QUOTA:
        row = {
            "actor_id": actor_id,
            "commands_per_tick": quota.commands_per_tick,
            "tokens_per_day": quota.tokens_per_day,
            "changed_at": database_now(connection),
            "reason": reason,
        }
        connection.execute(quotas.insert(), row)
    return find_usage(connection, actor_id)
