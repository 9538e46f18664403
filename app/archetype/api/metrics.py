"""What the server counts, in Prometheus' terms; each application has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from archetype.service.observing import FlushSeen, LeaseChange, Observer, TickSeen

__all__ = ["METRICS_MEDIA_TYPE", "Metrics"]

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_DENIED = {HTTPStatus.UNAUTHORIZED: "authentication", HTTPStatus.FORBIDDEN: "permission"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COMMANDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Metrics(Observer):
    """The server's counters; `gauges` are read whenever somebody asks, as name, help and value.

    The `collectors` of others are asked as well.
    """

    def __init__(
        self,
        gauges: Iterable[tuple[str, str, Callable[[], float]]] = (),
        collectors: Iterable[Collector] = (),
    ) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        for each in collectors:
            registry.register(each)
        self._requests = Histogram(
            "archetype_http_request_duration_seconds",
            "Requests by method, path template and status, with their durations.",
            ["method", "path", "status"],
            registry=registry,
        )
        self._denials = Counter(
            "archetype_denials",
            "Requests that the gate denied: `authentication` (401) or `permission` (403).",
            ["kind"],
            registry=registry,
        )
        self._commands = Counter(
            "archetype_commands_accepted", "Commands accepted; retries count once.", registry=registry
        )
        self._ticks = Counter(
            "archetype_ticks_committed", "Ticks committed by this server.", registry=registry
        )
        self._appends = Histogram(
            "archetype_append_duration_seconds",
            "From a command's arrival at the appender to its answer, of each flush's first.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._flushes = Histogram(
            "archetype_flush_duration_seconds",
            "The transactions that append commands.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._failures = Counter(
            "archetype_flush_failures", "Flushes that the database did not commit.", registry=registry
        )
        self._batches = Histogram(
            "archetype_flush_commands", "Commands of a flush.", registry=registry, buckets=_COMMANDS
        )
        self._phases = Histogram(
            "archetype_tick_phase_duration_seconds",
            "Parts of ticks: `seal` (once a run), `prepare`, `compute`, `hash` and `persist`.",
            ["phase"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._leases = Counter(
            "archetype_lease_changes",
            "Leases of worlds: `taken`, `taken_over` from another process, or `lost` to one.",
            ["change"],
            registry=registry,
        )
        for name, text, read in gauges:
            Gauge(name, text, registry=registry).set_function(read)
        self._make_series()

    def _make_series(self) -> None:
        """Let counters begin at 0: an alert on an increase would miss the first of a series that appears."""
        for kind in _DENIED.values():
            self._denials.labels(kind)
        for change in get_args(LeaseChange):
            self._leases.labels(change)

    def count_request(self, method: str, path: str, status: int, duration_s: float) -> None:
        """Count one answered request; `path` is its template, so that ids do not become series."""
        self._requests.labels(method, path, str(status)).observe(duration_s)
        if status in _DENIED:
            self._denials.labels(_DENIED[HTTPStatus(status)]).inc()

    def count_commands(self, count: int) -> None:
        """Count commands that were accepted."""
        self._commands.inc(count)

    async def count_tick(self, _tick: int) -> None:
        """Count one committed tick; a run calls this behind each."""
        self._ticks.inc()

    def flushed(self, seen: FlushSeen) -> None:
        """Measure a flush and the longest wait for it."""
        self._flushes.observe(seen.ended_at_s - seen.started_at_s)
        self._appends.observe(seen.ended_at_s - seen.queued_at_s)
        self._batches.observe(seen.command_count)
        if not seen.is_committed:
            self._failures.inc()

    def sealed(self, started_at_s: float, ended_at_s: float) -> None:
        """Measure the beginning of a run."""
        self._phases.labels("seal").observe(ended_at_s - started_at_s)

    def ticked(self, seen: TickSeen) -> None:
        """Measure a tick's phases, and count its pages."""
        for name, started_at_s, ended_at_s in seen.phases:
            self._phases.labels(name).observe(ended_at_s - started_at_s)

    def lease_changed(self, change: LeaseChange) -> None:
        """Count a lease that was taken, taken over or lost."""
        self._leases.labels(change).inc()

    def render(self) -> bytes:
        """Return all figures in the text form."""
        return generate_latest(self._registry)
