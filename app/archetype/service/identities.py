"""Identities: making, listing and ending actors and their API keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.clock import new_id, new_key_id, new_secret, utc_now
from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import KEY_GRACE_S_MAX, KEY_LIFE_S_MAX, NAME_CHARACTERS_MAX
from archetype.log.permissions import Role
from archetype.service.gate import LOCAL, Gate, Principal, digest_of, spelled_key
from archetype.service.worlds import WorldService
from archetype.store import identities as store
from archetype.store.database import Database
from archetype.store.identities import ActorRow, KeyRow

__all__ = ["Actor", "IdentityService", "IssuedKey", "Key"]

_NAME = re.compile(r"[^\W_][\w.\-]*")


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor as it is listed: `roles` hold in every world, `world_roles` in one each."""

    actor_id: UUID
    name: str
    roles: list[str]
    world_roles: dict[str, list[str]]
    created_at: datetime
    disabled_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed, without its secret; `worlds` are the only ones it is good for, None is all."""

    key_id: str
    actor_id: UUID
    actor: str
    worlds: list[UUID] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key, and the one time that it is shown."""

    key: str = field(repr=False)
    listed: Key


class IdentityService:
    """Actors and keys. Whoever calls it has passed the gate, or holds the database itself.

    Each change records in its own transaction who it is `by`, from where and why.
    """

    def __init__(self, database: Database, worlds: WorldService, gate: Gate) -> None:
        self._database = database
        self._worlds = worlds
        self._gate = gate

    async def create_actor(
        self,
        name: str,
        *,
        roles: Collection[str] = (),
        world_roles: Mapping[str, Collection[str]] | None = None,
        actor_id: UUID | None = None,
        by: Principal = LOCAL,
        reason: str | None = None,
    ) -> Actor:
        """Make an actor; `world_roles` are by the name or id of a world, and hold in that one alone.

        With the same `actor_id` and content again it is answered as the first time. Raises
        `InvalidInputError` for a name or role that is none, `WorldNotFoundError`, `NameTakenError`.
        """
        given = world_roles or {}
        if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
            most = f"at most {NAME_CHARACTERS_MAX} letters, digits, `_`, `.` and `-`"
            msg = f"must be {most}, the first a letter or digit"
            raise InvalidInputError(f"name {msg}", faults=[FieldFault("name", msg)])
        if not roles and not given:
            msg = f"must name at least one of {', '.join(Role)}, for all worlds or for one"
            raise InvalidInputError(f"roles {msg}", faults=[FieldFault("roles", msg)])
        _check_roles(roles, "roles")
        for world, each in given.items():
            _check_roles(each, f"world_roles.{world}")
        by_id = {(await self._worlds.find(world)).world_id: frozenset(each) for world, each in given.items()}
        made = await self._database.write(
            lambda connection: store.add_actor(
                connection,
                actor_id or new_id(),
                name,
                roles=frozenset(roles),
                world_roles=by_id,
                by=by.acting(reason),
            )
        )
        return _actor(made)

    async def list_actors(self) -> list[Actor]:
        """List all actors in the order of their making."""
        return [_actor(row) for row in await self._database.read(store.list_actors)]

    async def disable_actor(self, name: str, *, reason: str | None = None, by: Principal = LOCAL) -> Actor:
        """Let none of an actor's keys hold from now on; it stays in the list, and its name is taken."""
        row = await self._database.write(
            lambda connection: store.disable_actor(connection, name, by.acting(reason))
        )
        self._gate.forget()
        return _actor(row)

    async def create_key(
        self,
        name: str,
        *,
        worlds: Sequence[str] | None = None,
        expires_in_s: int | None = None,
        by: Principal = LOCAL,
        reason: str | None = None,
    ) -> IssuedKey:
        """Give an actor a key, which is shown now and never again.

        `worlds`, by name or id, are the only ones that it is good for. Raises `IdentityNotFoundError`,
        `WorldNotFoundError`, `StateConflictError` where the actor is disabled.
        """
        if worlds is not None and not worlds:
            msg = "must name at least one world; leave it out for a key that is good for all"
            raise InvalidInputError(f"worlds {msg}", faults=[FieldFault("worlds", msg)])
        scope = None
        if worlds is not None:
            scope = frozenset([(await self._worlds.find(world)).world_id for world in worlds])
        expires_at = None
        if expires_in_s is not None:
            _check_seconds("expires_in_s", expires_in_s, 1, KEY_LIFE_S_MAX)
            expires_at = utc_now() + timedelta(seconds=expires_in_s)
        acting = by.acting(reason)

        def add(connection: Connection, key: store.NewKey) -> KeyRow:
            wanted = replace(key, worlds=scope, expires_at=expires_at)
            return store.add_key(connection, name, wanted, acting)

        return await self._issue(add)

    async def list_keys(self, name: str | None = None) -> list[Key]:
        """List all keys, or those of an actor, in the order of their making."""
        return [
            _key(row)
            for row in await self._database.read(lambda connection: store.list_keys(connection, name))
        ]

    async def revoke_key(self, key_id: str, *, by: Principal = LOCAL, reason: str | None = None) -> Key:
        """End a key: at once in this process, within two seconds in others. One that is revoked stays so."""
        row = await self._database.write(
            lambda connection: store.revoke_key(connection, key_id, by.acting(reason))
        )
        self._gate.forget()
        return _key(row)

    async def rotate_key(
        self, key_id: str, *, grace_s: int = 0, by: Principal = LOCAL, reason: str | None = None
    ) -> IssuedKey:
        """Give a key's actor another one in its place, for the same worlds and as long.

        Both or neither happen. The old one is revoked, or holds for `grace_s` seconds more. Raises
        `IdentityNotFoundError`, and `StateConflictError` for a key that does not hold any more.
        """
        _check_seconds("grace_s", grace_s, 0, KEY_GRACE_S_MAX)
        acting = by.acting(reason)
        return await self._issue(
            lambda connection, key: store.replace_key(connection, key_id, key, grace_s=grace_s, by=acting)
        )

    async def _issue(self, store_key: Callable[[Connection, store.NewKey], KeyRow]) -> IssuedKey:
        secret = new_secret()
        key = store.NewKey(new_key_id(), digest_of(secret))
        row = await self._database.write(lambda connection: store_key(connection, key))
        self._gate.forget()
        return IssuedKey(spelled_key(key.key_id, secret), _key(row))


def _check_roles(roles: Collection[str], path: str) -> None:
    unknown = sorted({*roles} - {*Role})
    if unknown:
        msg = f"knows no role {unknown[0]!r}; there are {', '.join(Role)}"
        raise InvalidInputError(f"{path} {msg}", faults=[FieldFault(path, msg)])


def _check_seconds(path: str, given: int, low: int, high: int) -> None:
    if not low <= given <= high:
        msg = f"must be from {low} to {high} seconds, not {given}"
        raise InvalidInputError(f"{path} {msg}", faults=[FieldFault(path, msg)])


def _actor(row: ActorRow) -> Actor:
    return Actor(
        actor_id=row.actor_id,
        name=row.name,
        roles=sorted(row.roles),
        world_roles={str(world_id): sorted(roles) for world_id, roles in row.world_roles.items()},
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        reason=row.reason,
    )


def _key(row: KeyRow) -> Key:
    return Key(
        key_id=row.key_id,
        actor_id=row.actor.actor_id,
        actor=row.actor.name,
        worlds=None if row.worlds is None else sorted(row.worlds),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
