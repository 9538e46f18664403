"""What the process keeps in memory and has stored, in Prometheus' terms, read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from archetype.service.budget import MemoryBudget
from archetype.service.storing import PageCounts

__all__ = ["MemoryCollector", "PageCollector"]


class MemoryCollector(Collector):
    """The bytes, values and evictions of each cache, and the limit for all."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget

    def collect(self) -> Iterator[Metric]:
        """Give the figures of now."""
        limit = GaugeMetricFamily("archetype_memory_budget_bytes", "What all caches may take together.")
        limit.add_metric([], self._budget.limit_bytes)
        size = GaugeMetricFamily("archetype_cache_bytes", "What a cache takes.", labels=["cache"])
        count = GaugeMetricFamily("archetype_cache_values", "How much a cache holds.", labels=["cache"])
        gone = CounterMetricFamily(
            "archetype_cache_evictions", "What had to go for lack of room.", labels=["cache"]
        )
        for name, use in self._budget.uses().items():
            size.add_metric([name], use.size_bytes)
            count.add_metric([name], use.value_count)
            gone.add_metric([name], use.eviction_count)
        yield from (limit, size, count, gone)


class PageCollector(Collector):
    """Shows what was stored, as it is when somebody asks."""

    def __init__(self, counts: PageCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the counters."""
        pages = CounterMetricFamily(
            "archetype_stored_pages",
            "Pages of the snapshots stored, by form; reused ones took nothing.",
            labels=["form"],
        )
        for form, count in sorted(self._counts.pages.items()):
            pages.add_metric([form], count)
        size = CounterMetricFamily(
            "archetype_stored_page_bytes",
            "Bytes of new pages, as they are stored and as they are.",
            labels=["of"],
        )
        size.add_metric(["stored"], self._counts.stored_bytes)
        size.add_metric(["content"], self._counts.content_bytes)
        yield from (pages, size)
