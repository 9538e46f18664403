"""Actors and their API keys. They are no history: nothing of them follows from the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from archetype.errors import IdentityNotFoundError, NameTakenError, StateConflictError
from archetype.log.hashes import iso_utc
from archetype.store.acts import UNNAMED, Acting, ActType, lock_acts, record_act
from archetype.store.moments import database_now
from archetype.store.schema import actors, administrative_acts, keys, worlds

__all__ = [
    "ActorRow",
    "KeyRow",
    "NewKey",
    "add_actor",
    "add_key",
    "disable_actor",
    "find_actor",
    "find_key",
    "find_permitted_world",
    "has_keys",
    "list_actors",
    "list_keys",
    "replace_key",
    "required_key",
    "revoke_key",
    "touch_key",
]


@dataclass(frozen=True, slots=True)
class ActorRow:
    """An actor as its row says; `world_roles` hold in one world each, beside `roles`, which hold in all."""

    actor_id: UUID
    name: str
    roles: frozenset[str]
    world_roles: Mapping[UUID, frozenset[str]]
    created_at: datetime
    disabled_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be stored: the digest of its secret, and the worlds that it is good for (None is all)."""

    key_id: str
    digest: bytes = field(repr=False)
    worlds: frozenset[UUID] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as its row says, and the actor whose it is."""

    key_id: str
    actor: ActorRow
    digest: bytes = field(repr=False)
    worlds: frozenset[UUID] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def add_actor(
    connection: Connection,
    actor_id: UUID,
    name: str,
    *,
    roles: Collection[str],
    world_roles: Mapping[UUID, Collection[str]],
    by: Acting = UNNAMED,
) -> ActorRow:
    """Make an actor; with the same id, name and roles again it is answered as the first time.

    Raises `NameTakenError` where another actor has the name, also a disabled one.
    """
    row: dict[str, Any] = {
        "actor_id": actor_id,
        "name": name,
        "roles": json.dumps(sorted(roles)),
        "world_roles": json.dumps(
            {str(world_id): sorted(each) for world_id, each in sorted(world_roles.items())}
        ),
        "created_at": database_now(connection),
    }
    try:
        with connection.begin_nested():
            connection.execute(actors.insert(), row)
    except IntegrityError:
        found = _actor(connection, actors.c.actor_id == actor_id)
        wanted = (name, frozenset(roles), {each: frozenset(given) for each, given in world_roles.items()})
        if found is not None and (found.name, found.roles, found.world_roles) == wanted:
            return found
        msg = f"an actor is named {name!r} already; choose another name"
        raise NameTakenError(msg, name=name) from None
    detail = {
        "actor_id": str(actor_id),
        "name": name,
        "roles": row["roles"],
        "world_roles": row["world_roles"],
        "created_at": iso_utc(row["created_at"]),
    }
    record_act(connection, ActType.CREATE_ACTOR, detail, by)
    return find_actor(connection, name)


def find_actor(connection: Connection, name: str) -> ActorRow:
    """Return the actor of that name; `IdentityNotFoundError` if there is none."""
    found = _actor(connection, actors.c.name == name)
    if found is None:
        msg = f"no actor is named {name!r}; `archetype actor list` shows them"
        raise IdentityNotFoundError(msg, name=name)
    return found


def _actor(connection: Connection, condition: sa.ColumnElement[bool]) -> ActorRow | None:
    row = connection.execute(sa.select(*actors.columns).where(condition)).mappings().one_or_none()
    return None if row is None else _actor_row(row)


def list_actors(connection: Connection) -> list[ActorRow]:
    """Return all actors in the order of their making."""
    rows = connection.execute(sa.select(*actors.columns).order_by(actors.c.actor_id)).mappings()
    return [_actor_row(row) for row in rows]


def disable_actor(connection: Connection, name: str, by: Acting = UNNAMED) -> ActorRow:
    """Let none of an actor's keys hold from now on; one that is disabled already stays as it is."""
    lock_acts(connection)
    actor = find_actor(connection, name)
    if actor.disabled_at is not None:
        return actor
    moment = database_now(connection)
    change = {"disabled_at": moment, "reason": by.reason}
    connection.execute(actors.update().where(actors.c.actor_id == actor.actor_id).values(change))
    detail = {"actor_id": str(actor.actor_id), "name": name, "disabled_at": iso_utc(moment)}
    record_act(connection, ActType.DISABLE_ACTOR, detail, by)
    return find_actor(connection, name)


