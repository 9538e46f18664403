"""States: what a world holds after any committed tick."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from archetype.api.encodings import MediaType
from archetype.api.negotiation import TableAnswer, accepted_media_type, json_answer, table_answer
from archetype.api.problems import problems
from archetype.api.requests import AtTick, entity_ids, names
from archetype.api.schemas import ComponentRows, StateResponse
from archetype.core.component import Component
from archetype.errors import ComponentError, FieldFault
from archetype.service.container import ServiceContainer
from archetype.service.frames import TableSlice, json_rows
from archetype.service.queries import Selection
from archetype.store.worlds import WorldRow

__all__ = ["QueryRoutes"]

Types = Annotated[
    str | None,
    QueryParameter(description="Only entities that have all of these, and only these: `Position,Velocity`."),
]
Ids = Annotated[str | None, QueryParameter(name="entity_ids", description="Only these entities: `1,2`.")]


class QueryRoutes(Controller):
    """The state of a world."""

    path = "/worlds/{world:str}"
    tags = ("state",)

    @get("/state", summary="Read a state", responses=problems(404, 406, 422), operation_class=TableAnswer)
    async def state(
        self,
        request: Request[Any, Any, State],
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        tick: AtTick = None,
    ) -> Response[StateResponse]:
        """Say who is there with which components; other media types give every value as flat rows."""
        kind = accepted_media_type(request)
        found = await services.world_service.find(world)
        if kind is MediaType.JSON:
            return await json_answer(asdict(await services.query_service.snapshot(found, tick)))
        chosen = services.world_service.committed(found, tick)
        table = await services.query_service.frame(found, ticks=[chosen] if chosen >= 0 else None)
        return table_answer(table, kind, request.app.state.stopping)

    @get(
        "/components",
        summary="Read components",
        responses=problems(404, 406, 422),
        operation_class=TableAnswer,
    )
    async def components(
        self,
        request: Request[Any, Any, State],
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        types: Types = None,
        ids: Ids = None,
        tick: AtTick = None,
    ) -> Response[ComponentRows]:
        """Read the entities that have all of some components; ids that are not there are left out."""
        kind = accepted_media_type(request)
        found = await services.world_service.find(world)
        chosen = services.world_service.committed(found, tick)
        wanted = None if ids is None else entity_ids(ids)
        kinds = None if types is None else await _known_types(services, found, chosen, names(types, "types"))
        if kind is not MediaType.JSON:
            ticks = [chosen] if chosen >= 0 else None
            table = await services.query_service.frame(
                found, components=kinds, ticks=ticks, entity_ids=wanted
            )
            return table_answer(table, kind, request.app.state.stopping)
        selection = Selection(
            None if kinds is None else tuple(kinds), None if wanted is None else tuple(wanted)
        )
        slices = await services.query_service.select(found, chosen, selection)
        rows = await asyncio.to_thread(_rows, slices, kinds)
        return await json_answer(
            {
                "world_id": found.world_id,
                "component_types": kinds,
                "entity_ids": wanted,
                "tick": chosen,
                "rows": rows,
            }
        )


async def _known_types(services: ServiceContainer, world: WorldRow, tick: int, asked: list[str]) -> list[str]:
    """Return the plain names of component types, refusing what is neither loaded nor in the world."""
    known: list[str] = []
    faults: list[FieldFault] = []
    for name in asked:
        loaded = Component.find_type(name)
        if loaded is None and not await _is_stored(services, world, tick, name):
            msg = f"component type {name!r} is neither loaded nor in world {world.name!r}"
            faults.append(FieldFault("types", msg))
        known.append(name if loaded is None else loaded.__name__)
    if faults:
        raise ComponentError("; ".join(fault["message"] for fault in faults), faults=faults)
    return known


async def _is_stored(services: ServiceContainer, world: WorldRow, tick: int, name: str) -> bool:
    info = await services.world_service.info(world)
    if any(name in signature for signature in info.archetype_signatures):
        return True
    return bool(await services.query_service.select(world, tick, Selection((name,))))


def _rows(slices: list[TableSlice], kinds: list[str] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in slices:
        ids = each.rows.column("entity_id").to_pylist()
        for entity_id, values in zip(ids, json_rows(each), strict=True):
            chosen = values if kinds is None else {name: values[name] for name in kinds}
            rows.append({"entity_id": entity_id, "tick": each.tick} | chosen)
    rows.sort(key=lambda row: row["entity_id"])
    return rows
