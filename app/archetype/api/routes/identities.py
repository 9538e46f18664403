"""Identities: who asks, and for administrators the actors and their keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from archetype.api.gate import ANYBODY_KNOWN, Caller, needs
from archetype.api.problems import problems
from archetype.api.requests import Conditions, IdempotencyKey
from archetype.api.schemas.identities import (
    ActorBody,
    ActorResponse,
    DisableBody,
    IssuedKeyResponse,
    KeyBody,
    KeyCreate,
    KeyResponse,
    MeResponse,
    RotateBody,
    RotateRequest,
)
from archetype.limits import REASON_CHARACTERS_MAX
from archetype.log.permissions import Access, permitted_actions
from archetype.service.container import ServiceContainer
from archetype.service.identities import IssuedKey

__all__ = ["IdentityRoutes"]

ActorName = Annotated[str, PathParameter(description="The actor's name.")]
Why = Annotated[
    str | None, QueryParameter(max_length=REASON_CHARACTERS_MAX, description="Why; it is kept with the act.")
]
KeyId = Annotated[str, PathParameter(description="The key's public id: the middle of `arct_<id>_<secret>`.")]
OfActor = Annotated[str | None, QueryParameter(description="Only the keys of this actor, by its name.")]
_NO_STORE = {"Cache-Control": "no-store"}


class IdentityRoutes(Controller):
    """Who asks, actors and keys."""

    path = "/"
    tags = ("identities",)

    @get("/me", summary="Say who asks", opt=ANYBODY_KNOWN, responses=problems())
    async def me(self, caller: NamedDependency[Caller]) -> MeResponse:
        """Say as whom the server knows the caller, and what they may do."""
        who = caller.principal
        return MeResponse(
            actor_id=who.actor_id,
            name=who.name,
            roles=sorted(who.roles),
            world_roles={str(world_id): sorted(roles) for world_id, roles in who.world_roles.items()},
            worlds=None if who.worlds is None else sorted(who.worlds),
            key_id=who.key_id,
            actions=[action.value for action in permitted_actions(who.roles)],
        )

    @post(
        "/actors", summary="Make an actor", opt=needs(Access.MANAGE_ACTORS), responses=problems(404, 409, 422)
    )
    async def create_actor(
        self,
        data: ActorBody,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        key: IdempotencyKey = None,
    ) -> ActorResponse:
        """Make an actor, which can ask for nothing until it has a key."""
        made = await services.identity_service.create_actor(
            data.name,
            roles=data.roles,
            world_roles=data.world_roles,
            actor_id=Conditions(key, None).command_id("actors"),
            by=caller.principal,
            reason=data.reason,
        )
        return ActorResponse(**asdict(made))

    @get("/actors", summary="List actors", opt=needs(Access.MANAGE_ACTORS), responses=problems())
    async def actors(self, services: NamedDependency[ServiceContainer]) -> list[ActorResponse]:
        """List all actors in the order of their making."""
        return [ActorResponse(**asdict(each)) for each in await services.identity_service.list_actors()]

    @post(
        "/actors/{name:str}/disable",
        summary="Disable an actor",
        opt=needs(Access.MANAGE_ACTORS),
        status_code=200,
        responses=problems(404, 422),
    )
    async def disable_actor(
        self,
        name: ActorName,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        data: DisableBody = None,
    ) -> ActorResponse:
        """Let none of an actor's keys hold any more: here at once, on other servers within two seconds."""
        reason = None if data is None else data.reason
        disabled = await services.identity_service.disable_actor(name, reason=reason, by=caller.principal)
        return ActorResponse(**asdict(disabled))

    @post(
        "/actors/{name:str}/keys",
        summary="Make a key",
        opt=needs(Access.MANAGE_KEYS),
        responses=problems(404, 409, 422),
    )
    async def create_key(
        self,
        name: ActorName,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        data: KeyBody = None,
    ) -> Response[IssuedKeyResponse]:
        """Give an actor a key, which this answer alone shows; a retry makes another one."""
        asked = data or KeyCreate()
        issued = await services.identity_service.create_key(
            name,
            worlds=asked.worlds,
            expires_in_s=asked.expires_in_s,
            by=caller.principal,
            reason=asked.reason,
        )
        return _issued(issued)

    @get("/keys", summary="List keys", opt=needs(Access.MANAGE_KEYS), responses=problems(404, 422))
    async def keys(
        self, services: NamedDependency[ServiceContainer], actor: OfActor = None
    ) -> list[KeyResponse]:
        """List keys in the order of their making, without their secrets."""
        return [KeyResponse(**asdict(each)) for each in await services.identity_service.list_keys(actor)]

    @delete(
        "/keys/{key_id:str}",
        summary="Revoke a key",
        opt=needs(Access.MANAGE_KEYS),
        status_code=200,
        responses=problems(404, 422),
    )
    async def revoke_key(
        self,
        key_id: KeyId,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        reason: Why = None,
    ) -> KeyResponse:
        """End a key: here at once, on other servers within two seconds. It stays in the list."""
        revoked = await services.identity_service.revoke_key(key_id, by=caller.principal, reason=reason)
        return KeyResponse(**asdict(revoked))

    @post(
        "/keys/{key_id:str}/rotate",
        summary="Replace a key",
        opt=needs(Access.MANAGE_KEYS),
        responses=problems(404, 409, 422),
    )
    async def rotate_key(
        self,
        key_id: KeyId,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        data: RotateBody = None,
    ) -> Response[IssuedKeyResponse]:
        """Give the key's actor another in its place, for the same worlds and as long."""
        asked = data or RotateRequest()
        return _issued(
            await services.identity_service.rotate_key(
                key_id, grace_s=asked.grace_s, by=caller.principal, reason=asked.reason
            )
        )


def _issued(issued: IssuedKey) -> Response[IssuedKeyResponse]:
    return Response(IssuedKeyResponse(key=issued.key, **asdict(issued.listed)), headers=_NO_STORE)