def add_key(connection: Connection, name: str, key: NewKey, by: Acting = UNNAMED) -> KeyRow:
    """Give the actor of that name a key; `StateConflictError` where it is disabled."""
    lock_acts(connection)
    made = _insert_key(connection, name, key)
    record_act(connection, ActType.CREATE_KEY, _spelled(made), by)
    return made


def replace_key(
    connection: Connection, key_id: str, key: NewKey, *, grace_s: int = 0, by: Acting = UNNAMED
) -> KeyRow:
    """Give the actor of a key another one, for the same worlds and as long; its id and digest are `key`'s.

    The old one is revoked, or holds for `grace_s` seconds more. Raises `StateConflictError` for one that does
    not hold any more, or has a successor: by its own end a third one's life could not be told.
    """
    lock_acts(connection)
    old = required_key(connection, key_id)
    moment = database_now(connection)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= moment):
        msg = f"key {key_id} does not hold any more; make a new one with `archetype key create`"
        raise StateConflictError(msg, key_id=key_id)
    if (successor := _successor(connection, key_id)) is not None:
        msg = f"key {key_id} was rotated already and holds on for a while only; rotate {successor}"
        raise StateConflictError(msg, key_id=key_id, successor=successor)
    expires_at = None if old.expires_at is None else moment + (old.expires_at - old.created_at)
    old = _end_key(connection, old, grace_s=grace_s)
    made = _insert_key(connection, old.actor.name, replace(key, worlds=old.worlds, expires_at=expires_at))
    detail = _spelled(made) | {"replaced": key_id, "replaced_ends": _spelled_end(old)}
    record_act(connection, ActType.ROTATE_KEY, detail, by)
    return made


def _successor(connection: Connection, key_id: str) -> str | None:
    """Return the key that an act put in the place of another."""
    act = sa.select(administrative_acts.c.detail).where(
        administrative_acts.c.act == ActType.ROTATE_KEY,
        administrative_acts.c.detail.contains(f'"replaced":"{key_id}"', autoescape=True),
    )
    detail = connection.scalar(act.limit(1))
    return None if detail is None else json.loads(detail)["key_id"]


def revoke_key(connection: Connection, key_id: str, by: Acting = UNNAMED) -> KeyRow:
    """End a key; `IdentityNotFoundError` for an unknown one, and one that is revoked stays as it is."""
    lock_acts(connection)
    key = required_key(connection, key_id)
    if key.revoked_at is not None:
        return key
    ended = _end_key(connection, key)
    detail = {"key_id": key_id, "actor": key.actor.name, "ends": _spelled_end(ended)}
    record_act(connection, ActType.REVOKE_KEY, detail, by)
    return ended


def _insert_key(connection: Connection, name: str, key: NewKey) -> KeyRow:
    actor = find_actor(connection, name)
    if actor.disabled_at is not None:
        msg = f"actor {name!r} is disabled, so no key of it would hold; make another actor"
        raise StateConflictError(msg, name=name)
    row = {
        "key_id": key.key_id,
        "actor_id": actor.actor_id,
        "digest": key.digest,
        "worlds": None if key.worlds is None else json.dumps(sorted(map(str, key.worlds))),
        "created_at": database_now(connection),
        "expires_at": key.expires_at,
    }
    connection.execute(keys.insert(), row)
    return required_key(connection, key.key_id)


def _end_key(connection: Connection, key: KeyRow, *, grace_s: int = 0) -> KeyRow:
    """Revoke a key, or with a grace let it expire after so many seconds, if it does not do so sooner."""
    moment = database_now(connection)
    change: dict[str, Any] = {"revoked_at": moment}
    if grace_s:
        end = moment + timedelta(seconds=grace_s)
        change = {"expires_at": end if key.expires_at is None else min(key.expires_at, end)}
    connection.execute(keys.update().where(keys.c.key_id == key.key_id).values(change))
    return required_key(connection, key.key_id)


