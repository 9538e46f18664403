"""What the server counts, in Prometheus' terms; each application has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

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

from archetype.api.memory import MemoryCollector
from archetype.service.budget import MemoryBudget

__all__ = ["METRICS_MEDIA_TYPE", "Metrics"]

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The server's counters; `queue_depth` tells how many commands wait for their commit now.

    What the caches of a `budget` take is among the figures.
    """

    def __init__(self, queue_depth: Callable[[], int], budget: MemoryBudget) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(MemoryCollector(budget))
        self._requests = Histogram(
            "archetype_http_request_duration_seconds",
            "Requests by method, path template and status, with their durations.",
            ["method", "path", "status"],
            registry=self._registry,
        )
        self._commands = Counter(
            "archetype_commands_accepted", "Commands accepted; retries count once.", registry=self._registry
        )
        self._ticks = Counter(
            "archetype_ticks_committed", "Ticks committed by this server.", registry=self._registry
        )
        depth = Gauge(
            "archetype_command_queue_depth", "Commands that wait for their commit.", registry=self._registry
        )
        depth.set_function(queue_depth)

    def count_request(self, method: str, path: str, status: int, duration_s: float) -> None:
        """Count one answered request; `path` is its template, so that ids do not become series."""
        self._requests.labels(method, path, str(status)).observe(duration_s)

    def count_commands(self, count: int) -> None:
        """Count commands that were accepted."""
        self._commands.inc(count)

    async def count_tick(self, _tick: int) -> None:
        """Count one committed tick; a run calls this behind each."""
        self._ticks.inc()

    def render(self) -> bytes:
        """Return all figures in the text form."""
        return generate_latest(self._registry)
