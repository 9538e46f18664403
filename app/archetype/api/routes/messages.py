"""Messages: sending them to the processors of a tick, and reading them back."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from archetype.api.gate import needs
from archetype.api.paging import next_page
from archetype.api.problems import problems
from archetype.api.requests import Before, FromTick, Limit, ToTick, WorldReference, past_of
from archetype.api.schemas.commands import ReceiptResponse
from archetype.api.schemas.messages import MessageBody, MessageResponse
from archetype.api.submitting import Submitter
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.messages import message_filter
from archetype.store.history import HistoryFilter

__all__ = ["MessageRoutes"]

Receiver = Annotated[int | None, QueryParameter(ge=1, description="Only messages to this entity.")]
Sender = Annotated[int | None, QueryParameter(ge=1, description="Only messages from this entity.")]
Channel = Annotated[str | None, QueryParameter(description="Only messages on this channel.")]


def _wanted(
    receiver: Receiver = None,
    sender: Sender = None,
    channel: Channel = None,
    from_tick: FromTick = None,
    to_tick: ToTick = None,
) -> HistoryFilter:
    return message_filter(
        receiver_id=receiver, sender_id=sender, channel=channel, from_tick=from_tick, to_tick=to_tick
    )


class MessageRoutes(Controller):
    """The messages of a world."""

    path = "/worlds/{world:str}/messages"
    tags = ("messages",)
    dependencies = {"wanted": Provide(_wanted, sync_to_thread=False)}  # noqa: RUF012  read by the framework

    @post(
        summary="Send a message",
        opt=needs(CommandType.MESSAGE),
        status_code=202,
        responses=problems(404, 409, 412, 413, 422, 429),
    )
    async def send(
        self, world: FromPath[str], data: MessageBody, submitter: NamedDependency[Submitter]
    ) -> ReceiptResponse:
        """Send a message, which the processors of the receipt's tick get.

        It is rejected, and reaches nobody, if its receiver is not active then.
        """
        return await submitter.entity_command(
            world, CommandType.MESSAGE, data.payload(), tick=data.tick, priority=data.priority
        )

    @get(summary="Read messages", opt=needs(Access.READ_LOG), responses=problems(404, 422))
    async def messages(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        wanted: NamedDependency[HistoryFilter],
        limit: Limit = 100,
        before: Before = None,
    ) -> Response[list[MessageResponse]]:
        """Read the newest messages of the whole lineage, the newest last; `Link` leads to older ones."""
        found, end = await past_of(services, world, wanted.to_tick)
        entries = await services.message_service.list_messages(
            found.world_id, replace(wanted, to_tick=end), before_position=before, limit=limit + 1
        )
        page = [MessageResponse(**asdict(each)) for each in entries[-limit:]]
        if len(entries) <= limit:
            return Response(page)
        headers = next_page(
            f"/worlds/{found.world_id}/messages",
            before=page[0].position,
            limit=limit,
            receiver=wanted.receiver_id,
            sender=wanted.sender_id,
            channel=wanted.channel,
            from_tick=wanted.from_tick,
            to_tick=end,
        )
        return Response(page, headers=headers)
