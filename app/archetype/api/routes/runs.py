"""Runs: how far they are, and cancelling them."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, PathParameter, QueryParameter

from archetype.api.gate import ANYBODY_KNOWN, Caller, needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import Limit
from archetype.api.schemas.simulation import CancelBody, CancelRequest, RunInfoResponse
from archetype.api.sources import RunSource
from archetype.api.streaming import EVENT_STREAM, EventStreams
from archetype.api.submitting import Submitter
from archetype.errors import FieldFault, InvalidInputError, RunNotFoundError
from archetype.log.command import CommandType
from archetype.log.payload_fields import as_uuid
from archetype.log.permissions import Access, Action
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunInfo

__all__ = ["STARTED", "RunId", "RunRoutes", "permitted_run"]

Before = Annotated[UUID | None, QueryParameter(description="Only runs older than the one of this id.")]
RunId = Annotated[str, PathParameter(description="The run's id, a UUID.")]
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="Ticks completed: only further progress is told."),
]

_STREAM = {
    200: ResponseSpec(
        RunInfoResponse,
        description="Blocks of `id` (the ticks completed), `event` (progress or ended) and `data` (this "
        "object in a line); heartbeats and a last block `closed` are as in the streams of events.",
        media_type=EVENT_STREAM,
        generate_examples=False,
    )
}
STARTED = {
    202: ResponseSpec(
        RunInfoResponse,
        description="With `Prefer: respond-async`: it is durable, and `Location` leads to it.",
        generate_examples=False,
    )
}
_ENDED_OR_ENDING = {
    200: ResponseSpec(RunInfoResponse, description="The run has ended.", generate_examples=False),
    202: ResponseSpec(
        RunInfoResponse, description="It ends behind the tick that is computed.", generate_examples=False
    ),
}


class RunRoutes(Controller):
    """Runs, whoever asked for them and wherever they are computed."""

    path = "/"
    tags = ("simulation",)

    @get(
        "/worlds/{world:str}/runs",
        summary="List runs",
        opt=needs(Access.READ_WORLD),
        responses=problems(404, 422),
    )
    async def runs(
        self,
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        before: Before = None,
        limit: Limit = 100,
    ) -> Response[list[RunInfoResponse]]:
        """List a world's own steps and runs, the newest first; `Link` leads to older ones."""
        found = await services.world_service.find(world)
        infos = await services.run_service.list_runs(found, before=before, limit=limit + 1)
        page = [RunInfoResponse(**asdict(info)) for info in infos[:limit]]
        if len(infos) <= limit:
            return Response(page)
        older = f"/worlds/{found.world_id}/runs"
        return Response(page, headers=next_page(older, before=page[-1].run_id, limit=limit))

    @get("/runs/{run_id:str}", summary="Read a run", opt=ANYBODY_KNOWN, responses=problems(404))
    async def run(
        self,
        run_id: RunId,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
    ) -> RunInfoResponse:
        """Say how far a run is, or how it ended."""
        return RunInfoResponse(**asdict(await permitted_run(services, caller, run_id, Access.READ_WORLD)))

    @post(
        "/runs/{run_id:str}/cancel",
        summary="Cancel a run",
        opt=ANYBODY_KNOWN,
        status_code=202,
        responses=problems(404, 409, 412, 413, 422) | _ENDED_OR_ENDING,
    )
    async def cancel(
        self,
        run_id: RunId,
        submitter: NamedDependency[Submitter],
        data: CancelBody = None,
    ) -> Response[RunInfoResponse]:
        """Let a run end behind the tick that is being computed (202), or at once where none is (200).

        Cancelled again it answers as it stands. The ticks that are committed stay.
        """
        run = await permitted_run(submitter.services, submitter.caller, run_id, CommandType.CANCEL_RUN)
        info = await submitter.services.run_service.cancel(
            run.run_id,
            reason=(data or CancelRequest()).reason,
            command_id=submitter.conditions.command_id(f"{run.run_id}:cancel"),
            actor_id=submitter.caller.actor_id,
            expected_version=submitter.conditions.expected_version,
        )
        return Response(RunInfoResponse(**asdict(info)), status_code=200 if info.has_ended else 202)

    @get(
        "/runs/{run_id:str}/events",
        summary="Follow a run",
        opt=ANYBODY_KNOWN,
        responses=problems(404, 422, 429) | _STREAM,
    )
    async def events(
        self,
        run_id: RunId,
        services: NamedDependency[ServiceContainer],
        streams: NamedDependency[EventStreams],
        caller: NamedDependency[Caller],
        last_event_id: LastEventId = None,
    ) -> Response[Any]:
        """Stream a run's progress as server-sent events, from its present state to its end.

        The type is `progress`, and `ended` for the last one; a stream without that was cut off by a server
        that stops, and can be taken up again.
        """
        after = _ticks_of(last_event_id)
        info = await permitted_run(services, caller, run_id, Access.READ_WORLD)

        async def opening() -> RunSource:
            return RunSource(services.run_service.feed(info.run_id, after=after))

        recheck = partial(caller.still_may, Access.READ_WORLD, info.world_id)
        return await streams.answer(opening, f"/runs/{info.run_id}/events", recheck=recheck)


async def permitted_run(services: ServiceContainer, caller: Caller, run_id: str, action: Action) -> RunInfo:
    """Return a run whose world the caller may do this in; the others do not learn whether there is one."""
    try:
        info = await services.run_service.find(_id_of(run_id))
    except RunNotFoundError:
        await caller.gate.require(caller.principal, action)
        raise
    await caller.may(action, str(info.world_id))
    return info


def _id_of(run_id: str) -> UUID:
    found = as_uuid(run_id)
    if found is None:
        msg = f"run {run_id!r:.80} does not exist: ids are UUIDs; GET /worlds/WORLD/runs lists a world's runs"
        raise RunNotFoundError(msg, run_id=run_id)
    return found


def _ticks_of(last_event_id: str | None) -> int:
    if not last_event_id:
        return -1
    if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 16:
        return int(last_event_id)
    msg = f"must be a number of ticks, not {last_event_id!r:.80}"
    raise InvalidInputError(f"Last-Event-ID {msg}", faults=[FieldFault("Last-Event-ID", msg)])
