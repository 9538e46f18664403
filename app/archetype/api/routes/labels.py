"""Labels: names for ticks, which references use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter, QueryParameter

from archetype.api.gate import needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import Limit, WorldReference
from archetype.api.schemas.labels import LabelBody, LabelResponse
from archetype.api.submitting import Submitter
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.references import Reference

__all__ = ["LabelRoutes"]

LabelName = Annotated[str, PathParameter(description="The label's name.")]
AfterLabel = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^\d{1,16}:", description="Continue behind this label, as its tick and name: `120:baseline`."
    ),
]


class LabelRoutes(Controller):
    """The labels of a world."""

    path = "/worlds/{world:str}/labels"
    tags = ("labels",)

    @post(
        summary="Label a tick",
        opt=needs(CommandType.ADD_LABEL),
        responses=problems(404, 409, 412, 413, 422, 429),
    )
    async def add(
        self,
        world: WorldReference,
        data: LabelBody,
        submitter: NamedDependency[Submitter],
    ) -> LabelResponse:
        """Name a committed tick; forks that share the tick inherit the name."""
        services, conditions = submitter.services, submitter.conditions
        found, tick = await services.world_service.resolve(world, data.tick)
        label = await services.label_service.add(
            found,
            data.name,
            tick,
            is_relative=data.tick is None and Reference.parse(world).tick is None,
            command_id=conditions.command_id(found.world_id),
            actor_id=submitter.caller.actor_id,
            expected_version=conditions.expected_version,
        )
        return LabelResponse(**asdict(label))

    @get(summary="List labels", opt=needs(Access.READ_WORLD), responses=problems(404, 422))
    async def labels(
        self,
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        after: AfterLabel = None,
        limit: Limit = 100,
    ) -> Response[list[LabelResponse]]:
        """List a world's labels by tick and name, those inherited from its ancestors too.

        `Link: rel="next"` continues.
        """
        found = await services.world_service.find(world)
        labels = await services.label_service.list_labels(found, after=_place(after), limit=limit + 1)
        page = [LabelResponse(**asdict(each)) for each in labels[:limit]]
        if len(labels) <= limit:
            return Response(page)
        last = f"{page[-1].tick}:{page[-1].name}"
        return Response(page, headers=next_page(f"/worlds/{found.world_id}/labels", after=last, limit=limit))

    @delete(
        "/{name:str}",
        summary="Remove a label",
        opt=needs(CommandType.REMOVE_LABEL),
        status_code=204,
        responses=problems(404, 409, 412, 422, 429),
    )
    async def remove(
        self,
        world: FromPath[str],
        name: LabelName,
        submitter: NamedDependency[Submitter],
    ) -> None:
        """Take a tick's name away; one that is inherited is its ancestor's to remove."""
        services, conditions = submitter.services, submitter.conditions
        found = await services.world_service.find(world)
        await services.label_service.remove(
            found,
            name,
            command_id=conditions.command_id(found.world_id),
            actor_id=submitter.caller.actor_id,
            expected_version=conditions.expected_version,
        )


def _place(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    tick, _, name = after.partition(":")
    return int(tick), name
