"""Worlds: making, listing, configuring, forking and removing them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from archetype.api.gate import needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import Conditions, Limit, WorldReference
from archetype.api.schemas.worlds import ForkBody, ForkCreate, WorldBody, WorldChangeBody, WorldResponse
from archetype.api.submitting import Submitter
from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import NotFoundError, WorldArchivedError
from archetype.limits import REASON_CHARACTERS_MAX
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.forks import ForkRequest
from archetype.service.references import Reference
from archetype.service.world_info import WorldInfo
from archetype.store.worlds import WorldRow

__all__ = ["WorldRoutes"]

After = Annotated[UUID | None, QueryParameter(description="Continue behind the world of this id.")]
Reason = Annotated[
    str | None, QueryParameter(max_length=REASON_CHARACTERS_MAX, description="Kept in the log.")
]


class WorldRoutes(Controller):
    """Worlds as a whole."""

    path = "/worlds"
    tags = ("worlds",)

    @post(
        summary="Create a world", opt=needs(CommandType.CREATE_WORLD), responses=problems(409, 413, 422, 429)
    )
    async def create(
        self,
        data: WorldBody,
        submitter: NamedDependency[Submitter],
    ) -> Response[WorldResponse]:
        """Make a world; with the same `world_id` or Idempotency-Key again, answer as the first time."""
        config = WorldConfig(
            world_id=data.world_id,
            name=data.name,
            seed=data.seed,
            snapshots=data.snapshots,
            scheduler=data.scheduler,
        )
        command_id = submitter.conditions.command_id("worlds")
        created = await submitter.services.world_service.create_world(
            config, command_id=command_id, actor_id=submitter.caller.actor_id
        )
        return _created(created)

    @get(summary="List worlds", opt=needs(Access.LIST_WORLDS), responses=problems(422))
    async def list_worlds(
        self,
        services: NamedDependency[ServiceContainer],
        after: After = None,
        limit: Limit = 100,
    ) -> Response[list[WorldResponse]]:
        """List live worlds in order of their birth; `Link: rel="next"` continues."""
        found = await services.world_service.list_worlds(after=after, limit=limit + 1)
        page = [WorldResponse.of(info) for info in found[:limit]]
        is_last = len(found) <= limit
        headers = {} if is_last else next_page("/worlds", after=page[-1].world_id, limit=limit)
        return Response(page, headers=headers)

    @get("/{world:str}", summary="Read a world", opt=needs(Access.READ_WORLD), responses=problems(404, 422))
    async def read(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> Response[WorldResponse]:
        """Describe a world; its ETag is its version, which If-Match takes."""
        found = await services.world_service.find(world)
        return _described(await services.world_service.info(found))

    @patch(
        "/{world:str}",
        summary="Configure a world",
        opt=needs(CommandType.CONFIGURE_WORLD),
        responses=problems(404, 409, 412, 413, 422, 429),
    )
    async def configure(
        self,
        world: FromPath[str],
        data: WorldChangeBody,
        submitter: NamedDependency[Submitter],
    ) -> Response[WorldResponse]:
        """Change when a world's states are stored, or its scheduler; a run under way goes on as it began."""
        worlds, conditions = submitter.services.world_service, submitter.conditions
        found = await worlds.find(world)
        info = await worlds.configure_world(
            found,
            data.model_dump(mode="json", exclude_unset=True),
            command_id=conditions.command_id(found.world_id),
            actor_id=submitter.caller.actor_id,
            expected_version=conditions.expected_version,
        )
        return _described(info)

    @delete(
        "/{world:str}",
        summary="Remove a world",
        opt=needs(CommandType.DESTROY_WORLD),
        status_code=204,
        responses=problems(404, 409, 412, 422, 429),
    )
    async def remove(
        self, world: FromPath[str], submitter: NamedDependency[Submitter], reason: Reason = None
    ) -> None:
        """Archive a world: it takes no more commands, its past stays in the database, its name is free."""
        worlds, conditions = submitter.services.world_service, submitter.conditions
        # A retry finds its world though the first try has removed it, and another has its name meanwhile.
        removed = None if conditions.key is None else await worlds.removed(world)
        if removed is not None and await worlds.knows(removed, _removal_id(conditions, removed)):
            found = removed
        else:
            found = await worlds.find(world)
        try:
            await worlds.remove_world(
                found,
                reason=reason,
                command_id=_removal_id(conditions, found),
                actor_id=submitter.caller.actor_id,
                expected_version=conditions.expected_version,
            )
        except WorldArchivedError:
            await worlds.find(world)
            raise

    @post(
        "/{world:str}/fork",
        summary="Fork a world",
        opt=needs(CommandType.FORK_WORLD),
        responses=problems(404, 409, 412, 413, 422, 429),
    )
    async def fork(
        self,
        world: WorldReference,
        submitter: NamedDependency[Submitter],
        data: ForkBody = None,
    ) -> Response[WorldResponse | list[WorldResponse]]:
        """Make a world that shares this one's past up to a tick, or with `count` a list of them.

        If-Match names this world's version. Commands that wait stay with this one, unless `include_pending`
        takes them along.
        """
        asked = data or ForkCreate()
        worlds = submitter.services.world_service
        # A retry finds its forks though their parent was removed since, and with it its name.
        named = Reference.parse(world).world
        known = await worlds.peek(named)
        command_id = submitter.conditions.command_id(f"{known.world_id if known else named}:fork")
        chosen = Reference.parse(world).tick if asked.tick is None else asked.tick
        request = ForkRequest(
            tick=chosen,
            name=asked.name or f"{known.name if known else named}-{(command_id or new_id()).hex[-8:]}",
            seed=asked.seed,
            include_pending=asked.include_pending,
            count=asked.count,
            command_id=command_id,
            expected_version=submitter.conditions.expected_version,
            actor_id=submitter.caller.actor_id,
        )
        try:
            if asked.tick == -1:
                parent, tick = await worlds.find(world), -1
            else:
                parent, tick = await worlds.resolve(world, asked.tick)
            forks = await worlds.fork(parent, replace(request, tick=tick, is_relative=chosen is None))
        except NotFoundError:
            earlier = await worlds.earlier_forks(request, known)
            if earlier is None:
                raise
            forks = earlier
        if asked.count is None:
            return _created(forks[0])
        return Response([WorldResponse.of(info) for info in forks])


def _removal_id(conditions: Conditions, world: WorldRow) -> UUID | None:
    return conditions.command_id(f"{world.world_id}:remove")


def _created(info: WorldInfo) -> Response[Any]:
    return _described(info, {"Location": f"/worlds/{info.world_id}"})


def _described(info: WorldInfo, headers: dict[str, str] | None = None) -> Response[WorldResponse]:
    return Response(WorldResponse.of(info), headers={**(headers or {}), "ETag": f'"{info.version}"'})
