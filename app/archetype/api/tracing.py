"""Traces by OpenTelemetry: requests, flushes of the appender, ticks and their phases.

Nothing here is loaded unless the environment says OTEL_… and the extra `otel` is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from archetype.clock import epoch_ns
from archetype.errors import InvalidInputError
from archetype.service.observing import FlushSeen, Observer, TickSeen

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Tracing", "tracing_from"]

_SERVICE = "archetype-log"
_LINKS_MAX = 128
"""Callers that one flush links to: the SDK's own limit."""


def tracing_from(environment: Mapping[str, str]) -> Tracing | None:
    """Return what traces as the OTEL_… variables say, or None where there are none or they say not to.

    The exporter is that of OTEL_TRACES_EXPORTER: `otlp` (the default, over HTTP), `console` or `none`. Raises
    `InvalidInputError` for another, and where the extra is missing although an exporter is named.
    """
    if not any(name.startswith("OTEL_") for name in environment):
        return None
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or named == "none":
        return None
    if importlib.util.find_spec("opentelemetry") is None:
        if not named:
            return None
        msg = "OTEL_TRACES_EXPORTER is set without OpenTelemetry: pip install archetype-log[otel]"
        raise InvalidInputError(msg)
    return Tracing(_exporting(named or "otlp", environment))


def _exporting(name: str, environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415  see the module's docstring
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter  # noqa: PLC0415

    exporter: Any
    if name == "console":
        exporter = ConsoleSpanExporter()
    elif name == "otlp":
        if importlib.util.find_spec("opentelemetry.exporter") is None:
            msg = "the exporter `otlp` is not installed: pip install archetype-log[otel]"
            raise InvalidInputError(msg)
        otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        exporter = otlp.OTLPSpanExporter()
    else:
        msg = f"OTEL_TRACES_EXPORTER is {name!r}; known are otlp, console and none"
        raise InvalidInputError(msg)
    # What the environment says of the service's name comes before ours.
    named = {} if environment.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: _SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Tracing(Observer):
    """Makes the spans of one server; what it hears of is over by then, so those begin in the past."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.propagate import extract  # noqa: PLC0415

        self._trace = trace
        self._extract = extract
        self._provider: Any = provider
        self._tracer = provider.get_tracer(_SERVICE)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()

    @contextmanager
    def request(self, method: str, headers: Any) -> Generator[Any]:
        """Trace one request, as part of the caller's trace if `traceparent` names one; give its span."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name in {b"traceparent", b"tracestate", b"baggage"}
        }
        with self._tracer.start_as_current_span(
            method,
            context=self._extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:
            yield span

    def caller(self) -> Any:
        """Return the span under way, if there is one that is recorded."""
        context = self._trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    def flushed(self, seen: FlushSeen) -> None:
        """Make the span of a flush, with a link to each request that waited for it."""
        callers = {each.span_id: each for each in seen.callers}
        links = [self._trace.Link(each) for each in callers.values()]
        span = self._tracer.start_span(
            "append",
            # It serves many requests, so it is part of none.
            context=self._root(),
            kind=self._trace.SpanKind.CLIENT,
            links=links[:_LINKS_MAX],
            start_time=epoch_ns(seen.started_at_s),
            attributes={"archetype.command_count": seen.command_count},
        )
        if not seen.is_committed:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(epoch_ns(seen.ended_at_s))

    def ticked(self, seen: TickSeen) -> None:
        """Make the span of a tick, and one below it for each phase."""
        first, last = seen.phases[0], seen.phases[-1]
        tick = self._tracer.start_span(
            "tick",
            start_time=epoch_ns(first[1]),
            attributes={
                "archetype.world_id": str(seen.world_id),
                "archetype.run_id": str(seen.run_id),
                "archetype.tick": seen.tick,
                "archetype.command_count": seen.command_count,
                "archetype.pages_written": seen.pages_written,
            },
        )
        within = self._trace.set_span_in_context(tick)
        for name, started_at_s, ended_at_s in seen.phases:
            phase = self._tracer.start_span(name, context=within, start_time=epoch_ns(started_at_s))
            phase.end(epoch_ns(ended_at_s))
        tick.end(epoch_ns(last[2]))

    def _root(self) -> Any:
        return self._trace.set_span_in_context(self._trace.INVALID_SPAN)
