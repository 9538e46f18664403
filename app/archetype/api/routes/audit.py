"""The audit trail beside the log: what was denied, and what administrators did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from archetype.api.gate import needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import Limit
from archetype.api.schemas.audit import ActResponse, DenialResponse
from archetype.limits import POSITION_MAX
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer

__all__ = ["AuditRoutes"]

BeforeDenial = Annotated[
    UUID | None, QueryParameter(description="Only denials older than the one of this id.")
]
BeforeAct = Annotated[
    int | None, QueryParameter(ge=1, le=POSITION_MAX, description="Only acts below this number.")
]


class AuditRoutes(Controller):
    """What the log does not hold."""

    path = "/"
    tags = ("audit",)

    @get("/denials", summary="List denials", opt=needs(Access.READ_AUDIT), responses=problems(422))
    async def denials(
        self, services: NamedDependency[ServiceContainer], limit: Limit = 100, before: BeforeDenial = None
    ) -> Response[list[DenialResponse]]:
        """List the newest denials and failed authentications, the newest last; `Link` leads to older ones."""
        found = await services.audit_service.list_denials(limit=limit + 1, before=before)
        page = [DenialResponse(**asdict(each)) for each in found[-limit:]]
        is_last = len(found) <= limit
        return Response(
            page, headers=None if is_last else next_page("/denials", before=page[0].denial_id, limit=limit)
        )

    @get("/acts", summary="List administrative acts", opt=needs(Access.READ_AUDIT), responses=problems(422))
    async def acts(
        self, services: NamedDependency[ServiceContainer], limit: Limit = 100, before: BeforeAct = None
    ) -> Response[list[ActResponse]]:
        """List what administrators did beside commands, the newest last; `Link` leads to older ones."""
        found = await services.audit_service.list_acts(limit=limit + 1, before=before)
        page = [ActResponse(**asdict(each)) for each in found[-limit:]]
        is_last = len(found) <= limit
        return Response(
            page, headers=None if is_last else next_page("/acts", before=page[0].number, limit=limit)
        )
