"""States: what a world holds after any committed tick, or after each of several."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from archetype.api.encodings import MediaType
from archetype.api.gate import needs
from archetype.api.negotiation import TableAnswer, accepted_media_type, json_answer, table_answer
from archetype.api.problems import problems
from archetype.api.requests import (
    AtTick,
    FromTick,
    ToTick,
    WorldReference,
    entity_ids,
    names,
    past_of,
    ticks_of,
)
from archetype.api.schemas.states import (
    ComponentRange,
    ComponentRows,
    CountsResponse,
    StateRange,
    StateResponse,
)
from archetype.core.component import Component
from archetype.errors import ComponentError, FieldFault
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.frames import TableSlice, json_rows
from archetype.service.queries import Selection
from archetype.service.ranges import committed_range
from archetype.store.worlds import WorldRow

__all__ = ["QueryRoutes"]

Types = Annotated[
    str | None,
    QueryParameter(description="Only entities that have all of these, and only these: `Position,Velocity`."),
]
Ids = Annotated[str | None, QueryParameter(name="entity_ids", description="Only these entities: `1,2`.")]
_REFUSALS = problems(404, 406, 413, 422)


class QueryRoutes(Controller):
    """The state of a world."""

    path = "/worlds/{world:str}"
    tags = ("state",)

    @get(
        "/state",
        summary="Read a state",
        opt=needs(Access.READ_WORLD),
        responses=_REFUSALS,
        operation_class=TableAnswer,
    )
    async def state(
        self,
        request: Request[Any, Any, State],
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        tick: AtTick = None,
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> Response[StateResponse | StateRange]:
        """Say who is there with which components; other media types give every value as flat rows.

        With `from_tick` or `to_tick` it is a range of ticks: a list of states, or the rows of each.
        """
        kind = accepted_media_type(request)
        found, at = await ticks_of(services, world, tick, from_tick, to_tick)
        queries = services.query_service
        if kind is not MediaType.JSON:
            return table_answer(
                await queries.frame(found, ticks=_range(at)), kind, request.app.state.stopping
            )
        states = [asdict(await queries.snapshot(found, each)) for each in _range(at)]
        if not isinstance(at, range):
            return await json_answer(states[0])
        return await json_answer({"world_id": found.world_id, **_bounds(at), "states": states})

    @get(
        "/components",
        summary="Read components",
        opt=needs(Access.READ_WORLD),
        responses=_REFUSALS,
        operation_class=TableAnswer,
    )
    async def components(
        self,
        request: Request[Any, Any, State],
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        types: Types = None,
        ids: Ids = None,
        tick: AtTick = None,
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> Response[ComponentRows | ComponentRange]:
        """Read the entities that have all of some components; ids that are not there are left out.

        With `from_tick` or `to_tick` it is a range of ticks: the rows of each, by tick and entity id.
        """
        kind = accepted_media_type(request)
        found, at = await ticks_of(services, world, tick, from_tick, to_tick)
        ticks = _range(at)
        wanted = None if ids is None else entity_ids(ids)
        kinds = None if types is None else await _known_types(services, found, ticks, names(types, "types"))
        queries = services.query_service
        if kind is not MediaType.JSON:
            table = await queries.frame(found, components=kinds, ticks=ticks, entity_ids=wanted)
            return table_answer(table, kind, request.app.state.stopping)
        selection = Selection(
            None if kinds is None else tuple(kinds), None if wanted is None else tuple(wanted)
        )
        slices = [each for tick in ticks for each in await queries.select(found, tick, selection)]
        rows = await asyncio.to_thread(_rows, slices, kinds)
        asked = {"world_id": found.world_id, "component_types": kinds, "entity_ids": wanted}
        return await json_answer({**asked, **_bounds(at), "rows": rows})

    @get("/counts", summary="Count entities", opt=needs(Access.READ_WORLD), responses=problems(404, 413, 422))
    async def counts(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> list[CountsResponse]:
        """Count the active entities after each tick of a range, by default of all that are committed."""
        found, end = await past_of(services, world, to_tick)
        ticks = committed_range(found, from_tick, end)
        counted = await services.world_service.counts(found, ticks.start, ticks.stop)
        return [CountsResponse.of(each) for each in counted]


def _range(at: int | range) -> range:
    return at if isinstance(at, range) else range(at, at + 1)


def _bounds(at: int | range) -> dict[str, int]:
    return {"from_tick": at.start, "to_tick": at.stop} if isinstance(at, range) else {"tick": at}


async def _known_types(
    services: ServiceContainer, world: WorldRow, ticks: range, asked: list[str]
) -> list[str]:
    """Return the plain names of component types, refusing what is neither loaded nor in the world."""
    known: list[str] = []
    faults: list[FieldFault] = []
    for name in asked:
        loaded = Component.find_type(name)
        if loaded is None and not await _is_stored(services, world, ticks, name):
            msg = f"component type {name!r} is neither loaded nor in world {world.name!r}"
            faults.append(FieldFault("types", msg))
        known.append(name if loaded is None else loaded.__name__)
    if faults:
        raise ComponentError("; ".join(fault["message"] for fault in faults), faults=faults)
    return known


async def _is_stored(services: ServiceContainer, world: WorldRow, ticks: range, name: str) -> bool:
    """Tell whether entities have such a component after one of these ticks, or after the world's last."""
    worlds = services.world_service
    counted = await worlds.counts(world, ticks.start, ticks.stop)
    counted += await worlds.counts(world, world.committed_tick, world.tick)
    return any(archetype.covers((name,)) for each in counted for archetype in each.by_archetype)


def _rows(slices: list[TableSlice], kinds: list[str] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in slices:
        ids = each.rows.column("entity_id").to_pylist()
        for entity_id, values in zip(ids, json_rows(each), strict=True):
            chosen = values if kinds is None else {name: values[name] for name in kinds}
            rows.append({"entity_id": entity_id, "tick": each.tick} | chosen)
    rows.sort(key=lambda row: (row["tick"], row["entity_id"]))
    return rows
