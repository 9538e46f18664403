"""What the server counts, in Prometheus' terms; each application has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from archetype.service.storing import PageCounts

__all__ = ["METRICS_MEDIA_TYPE", "Metrics"]

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST


class _PageCollector(Collector):
    """Shows what was stored, as it is when somebody asks."""

    def __init__(self, counts: PageCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the counters."""
        pages = CounterMetricFamily(
            "archetype_pages",
            "Pages of the snapshots stored, by form; reused ones took nothing.",
            labels=["form"],
        )
        for form, count in sorted(self._counts.pages.items()):
            pages.add_metric([form], count)
        size = CounterMetricFamily(
            "archetype_page_bytes", "Bytes of new pages, as they are stored and as they are.", labels=["of"]
        )
        size.add_metric(["stored"], self._counts.stored_bytes)
        size.add_metric(["content"], self._counts.content_bytes)
        yield from (pages, size)


class Metrics:
    """The server's counters; `queue_depth` tells how many commands wait for their commit now.

    `page_counts` is what was stored by whoever runs worlds here.
    """

    def __init__(self, queue_depth: Callable[[], int], page_counts: PageCounts) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
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
        self._registry.register(_PageCollector(page_counts))

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
