"""Identities: bodies and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.limits import KEY_GRACE_S_MAX, KEY_LIFE_S_MAX
from archetype.log.payload_fields import Integer, Reason

__all__ = [
    "ActorBody",
    "ActorResponse",
    "DisableBody",
    "IssuedKeyResponse",
    "KeyBody",
    "KeyCreate",
    "KeyResponse",
    "MeResponse",
    "RotateBody",
    "RotateRequest",
]


class ActorCreate(Body):
    """An actor to make."""

    name: str = Field(description="Unique; letters, digits, `_`, `.` and `-`.")
    roles: list[str] = Field(default=[], description="Roles in every world: viewer, player, operator, admin.")
    world_roles: dict[str, list[str]] = Field(
        default={}, description="Roles in one world each, by its name or id."
    )
    reason: Reason | None = Field(default=None, description="Why; it is kept with the act.")


ActorBody = Annotated[ActorCreate, json_body({"name": "ann", "roles": ["player"]})]


class DisableRequest(Body):
    """Why an actor is disabled."""

    reason: Reason | None = None


DisableBody = Annotated[DisableRequest | None, json_body({"reason": "left the project"})]


class ActorResponse(BaseModel):
    """An actor."""

    actor_id: UUID = Field(description="Events name it as theirs.")
    name: str
    roles: list[str]
    world_roles: dict[str, list[str]] = Field(description="By world id.")
    created_at: datetime
    disabled_at: datetime | None
    reason: str | None


class KeyCreate(Body):
    """A key to make."""

    worlds: list[str] | None = Field(
        default=None, description="Names or ids of the only worlds that it is good for; by default all."
    )
    expires_in_s: Integer | None = Field(
        default=None, ge=1, le=KEY_LIFE_S_MAX, description="Seconds until it does not hold any more."
    )
    reason: Reason | None = Field(default=None, description="Why; it is kept with the act.")


KeyBody = Annotated[KeyCreate | None, json_body({"worlds": ["demo"], "expires_in_s": 86400})]


class RotateRequest(Body):
    """How a key is replaced."""

    grace_s: Integer = Field(
        default=0, ge=0, le=KEY_GRACE_S_MAX, description="Seconds that the old one holds on; by default none."
    )
    reason: Reason | None = Field(default=None, description="Why; it is kept with the act.")


RotateBody = Annotated[RotateRequest | None, json_body({"grace_s": 3600})]


class KeyResponse(BaseModel):
    """A key, without its secret."""

    key_id: str
    actor_id: UUID
    actor: str
    worlds: list[UUID] | None = Field(description="The only worlds that it is good for; null is all.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class IssuedKeyResponse(KeyResponse):
    """A new key: the only answer that ever shows it."""

    key: str


class MeResponse(BaseModel):
    """Who asks."""

    actor_id: UUID | None = Field(description="Null for the single user of a server that has no keys.")
    name: str
    roles: list[str]
    world_roles: dict[str, list[str]] = Field(description="By world id.")
    worlds: list[UUID] | None = Field(description="The only worlds that the key is good for; null is all.")
    key_id: str | None
    actions: list[str] = Field(description="What the roles permit in every world that the key is good for.")
