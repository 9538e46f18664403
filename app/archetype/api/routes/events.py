"""Live feeds of the log, and of one world."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter

from archetype.api.gate import Caller, needs
from archetype.api.problems import problems
from archetype.api.requests import names
from archetype.api.schemas.events import EventResponse
from archetype.api.sources import FeedSource
from archetype.api.streaming import EVENT_STREAM, EventStreams
from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import POSITION_MAX
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.live import event_filter
from archetype.store.feed import EventFilter

__all__ = ["EventRoutes"]

After = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=POSITION_MAX,
        description="Begin behind this position, 0 for all; by default at the end.",
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="The last `id` that was seen; it comes before the parameter `after`.",
    ),
]
Follow = Annotated[
    bool, QueryParameter(description="Wait for what comes; else the stream ends at the log's end.")
]
Kinds = Annotated[
    str | None, QueryParameter(min_length=1, description="Only these kinds of events: `command,fact`.")
]
Types = Annotated[
    str | None,
    QueryParameter(min_length=1, description="Only events of these types: `spawn,tick_committed`."),
]

_STREAM = {
    200: ResponseSpec(
        EventResponse,
        description="Blocks of `id` (the position), `event` (the type) and `data` (this object in a line). "
        "A block of an `id` alone is where a reader goes on; a line that begins with a colon is a heartbeat. "
        "A last block `closed` without an `id` says why the server ends it: a key that does not hold any "
        "more, or a reader who is too slow.",
        media_type=EVENT_STREAM,
        generate_examples=False,
    ),
    204: ResponseSpec(None, description="Nothing more will come; a reader need not ask again."),
}


def _wanted(kinds: Kinds = None, types: Types = None) -> EventFilter:
    return event_filter(
        None if kinds is None else names(kinds, "kinds"), None if types is None else names(types, "types")
    )


def _place(last_event_id: LastEventId = None, after: After = None) -> int | None:
    if last_event_id is None:
        return after
    text = last_event_id.strip()
    if text.isascii() and text.isdigit() and len(text) <= len(str(POSITION_MAX)):
        return int(text)
    msg = f"must be a position of the log, such as 17, not {last_event_id!r:.60}"
    raise InvalidInputError(f"Last-Event-ID {msg}", faults=[FieldFault("Last-Event-ID", msg)])


class EventRoutes(Controller):
    """The log as it grows."""

    path = "/"
    tags = ("events",)
    dependencies = {  # noqa: RUF012  read by the framework
        "wanted": Provide(_wanted, sync_to_thread=False),
        "place": Provide(_place, sync_to_thread=False),
    }

    @get(
        "/events",
        summary="Follow the log",
        opt=needs(Access.FOLLOW_LOG),
        responses=problems(422, 429) | _STREAM,
    )
    async def log(
        self,
        services: NamedDependency[ServiceContainer],
        streams: NamedDependency[EventStreams],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[EventFilter],
        place: NamedDependency[int | None],
        *,
        follow: Follow = True,
    ) -> Response[Any]:
        """Stream the events of all worlds in the order of their positions, each once."""

        async def opening() -> FeedSource:
            return FeedSource(await services.live_service.feed(place, None, wanted))

        recheck = partial(caller.still_may, Access.FOLLOW_LOG)
        return await streams.answer(opening, "/events", recheck=recheck, follow=follow)

    @get(
        "/worlds/{world:str}/events",
        summary="Follow a world",
        opt=needs(Access.READ_LOG),
        responses=problems(404, 422, 429) | _STREAM,
    )
    async def world(
        self,
        world: FromPath[str],
        services: NamedDependency[ServiceContainer],
        streams: NamedDependency[EventStreams],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[EventFilter],
        place: NamedDependency[int | None],
        *,
        follow: Follow = True,
    ) -> Response[Any]:
        """Stream the events of a world's own log, each once; what it shares with its ancestors is theirs.

        It ends behind the last event of a world that is removed; by its id such a world can still be read.
        """
        found = await services.world_service.peek(world) or await services.world_service.find(world)

        async def opening() -> FeedSource:
            return FeedSource(await services.live_service.feed(place, found.world_id, wanted))

        recheck = partial(caller.still_may, Access.READ_LOG, found.world_id)
        location = f"/worlds/{found.world_id}/events"
        return await streams.answer(opening, location, recheck=recheck, follow=follow)
