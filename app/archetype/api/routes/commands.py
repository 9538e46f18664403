"""Commands: submitting them, and reading the log back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from archetype.api.gate import needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import (
    Before,
    FromTick,
    Limit,
    Prefer,
    ToTick,
    WorldReference,
    names,
    past_of,
    prefers,
)
from archetype.api.schemas.commands import (
    BatchBody,
    CommandBody,
    CommandEntry,
    HistoryItem,
    PendingResponse,
    ReceiptResponse,
)
from archetype.api.submitting import Submitter
from archetype.log.command import QUEUED_TYPES, CommandType
from archetype.log.permissions import Access
from archetype.service.commands import HistoryEntry
from archetype.service.container import ServiceContainer
from archetype.service.filters import history_filter
from archetype.store.history import HistoryFilter
from archetype.store.worlds import WorldRow

__all__ = ["CommandRoutes"]

Types = Annotated[
    str | None, QueryParameter(min_length=1, description="Only commands of these types: `spawn,update`.")
]
Actor = Annotated[UUID | None, QueryParameter(description="Only commands of this actor.")]
Status = Annotated[
    str | None, QueryParameter(description="Only commands that are this: pending, applied or rejected.")
]
_REFUSALS = (404, 409, 412, 413, 422, 429)
QUEUED = tuple(map(CommandType, QUEUED_TYPES))
"""Any of these opens the door; each command is asked about behind it."""


def _wanted(
    types: Types = None,
    actor_id: Actor = None,
    from_tick: FromTick = None,
    to_tick: ToTick = None,
    status: Status = None,
) -> HistoryFilter:
    return history_filter(
        None if types is None else names(types, "types"),
        actor_id,
        from_tick=from_tick,
        to_tick=to_tick,
        status=status,
    )


class CommandRoutes(Controller):
    """The commands of a world."""

    path = "/worlds/{world:str}"
    tags = ("commands",)
    dependencies = {"wanted": Provide(_wanted, sync_to_thread=False)}  # noqa: RUF012  read by the framework

    @post(
        "/commands",
        summary="Submit a command",
        opt=needs(*QUEUED),
        status_code=202,
        responses=problems(*_REFUSALS),
    )
    async def submit(
        self,
        world: FromPath[str],
        data: CommandBody,
        submitter: NamedDependency[Submitter],
    ) -> ReceiptResponse:
        """Accept a command, which is durable by the time this answers."""
        receipt = await submitter.submit(world, data.request())
        return ReceiptResponse.of(receipt, data.tick)

    @post(
        "/commands/batch",
        summary="Submit commands",
        opt=needs(*QUEUED),
        status_code=202,
        responses=problems(*_REFUSALS),
    )
    async def submit_batch(
        self,
        world: FromPath[str],
        data: BatchBody,
        submitter: NamedDependency[Submitter],
        prefer: Prefer = "",
    ) -> Response[list[UUID] | list[ReceiptResponse]]:
        """Accept commands in their order, all or none; a fault's path says which: `commands.3.payload.…`."""
        requests = [command.request() for command in data.commands]
        receipts = await submitter.submit_batch(world, requests)
        if not prefers(prefer, "return=representation"):
            return Response([receipt.command_id for receipt in receipts])
        answers = [
            ReceiptResponse.of(receipt, request.tick)
            for receipt, request in zip(receipts, requests, strict=True)
        ]
        return Response(answers, headers={"Preference-Applied": "return=representation"})

    @get("/commands", summary="List commands", opt=needs(Access.READ_LOG), responses=problems(404, 422))
    async def commands(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        wanted: NamedDependency[HistoryFilter],
        limit: Limit = 100,
        before: Before = None,
    ) -> Response[list[CommandEntry]]:
        """List the newest commands and what became of them, the newest last."""
        found, end = await past_of(services, world, wanted.to_tick)
        wanted = replace(wanted, to_tick=end)
        entries, headers = await _page(services, found, "commands", wanted, limit=limit, before=before)
        return Response([CommandEntry.of(entry) for entry in entries], headers=headers)

    @get(
        "/commands/pending",
        summary="Count waiting commands",
        opt=needs(Access.READ_LOG),
        responses=problems(404, 422),
    )
    async def pending(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> PendingResponse:
        """Count the commands that wait for a tick which is not committed yet."""
        found = await services.world_service.find(world)
        count = await services.command_service.pending_count(found.world_id)
        return PendingResponse(world_id=found.world_id, pending_count=count)

    @get("/history", summary="Read the log", opt=needs(Access.READ_LOG), responses=problems(404, 422))
    async def history(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        wanted: NamedDependency[HistoryFilter],
        limit: Limit = 100,
        before: Before = None,
    ) -> Response[list[HistoryItem]]:
        """Read the newest commands of the whole lineage, the newest last; `Link` leads to older ones."""
        found, end = await past_of(services, world, wanted.to_tick)
        wanted = replace(wanted, to_tick=end)
        entries, headers = await _page(services, found, "history", wanted, limit=limit, before=before)
        return Response([HistoryItem.of(entry) for entry in entries], headers=headers)


async def _page(
    services: ServiceContainer,
    world: WorldRow,
    route: str,
    wanted: HistoryFilter,
    *,
    limit: int,
    before: int | None,
) -> tuple[Sequence[HistoryEntry], dict[str, str]]:
    """Read one entry more than asked for, which tells whether there are older ones."""
    entries = await services.command_service.history(
        world.world_id, before_position=before, limit=limit + 1, wanted=wanted
    )
    if len(entries) <= limit:
        return entries, {}
    page = entries[-limit:]
    return page, next_page(
        f"/worlds/{world.world_id}/{route}",
        before=page[0].position,
        limit=limit,
        types=None if wanted.types is None else ",".join(wanted.types),
        actor_id=wanted.actor_id,
        from_tick=wanted.from_tick,
        to_tick=wanted.to_tick,
        status=wanted.status,
    )
