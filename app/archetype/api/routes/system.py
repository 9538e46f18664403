"""The server itself: what it is, how it is, and which classes it has loaded."""

from __future__ import annotations

import inspect
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

import archetype
from archetype.api.gate import OPEN, needs
from archetype.api.metrics import METRICS_MEDIA_TYPE, Metrics
from archetype.api.problems import problems
from archetype.api.schemas.scheduling import declared_fields
from archetype.api.schemas.system import (
    ComponentType,
    FieldType,
    ProcessorType,
    ServerInfo,
    StatusResponse,
)
from archetype.core.arrow_types import type_name
from archetype.core.component import Component
from archetype.core.processor import Processor
from archetype.core.registry import module_name
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer

__all__ = ["SystemRoutes"]


class SystemRoutes(Controller):
    """What concerns no world."""

    path = "/"
    tags = ("system",)

    @get("/", summary="Say what answers here", opt=OPEN, responses=problems())
    async def root(self) -> ServerInfo:
        """Name the server and its version."""
        return ServerInfo(name="archetype-log", version=archetype.__version__)

    @get("/healthz", summary="Say whether the server lives", opt=OPEN, responses=problems())
    async def healthz(self) -> StatusResponse:
        """Answer as long as the process can."""
        return StatusResponse(status="ok")

    @get("/readyz", summary="Say whether the server can work", opt=OPEN, responses=problems())
    async def readyz(self, services: NamedDependency[ServiceContainer]) -> StatusResponse:
        """Ask the database for its schema; 503 when it does not answer or has another one."""
        await services.database.require_schema()
        return StatusResponse(status="ok")

    @get(
        "/metrics",
        summary="Give figures to Prometheus",
        opt=needs(Access.READ_METRICS),
        media_type="text/plain",
        responses=problems(),
    )
    async def metrics(self, metrics: NamedDependency[Metrics]) -> Response[bytes]:
        """Give the server's counters in Prometheus' text form."""
        return Response(metrics.render(), media_type=METRICS_MEDIA_TYPE)

    @get(
        "/components",
        summary="List loaded component types",
        opt=needs(Access.READ_CATALOG),
        responses=problems(),
    )
    async def component_types(self) -> list[ComponentType]:
        """List the component classes that this server has loaded, with their fields."""
        return [
            ComponentType(
                name=name,
                module=module_name(kind),
                fields=[
                    FieldType(name=field.name, type=type_name(field.type), nullable=field.nullable)
                    for field in kind.to_pyarrow_schema()
                ],
            )
            for name, kind in sorted(Component.loaded_types().items())
        ]

    @get(
        "/processors",
        summary="List loaded processor types",
        opt=needs(Access.READ_CATALOG),
        responses=problems(),
    )
    async def processor_types(self) -> list[ProcessorType]:
        """List the processor classes that this server has loaded, with parameters and declarations."""
        return [
            ProcessorType(
                name=name,
                module=module_name(kind),
                priority=kind.priority,
                components=[component.__name__ for component in kind.components],
                parameters=_parameters(kind),
                **declared_fields(kind.declarations()),
            )
            for name, kind in sorted(Processor.loaded_types().items())
        ]


def _parameters(kind: type[Processor]) -> dict[str, Any]:
    init: Any = kind.__init__
    if init is object.__init__:
        return {}
    _, *parameters = inspect.signature(init).parameters.values()
    return {each.name: _default(each.default) for each in parameters}


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
