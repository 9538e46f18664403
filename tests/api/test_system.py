"""What concerns no world: health, figures, loaded types, the API document, the request log."""

from __future__ import annotations

import re

from archetype import __version__
from archetype.settings import DEFAULT_MEMORY_BUDGET_BYTES

METHODS = {"get", "post", "patch", "delete", "put"}


async def test_root_and_health(http) -> None:
    """Name and version; alive and ready."""
    assert (await http.get("/")).json() == {"name": "archetype-log", "version": __version__}
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ok"}


async def test_loaded_types(lite) -> None:
    """The module's classes, with their fields and parameters."""
    kinds = {each["name"]: each for each in (await lite.get("/components")).json()}
    assert kinds["Position"]["module"] == "archetype.examples.movement"
    assert kinds["Position"]["fields"][0] == {"name": "x", "type": "float64", "nullable": False}
    processors = {each["name"]: each for each in (await lite.get("/processors")).json()}
    assert processors["MovementProcessor"]["components"] == ["Position", "Velocity"]
    assert processors["MovementProcessor"]["parameters"] == {}
    assert (processors["MovementProcessor"]["kind"], processors["MovementProcessor"]["writes"]) == (
        "frame",
        None,
    )


async def test_metrics_count_by_template(lite, lite_world) -> None:
    """Ids do not become series; a retry counts once; each tick counts."""
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        await lite.post(f"/worlds/{lite_world}/commands", json={}, headers=key)
    await lite.post("/worlds/demo/run", json={"num_steps": 3})
    await lite.get("/nothing")
    answer = await lite.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert "archetype_commands_accepted_total 3.0" in text
    assert "archetype_ticks_committed_total 3.0" in text
    assert 'archetype_stored_pages_total{form="plain"}' in text
    assert 'archetype_stored_page_bytes_total{of="stored"}' in text
    assert "archetype_command_queue_depth 0.0" in text
    count = 'duration_seconds_count{method="POST",path="/worlds/{world}/commands",status="202"} 3.0'
    assert count in text
    assert 'path="(none)",status="404"' in text
    assert lite_world not in text


async def test_metrics_tell_what_the_caches_take(lite, lite_world) -> None:
    await lite.post("/worlds/demo/commands", json={"type": "spawn", "payload": {"components": []}})
    await lite.post("/worlds/demo/run", json={"num_steps": 1})
    text = (await lite.get("/metrics")).text
    assert 'archetype_cache_values{cache="projections"} 1.0' in text
    assert 'archetype_cache_evictions_total{cache="pages"} 0.0' in text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures["archetype_memory_budget_bytes"]) == DEFAULT_MEMORY_BUDGET_BYTES
    assert float(figures['archetype_cache_bytes{cache="projections"}']) > 1_000


async def test_a_request_id_comes_back(lite) -> None:
    """The caller's if it is a plain word, else one of ours; never the same twice."""
    assert (await lite.get("/", headers={"X-Request-ID": "mine-1"})).headers["x-request-id"] == "mine-1"
    ours = {(await lite.get("/", headers={"X-Request-ID": "a b"})).headers["x-request-id"] for _ in range(3)}
    assert len(ours) == 3
    assert "a b" not in ours


async def test_the_document_is_complete(lite) -> None:
    """Each operation has a summary, a description, problems, and each body an example."""
    answer = await lite.get("/openapi.json")
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    seen = 0
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            seen += 1
            operation = item[method]
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            errors = {status: each for status, each in operation["responses"].items() if status >= "400"}
            assert {"400", "500", "503"} <= errors.keys(), where
            for each in errors.values():
                assert list(each["content"]) == ["application/problem+json"], where
            parameters = {each["name"] for each in operation.get("parameters", ())}
            names_one = bool({"world", "run_id"} & parameters)
            assert path.startswith(("/actors", "/keys")) or ("404" in errors) == names_one, where
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert content["schema"]["examples"], where
            for parameter in operation.get("parameters", []):
                assert parameter["in"] == "path" or parameter.get("description"), (where, parameter["name"])
    assert seen == 70


async def test_tables_and_streams_are_documented(lite) -> None:
    """What a read can be given as, and what a bulk route reads."""
    paths = (await lite.get("/openapi.json")).json()["paths"]
    content = paths["/worlds/{world}/state"]["get"]["responses"]["200"]["content"]
    assert {"application/json", "text/csv", "application/vnd.apache.parquet"} <= content.keys()
    bulk = paths["/worlds/{world}/entities/bulk"]
    for method in ("post", "patch"):
        assert list(bulk[method]["requestBody"]["content"]) == ["application/vnd.apache.arrow.stream"]
        assert not re.search("RawBody", str(bulk[method]))
