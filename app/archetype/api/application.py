"""The HTTP application over one service container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import BaseRoute

import archetype
from archetype.api.bodies import Bodies, require_few_values
from archetype.api.collectors import MemoryCollector, PageCollector
from archetype.api.gate import OPEN, Caller, Door
from archetype.api.gauges import gauges
from archetype.api.metrics import Metrics
from archetype.api.negotiation import require_identity
from archetype.api.observe import Observed
from archetype.api.problems import EXCEPTION_HANDLERS
from archetype.api.requests import Conditions, IdempotencyKey, IfMatch
from archetype.api.routes.ancestry import AncestryRoutes
from archetype.api.routes.audit import AuditRoutes
from archetype.api.routes.commands import CommandRoutes
from archetype.api.routes.entities import EntityRoutes
from archetype.api.routes.episodes import EpisodeRoutes
from archetype.api.routes.events import EventRoutes
from archetype.api.routes.identities import IdentityRoutes
from archetype.api.routes.labels import LabelRoutes
from archetype.api.routes.messages import MessageRoutes
from archetype.api.routes.queries import QueryRoutes
from archetype.api.routes.quotas import QuotaRoutes
from archetype.api.routes.resources import ResourceRoutes
from archetype.api.routes.runs import RunRoutes
from archetype.api.routes.simulation import SimulationRoutes
from archetype.api.routes.system import SystemRoutes
from archetype.api.routes.worlds import WorldRoutes
from archetype.api.streaming import EventStreams
from archetype.api.submitting import Submitter
from archetype.api.tracing import Tracing
from archetype.limits import BODY_BYTES_MAX
from archetype.service.container import ServiceContainer, load_modules

__all__ = ["create_app"]


DESCRIPTION = (
    "Simulation worlds over an event log. A command is durable when it is answered and applied in its tick; "
    "a step or a run computes ticks; any committed tick can be read. `{world}` is a name or an id; "
    "reads, forks and labels also take one of its ticks: `demo@120`, `demo@-10`, `demo@label`."
)


def create_app(
    container: ServiceContainer,
    *,
    modules: Sequence[str] = (),
    is_loopback: bool = False,
    tracing: Tracing | None = None,
) -> Litestar:
    """Make the application; its lifespan loads the modules, opens the container and shuts it down.

    While it lives it takes up the runs that were cut short, its own of before and those of others.

    `app.state.stopping` is an event that ends open streams, `app.state.streams` knows how many there are.
    `is_loopback` says that only this machine can reach it: then, as long as no API key was ever made, callers
    without one are let in as its single user.
    """
    stopping = asyncio.Event()
    streams = EventStreams(stopping)
    collectors = [
        MemoryCollector(container.budget),
        PageCollector(container.simulation_service.page_counts),
    ]
    metrics = Metrics(gauges(container, streams), collectors)
    container.observers.add(metrics)
    if tracing is not None:
        container.observers.add(tracing)

    door = Door(container.gate, is_loopback=is_loopback)

    def submitter(
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Submitter:
        conditions = Conditions(key, if_match, caller.actor_id)
        noted: dict[str, Any] = request.scope["state"]
        return Submitter(container, metrics, caller, conditions, noted)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        load_modules(modules)
        async with container:
            container.run_service.watch(on_tick=metrics.count_tick)
            yield

    app = Litestar(
        [
            SystemRoutes,
            WorldRoutes,
            LabelRoutes,
            CommandRoutes,
            MessageRoutes,
            ResourceRoutes,
            SimulationRoutes,
            RunRoutes,
            EpisodeRoutes,
            QueryRoutes,
            EntityRoutes,
            AncestryRoutes,
            EventRoutes,
            IdentityRoutes,
            AuditRoutes,
            QuotaRoutes,
        ],
        lifespan=[lifespan],
        middleware=[door.before],
        dependencies={
            "caller": Provide(door.caller, sync_to_thread=False),
            "services": Provide(lambda: container, sync_to_thread=False, use_cache=True),
            "metrics": Provide(lambda: metrics, sync_to_thread=False, use_cache=True),
            "streams": Provide(lambda: streams, sync_to_thread=False, use_cache=True),
            "submitter": Provide(submitter, sync_to_thread=False),
        },
        exception_handlers=dict(EXCEPTION_HANDLERS),
        before_request=_look_at_body,
        after_exception=[door.note_excess],
        request_max_body_size=BODY_BYTES_MAX,
        state=State({"stopping": stopping, "streams": streams}),
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="archetype-log",
            version=archetype.__version__,
            description=DESCRIPTION,
            use_handler_docstrings=True,
            openapi_router=_DocumentRouter(
                "/openapi.json", route_handlers=[], include_in_schema=False, opt=OPEN
            ),
            render_plugins=[JsonRenderPlugin(path="/")],
        ),
    )
    bodies = Bodies(app.asgi_handler, json_bytes_max=BODY_BYTES_MAX)
    app.asgi_handler = Observed(bodies, metrics, tracing)
    return app


async def _look_at_body(request: Request[Any, Any, Any]) -> None:
    require_identity(request)
    await require_few_values(request)


class _DocumentRouter(Router):
    """Serves the API document alone; the framework would add HTML answers for every path below it."""

    def register(self, value: Any) -> list[BaseRoute]:
        return super().register(value) if value.paths == {"/"} else []
