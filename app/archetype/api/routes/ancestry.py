"""Where worlds come from, and what makes two of them differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from archetype.api.gate import Caller, needs
from archetype.api.negotiation import json_answer
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import FromTick, Limit, ToTick, WorldReference
from archetype.api.schemas.ancestry import MergeBaseResponse, TickResponse, TreeNodeResponse
from archetype.api.schemas.diffs import DiffResponse
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.ranges import require_order

__all__ = ["AncestryRoutes"]

Other = Annotated[
    str,
    QueryParameter(name="with", min_length=1, description="The other world, or one of its ticks: `b@120`."),
]
Tolerance = Annotated[
    float,
    QueryParameter(ge=0, description="Floats x and y are equal within this times max(1, |x|, |y|)."),
]
FamilyOf = Annotated[
    str | None, QueryParameter(description="Only the family of this world, by name or id; by default all.")
]
WithArchived = Annotated[bool, QueryParameter(description="Removed worlds too.")]
AfterWorld = Annotated[
    UUID | None, QueryParameter(description="Continue behind the world of this id, wherever it stands.")
]
BeforeTick = Annotated[int | None, QueryParameter(ge=0, description="Only ticks below this one.")]


class AncestryRoutes(Controller):
    """The pasts of worlds."""

    path = "/"
    tags = ("ancestry",)

    @get(
        "/worlds/{world:str}/diff",
        summary="Compare two states",
        opt=needs(Access.READ_WORLD),
        responses=problems(404, 409, 422),
    )
    async def diff(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        other: Other,
        tolerance: Tolerance = 0.0,
        limit: Limit = 100,
    ) -> DiffResponse:
        """Say what leads from one state to another: entities, values, and the commands only one past has."""
        other = await caller.may(Access.READ_WORLD, other)
        a, b = await services.world_service.resolve(world), await services.world_service.resolve(other)
        return DiffResponse(
            **asdict(await services.diff_service.diff(*a, *b, tolerance=tolerance, limit=limit))
        )

    @get(
        "/worlds/{world:str}/merge-base",
        summary="Find where pasts part",
        opt=needs(Access.READ_WORLD),
        responses=problems(404, 422),
    )
    async def merge_base(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
        other: Other,
    ) -> MergeBaseResponse:
        """Say which tick is the last that both pasts share; 404 where they share none."""
        other = await caller.may(Access.READ_WORLD, other)
        a, b = await services.world_service.resolve(world), await services.world_service.resolve(other)
        return MergeBaseResponse(**asdict(await services.ancestry_service.merge_base(*a, *b)))

    @get(
        "/tree", summary="Show the tree of forks", opt=needs(Access.LIST_WORLDS), responses=problems(404, 422)
    )
    async def tree(
        self,
        services: NamedDependency[ServiceContainer],
        world: FamilyOf = None,
        with_archived: WithArchived = False,  # noqa: FBT002  a parameter of the query, by name
        after: AfterWorld = None,
        limit: Limit = 100,
    ) -> Response[list[TreeNodeResponse]]:
        """List worlds, each followed by its forks in the order of their ticks; `Link: rel="next"` continues.

        Removed worlds are left out, unless one that lives comes of them or `with_archived` asks for them.
        """
        found = None if world is None else await services.world_service.find(world)
        nodes = await services.ancestry_service.tree(
            found, with_archived=with_archived, after=after, limit=limit + 1
        )
        page, headers = [asdict(node) for node in nodes[:limit]], None
        if len(nodes) > limit:
            archived = "true" if with_archived else None
            last = nodes[limit - 1].world_id
            headers = next_page("/tree", world=world, with_archived=archived, after=last, limit=limit)
        return await json_answer(page, headers)

    @get(
        "/worlds/{world:str}/ticks",
        summary="List ticks",
        opt=needs(Access.READ_LOG),
        responses=problems(404, 422),
    )
    async def ticks(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        from_tick: FromTick = None,
        to_tick: ToTick = None,
        before: BeforeTick = None,
        limit: Limit = 100,
    ) -> Response[list[TickResponse]]:
        """List the ticks of the whole lineage, newest first, up to the one that a reference names.

        `Link` leads to older ones.
        """
        require_order(from_tick, to_tick)
        found, last = await services.world_service.resolve(world)
        end = last + 1 if to_tick is None else min(to_tick, last + 1)
        entries = await services.ancestry_service.log(
            found, from_tick=from_tick, to_tick=end, before_tick=before, limit=limit + 1
        )
        page = [TickResponse(**asdict(entry)) for entry in entries[:limit]]
        if len(entries) <= limit:
            return Response(page)
        older = f"/worlds/{found.world_id}/ticks"
        headers = next_page(older, before=page[-1].tick, limit=limit, from_tick=from_tick)
        return Response(page, headers=headers)
