"""Resources: the Pydantic models that are recorded for a world's processors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter

from archetype.api.gate import needs
from archetype.api.problems import problems
from archetype.api.requests import DueTick, Priority
from archetype.api.schemas.commands import ReceiptResponse
from archetype.api.schemas.resources import ResourceBody, ResourceResponse
from archetype.api.submitting import Submitter
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer

__all__ = ["ResourceRoutes"]

ResourceName = Annotated[str, PathParameter(description="The class, as `Name` or `module.Name`.")]
_REFUSALS = problems(404, 409, 412, 413, 422, 429)


class ResourceRoutes(Controller):
    """The recorded resources of a world."""

    path = "/worlds/{world:str}/resources"
    tags = ("resources",)

    @post(
        summary="Record a resource",
        opt=needs(CommandType.ADD_RESOURCE),
        status_code=202,
        responses=_REFUSALS,
    )
    async def add(
        self, world: FromPath[str], data: ResourceBody, submitter: NamedDependency[Submitter]
    ) -> ReceiptResponse:
        """Let processors have a Pydantic model of a loaded class from the receipt's tick on."""
        payload = {"resource": data.resource, "value": data.value}
        return await submitter.entity_command(
            world, CommandType.ADD_RESOURCE, payload, tick=data.tick, priority=data.priority
        )

    @get(summary="List recorded resources", opt=needs(Access.READ_WORLD), responses=problems(404, 422))
    async def resources(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> list[ResourceResponse]:
        """List the recorded resources by module and name, those that wait for the next tick among them."""
        found = await services.world_service.find(world)
        records = await services.program_service.resources(found)
        return [ResourceResponse(**asdict(record.info())) for record in records]

    @delete(
        "/{name:str}",
        summary="Remove a resource",
        opt=needs(CommandType.REMOVE_RESOURCE),
        status_code=202,
        responses=_REFUSALS,
    )
    async def remove(
        self,
        world: FromPath[str],
        name: ResourceName,
        submitter: NamedDependency[Submitter],
        tick: DueTick = 0,
        priority: Priority = 0,
    ) -> ReceiptResponse:
        """Take the resources of a name away from the receipt's tick on; rejected then if there is none."""
        return await submitter.entity_command(
            world, CommandType.REMOVE_RESOURCE, {"resource": name}, tick=tick, priority=priority
        )
