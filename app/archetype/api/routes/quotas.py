"""Quotas: what one may ask for oneself, and for administrators what actors may."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from litestar import Controller, get, patch
from litestar.di import NamedDependency
from litestar.params import PathParameter

from archetype.api.gate import ANYBODY_KNOWN, Caller, needs
from archetype.api.problems import problems
from archetype.api.schemas.quotas import QuotaBody, QuotaResponse
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer

__all__ = ["QuotaRoutes"]

ActorName = Annotated[str, PathParameter(description="The actor's name.")]


class QuotaRoutes(Controller):
    """What actors may ask for, and what they used up."""

    path = "/"
    tags = ("identities",)

    @get("/me/quota", summary="Say what the caller may ask for", opt=ANYBODY_KNOWN, responses=problems())
    async def my_quota(
        self, caller: NamedDependency[Caller], services: NamedDependency[ServiceContainer]
    ) -> QuotaResponse:
        """Say how much the caller may ask for, and what of it is used up."""
        who = caller.principal
        return QuotaResponse(**asdict(await services.quota_service.of(who.actor_id, who.name)))

    @get("/quotas", summary="List quotas", opt=needs(Access.MANAGE_ACTORS), responses=problems())
    async def quotas(self, services: NamedDependency[ServiceContainer]) -> list[QuotaResponse]:
        """List the quotas of all actors in the order of their making."""
        return [QuotaResponse(**asdict(each)) for each in await services.quota_service.show_all()]

    @get(
        "/actors/{name:str}/quota",
        summary="Show a quota",
        opt=needs(Access.MANAGE_ACTORS),
        responses=problems(404),
    )
    async def quota(self, name: ActorName, services: NamedDependency[ServiceContainer]) -> QuotaResponse:
        """Show how much an actor may ask for, and what of it is used up."""
        return QuotaResponse(**asdict(await services.quota_service.show(name)))

    @patch(
        "/actors/{name:str}/quota",
        summary="Set a quota",
        opt=needs(Access.MANAGE_ACTORS),
        responses=problems(404, 422),
    )
    async def set_quota(
        self,
        name: ActorName,
        data: QuotaBody,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
    ) -> QuotaResponse:
        """Set what an actor may ask for, on every server from the next command on."""
        change = data.model_dump(exclude_unset=True)
        reason = change.pop("reason", None)
        quota = await services.quota_service.set(name, change, reason=reason, by=caller.principal)
        return QuotaResponse(**asdict(quota))
