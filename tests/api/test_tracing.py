"""Spans of requests, flushes and ticks, by the SDK's own exporter in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from archetype.api.application import create_app
from archetype.api.tracing import Tracing, tracing_from
from archetype.errors import InvalidInputError
from archetype.service.container import ServiceContainer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
async def traced(sqlite_url, exporter):
    """A client of an application that is traced."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    app = create_app(ServiceContainer(sqlite_url), is_loopback=True, tracing=tracing)
    ready, done = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await done.wait()

    task = asyncio.create_task(live())
    await ready.wait()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    done.set()
    await task
    tracing.close()


async def test_a_request_its_flush_and_its_ticks_are_one_story(traced, exporter) -> None:
    """The request is part of the caller's trace; the tick is below it, its phases below the tick."""
    await traced.post("/worlds", json={"name": "demo"})
    exporter.clear()
    await traced.post("/worlds/demo/commands", json={}, headers={"traceparent": PARENT})
    request, append = (by_name(exporter)[name][0] for name in ("POST /worlds/{world}/commands", "append"))
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert request.attributes["http.response.status_code"] == 202
    assert append.parent is None
    assert [link.context.span_id for link in append.links] == [request.context.span_id]
    assert append.attributes["archetype.command_count"] == 1
    exporter.clear()
    await traced.post("/worlds/demo/run", json={"num_steps": 2})
    spans = by_name(exporter)
    (run,) = spans["POST /worlds/{world}/run"]
    assert [each.attributes["archetype.tick"] for each in spans["tick"]] == [0, 1]
    for tick in spans["tick"]:
        assert tick.parent.span_id == run.context.span_id
        assert run.start_time <= tick.start_time <= tick.end_time <= run.end_time
        below = [each for each in exporter.get_finished_spans() if is_child(each, tick)]
        assert [each.name for each in below] == ["prepare", "compute", "hash", "persist"]
        assert below[0].start_time >= tick.start_time - 1_000_000


async def test_one_flush_links_to_all_that_waited_for_it(traced, exporter) -> None:
    """Each request that shared a flush is linked once."""
    await traced.post("/worlds", json={"name": "demo"})
    exporter.clear()
    await asyncio.gather(*(traced.post("/worlds/demo/commands", json={}) for _ in range(10)))
    spans = by_name(exporter)
    linked = [link.context.span_id for each in spans["append"] for link in each.links]
    assert sorted(linked) == sorted(each.context.span_id for each in spans["POST /worlds/{world}/commands"])
    assert sum(each.attributes["archetype.command_count"] for each in spans["append"]) == 10


def by_name(exporter):
    found = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def is_child(span, parent) -> bool:
    return span.parent is not None and span.parent.span_id == parent.context.span_id


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PATH": "/bin"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
    ids=["empty", "others", "none", "disabled"],
)
def test_nothing_is_traced_unless_the_environment_says_so(environment) -> None:
    assert tracing_from(environment) is None


def test_the_console_exporter_is_made_and_another_is_refused() -> None:
    tracing = tracing_from({"OTEL_TRACES_EXPORTER": "console"})
    assert tracing is not None
    tracing.close()
    with pytest.raises(InvalidInputError, match="known are otlp, console and none"):
        tracing_from({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_without_the_extra_a_named_exporter_is_an_error_and_other_variables_are_none(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert tracing_from({"OTEL_SERVICE_NAME": "x"}) is None
    with pytest.raises(InvalidInputError, match=r"archetype-log\[otel\]"):
        tracing_from({"OTEL_TRACES_EXPORTER": "otlp"})


def test_the_server_does_not_load_opentelemetry() -> None:
    code = "import sys, archetype.api.server; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