def _spelled(key: KeyRow) -> dict[str, Any]:
    """Spell what an act tells of a new key: all but its digest, which stands there by a hash of its own."""
    return {
        "key_id": key.key_id,
        "actor_id": str(key.actor.actor_id),
        "actor": key.actor.name,
        "worlds": None if key.worlds is None else json.dumps(sorted(map(str, key.worlds))),
        "created_at": iso_utc(key.created_at),
        "digest_hash": hashlib.sha256(key.digest).hexdigest(),
        "ends": _spelled_end(key),
    }


def _spelled_end(key: KeyRow) -> dict[str, str | None]:
    ends = {"expires_at": key.expires_at, "revoked_at": key.revoked_at}
    return {name: None if moment is None else iso_utc(moment) for name, moment in ends.items()}


def find_key(connection: Connection, key_id: str) -> KeyRow | None:
    """Return a key and its actor, or None."""
    rows = _key_rows(connection, keys.c.key_id == key_id)
    return rows[0] if rows else None


def required_key(connection: Connection, key_id: str) -> KeyRow:
    """Return a key and its actor; `IdentityNotFoundError` if there is none of that id."""
    found = find_key(connection, key_id)
    if found is None:
        msg = f"no key has the id {key_id!r}; `archetype key list` shows them"
        raise IdentityNotFoundError(msg, key_id=key_id)
    return found


def list_keys(connection: Connection, name: str | None = None) -> list[KeyRow]:
    """Return all keys, or those of an actor, in the order of their making."""
    if name is None:
        return _key_rows(connection, sa.true())
    return _key_rows(connection, keys.c.actor_id == find_actor(connection, name).actor_id)


def has_keys(connection: Connection) -> bool:
    """Tell whether any key was ever made; one that no longer holds counts as well."""
    return connection.execute(sa.select(keys.c.key_id).limit(1)).first() is not None


def touch_key(connection: Connection, key_id: str, *, every_s: float) -> None:
    """Note that a key is used now, unless that was noted within the last `every_s` seconds."""
    moment = database_now(connection)
    is_stale = sa.or_(
        keys.c.last_used_at.is_(None), keys.c.last_used_at < moment - timedelta(seconds=every_s)
    )
    connection.execute(keys.update().where(keys.c.key_id == key_id, is_stale).values(last_used_at=moment))


def find_permitted_world(connection: Connection, name: str, world_ids: Collection[UUID]) -> UUID | None:
    """Return the live world of that name if it is one of these; any other is as if it were not there."""
    statement = sa.select(worlds.c.world_id).where(
        worlds.c.name == name, worlds.c.archived_at.is_(None), worlds.c.world_id.in_(list(world_ids))
    )
    return connection.scalar(statement)


def _key_rows(connection: Connection, condition: sa.ColumnElement[bool]) -> list[KeyRow]:
    of_actor = [column.label(f"actor_{column.name}") for column in actors.columns]
    statement = (
        sa.select(*keys.columns, *of_actor)
        .join(actors, actors.c.actor_id == keys.c.actor_id)
        .where(condition)
        .order_by(keys.c.created_at, keys.c.key_id)
    )
    return [_key_row(row) for row in connection.execute(statement).mappings()]


def _key_row(row: RowMapping) -> KeyRow:
    plain = {column.name: row[column] for column in keys.columns if column.name != "actor_id"}
    scope = plain["worlds"]
    plain["worlds"] = None if scope is None else frozenset(map(UUID, json.loads(scope)))
    actor = _actor_row({column.name: row[f"actor_{column.name}"] for column in actors.columns})
    return KeyRow(actor=actor, **plain)


def _actor_row(row: RowMapping | Mapping[str, Any]) -> ActorRow:
    roles: Sequence[str] = json.loads(row["roles"])
    world_roles: Mapping[str, Sequence[str]] = json.loads(row["world_roles"])
    return ActorRow(
        actor_id=row["actor_id"],
        name=row["name"],
        roles=frozenset(roles),
        world_roles={UUID(world_id): frozenset(each) for world_id, each in world_roles.items()},
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        reason=row["reason"],
    )
