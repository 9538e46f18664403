"""Worlds: making, listing, forking and removing them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from archetype.api.problems import problems
from archetype.api.requests import Limit
from archetype.api.schemas import ForkBody, ForkCreate, WorldBody, WorldResponse
from archetype.api.submitting import Submitter
from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.service.container import ServiceContainer
from archetype.service.worlds import WorldInfo

__all__ = ["WorldRoutes"]

After = Annotated[UUID | None, QueryParameter(description="Continue behind the world of this id.")]
Reason = Annotated[str | None, QueryParameter(max_length=1000, description="Kept in the log.")]


class WorldRoutes(Controller):
    """Worlds as a whole."""

    path = "/worlds"
    tags = ("worlds",)

    @post(summary="Create a world", responses=problems(409, 413, 422))
    async def create(
        self,
        data: WorldBody,
        submitter: NamedDependency[Submitter],
    ) -> Response[WorldResponse]:
        """Make a world; with the same `world_id` or Idempotency-Key again, answer as the first time."""
        config = WorldConfig(world_id=data.world_id, name=data.name, seed=data.seed)
        command_id = submitter.conditions.command_id("worlds")
        return _created(await submitter.services.world_service.create_world(config, command_id=command_id))

    @get(summary="List worlds", responses=problems(422))
    async def list_worlds(
        self,
        services: NamedDependency[ServiceContainer],
        after: After = None,
        limit: Limit = 100,
    ) -> Response[list[WorldResponse]]:
        """List live worlds in order of their birth; `Link: rel="next"` continues."""
        found = await services.world_service.list_worlds(after=after, limit=limit + 1)
        page = [WorldResponse.of(info) for info in found[:limit]]
        headers = {}
        if len(found) > limit:
            headers["Link"] = f'</worlds?after={page[-1].world_id}&limit={limit}>; rel="next"'
        return Response(page, headers=headers)

    @get("/{world:str}", summary="Read a world", responses=problems(404, 422))
    async def read(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> Response[WorldResponse]:
        """Describe a world; its ETag is its version, which If-Match takes."""
        found = await services.world_service.find(world)
        info = await services.world_service.info(found)
        return Response(WorldResponse.of(info), headers={"ETag": f'"{info.version}"'})

    @delete("/{world:str}", summary="Remove a world", status_code=204, responses=problems(404, 409, 422))
    async def remove(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer], reason: Reason = None
    ) -> None:
        """Archive a world: it takes no more commands, its past stays in the database, its name is free."""
        found = await services.world_service.find(world)
        await services.world_service.remove_world(found, reason=reason)

    @post("/{world:str}/fork", summary="Fork a world", responses=problems(404, 409, 413, 422))
    async def fork(
        self,
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        data: ForkBody = None,
    ) -> Response[WorldResponse]:
        """Make a world that shares this one's past; commands that wait stay with this one."""
        asked = data or ForkCreate()
        worlds = submitter.services.world_service
        parent = await worlds.find(world)
        command_id = submitter.conditions.command_id(f"{parent.world_id}:fork")
        name = asked.name or f"{parent.name}-{(command_id or new_id()).hex[-8:]}"
        return _created(await worlds.fork_world(parent, name, tick=asked.tick, command_id=command_id))


def _created(info: WorldInfo) -> Response[WorldResponse]:
    headers = {"Location": f"/worlds/{info.world_id}", "ETag": f'"{info.version}"'}
    return Response(WorldResponse.of(info), headers=headers)
