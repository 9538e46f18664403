"""Entities: each change is a command, durable when it is answered and applied in its tick."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromPath, PathParameter, QueryParameter

from archetype.api.encodings import MediaType
from archetype.api.gate import needs
from archetype.api.negotiation import ArrowBody, json_answer
from archetype.api.problems import problems
from archetype.api.requests import AtTick, DueTick, FromTick, Priority, ToTick, WorldReference, names, past_of
from archetype.api.schemas.commands import ReceiptResponse
from archetype.api.schemas.entities import (
    BulkReceipt,
    ComponentsBody,
    EntityMomentResponse,
    EntityResponse,
    SpawnBody,
)
from archetype.api.submitting import Submitter
from archetype.limits import BULK_BYTES_MAX, ENTITY_ID_MAX
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer

__all__ = ["EntityRoutes"]

EntityId = Annotated[int, PathParameter(ge=1, le=ENTITY_ID_MAX)]
TypeNames = Annotated[str, QueryParameter(min_length=1, description="Component types: `Position,Velocity`.")]
_REFUSALS = problems(404, 409, 412, 413, 422, 429)
_BULK_REFUSALS = problems(404, 409, 412, 413, 415, 422, 429)


class EntityRoutes(Controller):
    """The entities of a world."""

    path = "/worlds/{world:str}/entities"
    tags = ("entities",)

    @post(summary="Spawn an entity", opt=needs(CommandType.SPAWN), status_code=202, responses=_REFUSALS)
    async def spawn(
        self,
        world: FromPath[str],
        data: SpawnBody,
        submitter: NamedDependency[Submitter],
    ) -> Response[ReceiptResponse]:
        """Make an entity; it has its id at once, and can be read after its tick."""
        payload: dict[str, Any] = {"components": data.components}
        if data.entity_id is not None:
            payload["entity_id"] = data.entity_id
        receipt = await submitter.entity_command(
            world, "spawn", payload, tick=data.tick, priority=data.priority
        )
        return Response(receipt, headers={"Location": f"/worlds/{world}/entities/{receipt.entity_id}"})

    @get(
        "/{entity_id:int}",
        summary="Read an entity",
        opt=needs(Access.READ_WORLD),
        responses=problems(404, 422),
    )
    async def entity(
        self,
        world: WorldReference,
        entity_id: EntityId,
        services: NamedDependency[ServiceContainer],
        tick: AtTick = None,
    ) -> EntityResponse:
        """Read one entity with all its values."""
        found, at = await services.world_service.resolve(world, tick)
        return EntityResponse(**asdict(await services.query_service.entity(found, entity_id, at)))

    @get(
        "/{entity_id:int}/history",
        summary="Follow an entity",
        opt=needs(Access.READ_LOG),
        responses=problems(404, 409, 413, 422),
    )
    async def history(
        self,
        world: WorldReference,
        entity_id: EntityId,
        services: NamedDependency[ServiceContainer],
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> Response[list[EntityMomentResponse]]:
        """Read one entity after each tick of a range in which it was there, with the commands about it."""
        found, end = await past_of(services, world, to_tick)
        moments = await services.entity_service.history(found, entity_id, from_tick=from_tick, to_tick=end)
        return await json_answer([asdict(moment) for moment in moments])

    @patch(
        "/{entity_id:int}",
        summary="Update an entity",
        opt=needs(CommandType.UPDATE),
        status_code=202,
        responses=_REFUSALS,
    )
    async def update(
        self,
        world: FromPath[str],
        entity_id: EntityId,
        data: ComponentsBody,
        submitter: NamedDependency[Submitter],
    ) -> ReceiptResponse:
        """Set the named fields of components that the entity has."""
        payload = {"entity_id": entity_id, "components": data.components}
        return await submitter.entity_command(
            world, "update", payload, tick=data.tick, priority=data.priority
        )

    @delete(
        "/{entity_id:int}",
        summary="Despawn an entity",
        opt=needs(CommandType.DESPAWN),
        status_code=202,
        responses=_REFUSALS,
    )
    async def despawn(
        self,
        world: FromPath[str],
        entity_id: EntityId,
        submitter: NamedDependency[Submitter],
        tick: DueTick = 0,
        priority: Priority = 0,
    ) -> ReceiptResponse:
        """End an entity."""
        payload = {"entity_id": entity_id}
        return await submitter.entity_command(world, "despawn", payload, tick=tick, priority=priority)

    @post(
        "/{entity_id:int}/components",
        summary="Add components",
        opt=needs(CommandType.ADD_COMPONENT),
        status_code=202,
        responses=_REFUSALS,
    )
    async def add_components(
        self,
        world: FromPath[str],
        entity_id: EntityId,
        data: ComponentsBody,
        submitter: NamedDependency[Submitter],
    ) -> ReceiptResponse:
        """Give the entity components; one that it has already gets the given values."""
        payload = {"entity_id": entity_id, "components": data.components}
        return await submitter.entity_command(
            world, "add_component", payload, tick=data.tick, priority=data.priority
        )

    @delete(
        "/{entity_id:int}/components",
        summary="Remove components",
        opt=needs(CommandType.REMOVE_COMPONENT),
        status_code=202,
        responses=_REFUSALS,
    )
    async def remove_components(
        self,
        world: FromPath[str],
        entity_id: EntityId,
        types: TypeNames,
        submitter: NamedDependency[Submitter],
        tick: DueTick = 0,
        priority: Priority = 0,
    ) -> ReceiptResponse:
        """Take components from the entity."""
        payload = {"entity_id": entity_id, "component_types": names(types, "types")}
        return await submitter.entity_command(
            world, "remove_component", payload, tick=tick, priority=priority
        )

    @post(
        "/bulk",
        summary="Spawn entities from an Arrow table",
        opt=needs(CommandType.SPAWN),
        status_code=202,
        responses=_BULK_REFUSALS,
        operation_class=ArrowBody,
        request_max_body_size=BULK_BYTES_MAX,
    )
    async def spawn_many(
        self,
        request: Request[Any, Any, Any],
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        tick: DueTick = 0,
        priority: Priority = 0,
    ) -> BulkReceipt:
        """Spawn an entity for each row, as one command."""
        command = CommandRequest("spawn", {}, tick, priority, batch=await _arrow_body(request))
        return await _bulk(submitter, world, command)

    @patch(
        "/bulk",
        summary="Update entities from an Arrow table",
        opt=needs(CommandType.UPDATE),
        status_code=202,
        responses=_BULK_REFUSALS,
        operation_class=ArrowBody,
        request_max_body_size=BULK_BYTES_MAX,
    )
    async def update_many(
        self,
        request: Request[Any, Any, Any],
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        tick: DueTick = 0,
        priority: Priority = 0,
    ) -> BulkReceipt:
        """Set the table's columns on the entities that its column `entity_id` names, as one command."""
        command = CommandRequest("update", {}, tick, priority, batch=await _arrow_body(request))
        return await _bulk(submitter, world, command)


async def _arrow_body(request: Request[Any, Any, Any]) -> bytes:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != MediaType.ARROW:
        raise HTTPException(status_code=415, detail=f"send Content-Type: {MediaType.ARROW}, not {given!r}")
    return await request.body()


async def _bulk(submitter: Submitter, world: str, command: CommandRequest) -> BulkReceipt:
    receipt = await submitter.submit(world, command)
    return BulkReceipt(
        id=receipt.command_id,
        first_entity_id=receipt.first_entity_id,
        entity_count=receipt.entity_count,
        tick=receipt.tick,
        version=receipt.version,
        position=receipt.position,
    )
