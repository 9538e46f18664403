"""The gate: who asks, and whether they may. Everything that is asked of the service passes here first."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from archetype.clock import monotonic_s, utc_now
from archetype.errors import (
    ArchetypeError,
    AuthenticationError,
    PermissionDeniedError,
    QuotaExceededError,
    UnavailableError,
)
from archetype.limits import KEYS_KEPT_MAX
from archetype.log.command import CommandType
from archetype.log.payload_fields import as_uuid, is_world_name
from archetype.log.permissions import Access, Action, Role, is_permitted
from archetype.service.denials import Denials
from archetype.service.origins import Origins
from archetype.store import identities as store
from archetype.store.acts import Acting
from archetype.store.database import Database
from archetype.store.denials import Origin

__all__ = ["CACHE_S", "KEY_PREFIX", "LOCAL", "Gate", "Principal", "digest_of", "spelled_key"]

KEY_PREFIX = "arct"
CACHE_S = 2.0
"""How long a key is believed without a look at the database: its revocation holds everywhere within it."""
_TOUCH_S = 60.0
_NO_DIGEST = bytes(32)
_ANYWHERE: frozenset[Action] = frozenset({Access.READ_CATALOG, Access.READ_METRICS})
"""What concerns no world: whoever may do it in one of them may do it."""
_COMMANDS: frozenset[Action] = frozenset(CommandType)
"""What ends in the log, which names an actor, but not from where it asked."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as it is proven: `roles` hold in every world, `world_roles` in one each.

    `worlds` are the only ones that the key is good for; None is all. Without an `actor_id` it is who has the
    database in their own hands: a script, or the one user of a server that has no keys yet. `address` is from
    where: a peer's address, or `local` for whoever opened the database.
    """

    actor_id: UUID | None
    name: str
    roles: frozenset[str] = frozenset()
    world_roles: Mapping[UUID, frozenset[str]] = field(default_factory=dict[UUID, frozenset[str]])
    worlds: frozenset[UUID] | None = None
    key_id: str | None = None
    address: str | None = None

    def acting(self, reason: str | None = None) -> Acting:
        """Return who does something, and why, for the record of it."""
        return Acting(self.actor_id, self.key_id, self.address, reason)

    def worlds_for(self, action: Action) -> frozenset[UUID] | None:
        """Return the worlds in which this one may do something; None is in all, and outside of any."""
        if is_permitted(self.roles, action):
            return self.worlds
        some = frozenset(each for each, roles in self.world_roles.items() if is_permitted(roles, action))
        return some if self.worlds is None else some & self.worlds


LOCAL = Principal(None, "local", frozenset({Role.ADMIN}), address="local")
"""The single user of a database that has no keys, and every script without an actor."""


@lru_cache(maxsize=64)
def _local_at(address: str) -> Principal:
    return replace(LOCAL, address=address)


class _Known(NamedTuple):
    key: store.KeyRow
    checked_at_s: float
    touched_at: datetime | None


class Gate:
    """Authenticates callers and authorises what they ask; a denial is made before anything is looked up.

    One place for all: what limits how much an actor may ask for belongs into `require`; who refuses something
    elsewhere tells `denials` so. Without `denials` and `origins` nothing is recorded.
    """

    def __init__(
        self, database: Database, denials: Denials | None = None, origins: Origins | None = None
    ) -> None:
        self._database = database
        self.denials = denials
        self._origins = origins
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._has_keys = False
        self._asked_at_s = -CACHE_S

    async def authenticate(
        self, key: str | None, *, is_local: bool = False, address: str | None = None
    ) -> Principal:
        """Return who holds an API key; without one `LOCAL`, if the caller `is_local` and no key was made.

        A key that was looked up is believed for two seconds, so that requests cost no query each. Raises
        `AuthenticationError`, which says the same of an unknown key and of a wrong secret; `address` is where
        it came from.
        """
        if key is None:
            if is_local and not await self.has_keys():
                return LOCAL if address is None else _local_at(address)
            msg = "an API key is needed: send it as `Authorization: Bearer`, or set ARCHETYPE_API_KEY"
            self._deny_key("no key", address)
            raise AuthenticationError(msg)
        key_id, secret = _parsed(key)
        known = await self._look_up(key_id)
        digest = _NO_DIGEST if known is None else known.key.digest
        is_genuine = hmac.compare_digest(digest_of(secret), digest)
        if known is None or not is_genuine:
            msg = "the API key is not valid: it is unknown, or mistyped"
            # An id that no key has is anybody's invention: kept, each guess would be a row.
            reason = "malformed" if not key_id else "unknown key" if known is None else "wrong secret"
            self._deny_key(reason, address, None if known is None else known.key.key_id)
            raise AuthenticationError(msg)
        over = _over(known.key)
        if over is not None:
            self._deny_key(over.reason, address, known.key.key_id, known.key.actor.actor_id)
            raise _refusal(known.key, over)
        await self._touch(known)
        return _principal(known.key, address)

    async def renewed(self, principal: Principal) -> Principal:
        """Return who was let in a while ago as they are now: their key may be over, their roles others.

        Raises `AuthenticationError` like `authenticate`, also for the single user once there is a key.
        """
        if principal.key_id is None:
            return await self.authenticate(None, is_local=True, address=principal.address)
        known = await self._look_up(principal.key_id)
        if known is None:
            msg = f"key {principal.key_id} is not there any more"
            raise AuthenticationError(msg, key_id=principal.key_id)
        over = _over(known.key)
        if over is not None:
            raise _refusal(known.key, over)
        return _principal(known.key, principal.address)

    async def require(
        self, principal: Principal, action: Action, world: str | UUID | None = None
    ) -> str | UUID | None:
        """Let an action of a principal pass, in a world named by its name or id, or outside of any.

        Returns the world as it is to be looked up: as it came, or for a principal who may not do this
        everywhere by the id that was decided on. Raises `PermissionDeniedError`, which is the same for a
        world that is not there and for one that is not permitted.
        """
        return await self.require_any(principal, (action,), world)

    async def require_any(
        self, principal: Principal, actions: Collection[Action], world: str | UUID | None = None
    ) -> str | UUID | None:
        """Let pass who may do at least one of some actions; which one is asked for is decided later."""
        refusal: PermissionDeniedError | None = None
        for action in actions:
            try:
                decided = await self._decide(principal, action, world)
            except PermissionDeniedError as error:
                refusal = refusal or error
                continue
            if self._origins is not None and principal.address is not None and action in _COMMANDS:
                origin = Origin(principal.actor_id, principal.key_id, principal.address)
                await self._origins.note(origin)
            return decided
        refusal = refusal or PermissionDeniedError("nothing is permitted here")
        self.deny(principal, refusal, "not permitted", action=next(iter(actions), None), world=world)
        raise refusal

    def deny(
        self,
        principal: Principal,
        error: ArchetypeError,
        reason: str,
        *,
        action: str | None = None,
        world: str | UUID | None = None,
    ) -> None:
        """Record that something is refused to a principal; raising the error stays with the caller.

        `reason` is a few fixed words, the same each time, with nothing of what the caller sent.
        """
        if self.denials is not None:
            self.denials.record(
                error.code,
                reason,
                actor_id=principal.actor_id,
                key_id=principal.key_id,
                address=principal.address,
                action=action,
                world=world,
            )

    def deny_excess(
        self, principal: Principal, error: QuotaExceededError, world: str | UUID | None = None
    ) -> None:
        """Record that a principal was refused for going beyond a quota, with which one."""
        self.deny(principal, error, f"beyond {error.details['quota']}", world=world)

    def _deny_key(
        self, reason: str, address: str | None, key_id: str | None = None, actor_id: UUID | None = None
    ) -> None:
        if self.denials is not None:
            self.denials.record(
                AuthenticationError.code, reason, actor_id=actor_id, key_id=key_id, address=address
            )

    async def _decide(
        self, principal: Principal, action: Action, world: str | UUID | None
    ) -> str | UUID | None:
        permitted = principal.worlds_for(action)
        if permitted is None or (world is None and action in _ANYWHERE and permitted):
            return world
        world_id = await self._permitted_world(world, permitted)
        if world_id is None:
            where = "" if world is None else f" in world {str(world)!r}"
            msg = f"actor {principal.name!r} may not {action}{where}; `archetype whoami` says what it may"
            raise PermissionDeniedError(msg, action=action.value)
        return world_id

    async def has_keys(self) -> bool:
        """Tell whether any key was ever made, as of two seconds ago at most."""
        if not self._has_keys and monotonic_s() - self._asked_at_s >= CACHE_S:
            self._has_keys = await self._database.read(store.has_keys)
            self._asked_at_s = monotonic_s()
        return self._has_keys

    @property
    def knows_keys(self) -> bool:
        """Whether it is known by now that there are keys."""
        return self._has_keys

    def forget(self) -> None:
        """Believe nothing that was looked up before: identities were changed in this process."""
        self._known = OrderedDict()
        self._asked_at_s = -CACHE_S

    async def _look_up(self, key_id: str) -> _Known | None:
        known = self._known.get(key_id)
        now_s = monotonic_s()
        if known is not None and now_s - known.checked_at_s < CACHE_S:
            return known
        # What is read before `forget` must not come back behind it.
        keep = self._known
        key = await self._database.read(lambda connection: store.find_key(connection, key_id))
        if key is None:
            keep.pop(key_id, None)
            return None
        # Only keys that are there are kept, or guesses would push them out.
        found = keep[key_id] = _Known(key, now_s, key.last_used_at)
        keep.move_to_end(key_id)
        while len(keep) > KEYS_KEPT_MAX:
            keep.popitem(last=False)
        return found

    async def _touch(self, known: _Known) -> None:
        now = utc_now()
        if known.touched_at is not None and (now - known.touched_at).total_seconds() < _TOUCH_S:
            return
        key_id = known.key.key_id
        if self._known.get(key_id) is known:
            self._known[key_id] = known._replace(touched_at=now)
        # When a key was used last is good to know, and no reason to refuse it.
        with suppress(UnavailableError):
            await self._database.write(
                lambda connection: store.touch_key(connection, key_id, every_s=_TOUCH_S)
            )

    async def _permitted_world(self, world: str | UUID | None, permitted: Collection[UUID]) -> UUID | None:
        if world is None or not permitted:
            return None
        world_id = world if isinstance(world, UUID) else as_uuid(world)
        if world_id is not None:
            return world_id if world_id in permitted else None
        name = str(world)
        if not is_world_name(name):
            return None
        return await self._database.read(
            lambda connection: store.find_permitted_world(connection, name, permitted)
        )


def digest_of(secret: str) -> bytes:
    """Return what is stored of a secret: its 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def spelled_key(key_id: str, secret: str) -> str:
    """Spell an API key as its owner is shown it, once."""
    return f"{KEY_PREFIX}_{key_id}_{secret}"


def _parsed(key: str) -> tuple[str, str]:
    """Return a key's public id and its secret; what is no key at all has the id of none."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == KEY_PREFIX and key_id.isascii() and key_id.isalnum() else ("", key)


def _principal(key: store.KeyRow, address: str | None) -> Principal:
    actor = key.actor
    return Principal(
        actor.actor_id, actor.name, actor.roles, actor.world_roles, key.worlds, key.key_id, address
    )


class _Over(NamedTuple):
    reason: str
    what: str


def _refusal(key: store.KeyRow, over: _Over) -> AuthenticationError:
    msg = f"{over.what}; ask an administrator for another key"
    return AuthenticationError(msg, key_id=key.key_id)


def _over(key: store.KeyRow) -> _Over | None:
    """Return why a key does not hold any more; whoever hears of it has shown its secret."""
    if key.actor.disabled_at is not None:
        return _Over("disabled actor", f"actor {key.actor.name!r} is disabled")
    if key.revoked_at is not None:
        return _Over("revoked key", f"key {key.key_id} is revoked")
    if key.expires_at is not None and key.expires_at <= utc_now():
        return _Over("expired key", f"key {key.key_id} has expired")
    return None
