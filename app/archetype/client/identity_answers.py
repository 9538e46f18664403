"""The shapes of what the server says of actors, keys, quotas, and what it keeps of denials and acts."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = ["Act", "Actor", "Denial", "IssuedKey", "Key", "Me", "Quota"]


class Me(TypedDict):
    """Who asks: `roles` hold in every world, `world_roles` in one each; `worlds` None is all."""

    actor_id: str | None
    name: str
    roles: list[str]
    world_roles: dict[str, list[str]]
    worlds: list[str] | None
    key_id: str | None
    actions: list[str]


class Actor(TypedDict):
    """An actor; once it is disabled none of its keys holds."""

    actor_id: str
    name: str
    roles: list[str]
    world_roles: dict[str, list[str]]
    created_at: str
    disabled_at: str | None
    reason: str | None


class Key(TypedDict):
    """A key without its secret; `worlds` are the only ones that it is good for, None is all."""

    key_id: str
    actor_id: str
    actor: str
    worlds: list[str] | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class Denial(TypedDict):
    """Denials that were one like the other within a minute; `count` is how many."""

    denial_id: str
    code: str
    reason: str
    actor_id: str | None
    key_id: str | None
    address: str | None
    action: str | None
    world: str | None
    count: int
    first_at: str
    last_at: str


class Act(TypedDict):
    """What an administrator did beside commands, to what, from where and why."""

    number: int
    act: str
    actor_id: str | None
    key_id: str | None
    address: str | None
    detail: dict[str, Any]
    reason: str | None
    recorded_at: str
    hash: str


class Quota(TypedDict):
    """What an actor may ask for, None without a limit, and what they used up on a UTC day."""

    actor_id: str | None
    actor: str
    commands_per_tick: int | None
    tokens_per_day: int | None
    is_default: bool
    day: str
    commands_used: int
    tokens_used: int
    tokens_left: int | None
    resets_at: str
    changed_at: str | None
    reason: str | None


class IssuedKey(Key):
    """A new key, shown this once."""

    key: str
