"""Commands: submitting them, and reading the log back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, QueryParameter

from archetype.api.problems import problems
from archetype.api.requests import Limit, world_id_of
from archetype.api.schemas.commands import (
    BatchBody,
    CommandBody,
    CommandEntry,
    HistoryItem,
    PendingResponse,
    ReceiptResponse,
)
from archetype.api.submitting import Submitter
from archetype.log.command import RULES
from archetype.service.commands import HistoryEntry
from archetype.service.container import ServiceContainer
from archetype.store.worlds import WorldRow

__all__ = ["CommandRoutes"]

Before = Annotated[
    int | None, QueryParameter(ge=1, le=2**63 - 1, description="Only entries below this log position.")
]
Prefer = Annotated[
    str,
    HeaderParameter(name="Prefer", description="`return=representation` answers receipts instead of ids."),
]
_REFUSALS = (404, 409, 412, 413, 422, 429)


class CommandRoutes(Controller):
    """The commands of a world."""

    path = "/worlds/{world:str}"
    tags = ("commands",)

    @post("/commands", summary="Submit a command", status_code=202, responses=problems(*_REFUSALS))
    async def submit(
        self,
        world: FromPath[str],
        data: CommandBody,
        submitter: NamedDependency[Submitter],
    ) -> ReceiptResponse:
        """Accept a command, which is durable by the time this answers."""
        receipt = await submitter.submit(world, data.request(data.id))
        return ReceiptResponse.of(receipt, data.tick)

    @post("/commands/batch", summary="Submit commands", status_code=202, responses=problems(*_REFUSALS))
    async def submit_batch(
        self,
        world: FromPath[str],
        data: BatchBody,
        submitter: NamedDependency[Submitter],
        prefer: Prefer = "",
    ) -> Response[list[str] | list[ReceiptResponse]]:
        """Accept commands in their order, all or none; a fault's path says which: `commands.3.payload.…`."""
        world_id = await world_id_of(submitter.services, world)
        ids = submitter.conditions.batch_ids(world_id, (command.id for command in data.commands))
        requests = [
            command.request(command_id) for command, command_id in zip(data.commands, ids, strict=True)
        ]
        receipts = await submitter.submit_batch(world_id, requests)
        if "return=representation" not in prefer.replace(" ", ""):
            return Response([str(receipt.command_id) for receipt in receipts])
        answers = [
            ReceiptResponse.of(receipt, request.tick)
            for receipt, request in zip(receipts, requests, strict=True)
        ]
        return Response(answers, headers={"Preference-Applied": "return=representation"})

    @get("/commands", summary="List commands", responses=problems(404, 422))
    async def commands(
        self,
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        limit: Limit = 100,
        before: Before = None,
    ) -> Response[list[CommandEntry]]:
        """List the newest commands and what became of them, the newest last."""
        found = await services.world_service.find(world)
        entries, headers = await _page(services, found, "commands", limit, before)
        return Response(
            [CommandEntry.of(entry, is_pending=_is_pending(entry, found)) for entry in entries],
            headers=headers,
        )

    @get("/commands/pending", summary="Count waiting commands", responses=problems(404, 422))
    async def pending(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> PendingResponse:
        """Count the commands that wait for a tick which is not committed yet."""
        found = await services.world_service.find(world)
        count = await services.command_service.pending_count(found.world_id)
        return PendingResponse(world_id=found.world_id, pending_count=count)

    @get("/history", summary="Read the log", responses=problems(404, 422))
    async def history(
        self,
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        limit: Limit = 100,
        before: Before = None,
    ) -> Response[list[HistoryItem]]:
        """Read the newest commands of the whole lineage, the newest last; `Link` leads to older ones."""
        found = await services.world_service.find(world)
        entries, headers = await _page(services, found, "history", limit, before)
        return Response([HistoryItem.of(entry) for entry in entries], headers=headers)


async def _page(
    services: ServiceContainer, world: WorldRow, route: str, limit: int, before: int | None
) -> tuple[Sequence[HistoryEntry], dict[str, str]]:
    """Read one entry more than asked for, which tells whether there are older ones."""
    entries = await services.command_service.history(world.world_id, before_position=before, limit=limit + 1)
    if len(entries) <= limit:
        return entries, {}
    page = entries[-limit:]
    older = f"/worlds/{world.world_id}/{route}?before={page[0].position}&limit={limit}"
    return page, {"Link": f'<{older}>; rel="next"'}


def _is_pending(entry: HistoryEntry, world: WorldRow) -> bool:
    return RULES[entry.command.type].queued and entry.applied_tick > world.committed_tick
