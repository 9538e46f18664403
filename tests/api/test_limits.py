"""Limits of requests: what just reaches one is taken, one more is not."""

import httpx
import pytest

from archetype import limits


@pytest.mark.parametrize(
    ("path", "most"),
    [("/worlds?limit={}", limits.PAGE_ENTRIES_MAX), ("/worlds/demo/commands?before={}", limits.POSITION_MAX)],
    ids=["limit", "before"],
)
async def test_numbers_in_an_address(lite, lite_world, problem, path, most):
    assert (await lite.get(path.format(most))).status_code == 200
    problem(await lite.get(path.format(most + 1)), 422, "invalid_input")


@pytest.mark.parametrize("parameter", ["entity_ids", "types"])
async def test_lists_in_an_address(lite, lite_world, problem, parameter):
    """What is named twice counts twice: the list is not looked at before it is counted."""
    await lite.post("/worlds/demo/step")
    name = "1" if parameter == "entity_ids" else "Position"
    most = limits.LISTED_VALUES_MAX
    path = "/worlds/demo/components?" + parameter + "="
    assert (await lite.get(path + ",".join([name] * most))).status_code == 200
    refused = problem(await lite.get(path + ",".join([name] * (most + 1))), 422, "invalid_input")
    assert refused["errors"][0]["path"] == parameter
    assert f"at most {most} values" in refused["detail"]


async def test_a_body(lite, problem):
    """One that is too long is not read to its end; what is not, is looked at."""
    most = limits.BODY_BYTES_MAX
    head, tail = b'{"name": "', b'"}'
    text = b"x" * (most - len(head) - len(tail))
    problem(await lite.post("/worlds", content=head + text + tail), 422, "invalid_input")
    problem(await lite.post("/worlds", content=head + text + b"x" + tail), 413, "limit_exceeded")


def crowd(count):
    """A batch of which none fits, with so many marks of a value."""
    head, tail = b'{"commands": [', b"]}"
    return head + b"1," * (count - 2) + b"1" + tail


async def test_values_of_a_body(lite, lite_world, problem):
    """One that has too many is not parsed; of one that has not, the faults are too many to be listed."""
    most, path = limits.JSON_VALUES_MAX, "/worlds/demo/commands/batch"
    fits = problem(await lite.post(path, content=crowd(most)), 422, "invalid_input")
    assert len(fits["errors"]) == 1
    assert f"{most - 1} values do not fit" in fits["detail"]
    over = problem(await lite.post(path, content=crowd(most + 1)), 413, "limit_exceeded")
    assert (over["limit"], over["actual"]) == (most, most + 1)


async def test_what_stands_in_a_text_is_no_value(lite, lite_world):
    """However many commas and brackets it has."""
    part = ",[{" * 40 + '\\"'
    body = {"type": "custom", "payload": {"text": part * (700_000 // len(part))}}
    assert (await lite.post("/worlds/demo/commands", json=body)).status_code == 202


@pytest.mark.parametrize(
    "count", [limits.FIELD_FAULTS_MAX, limits.FIELD_FAULTS_MAX + 1], ids=["at", "beyond"]
)
async def test_faults_of_a_body(lite, lite_world, problem, count):
    answer = await lite.post("/worlds/demo/commands/batch", json={"commands": [1] * count})
    refused = problem(answer, 422, "invalid_input")
    assert len(refused["errors"]) == (count if count == limits.FIELD_FAULTS_MAX else 1)


async def test_an_idempotency_key(lite, lite_world, problem):
    spawn = {"components": []}
    most = limits.IDEMPOTENCY_KEY_CHARACTERS_MAX
    sent = await lite.post("/worlds/demo/entities", json=spawn, headers={"Idempotency-Key": "k" * most})
    assert sent.status_code in {201, 202}
    longer = {"Idempotency-Key": "k" * (most + 1)}
    problem(await lite.post("/worlds/demo/entities", json=spawn, headers=longer), 422, "invalid_input")


async def test_a_request_id(lite):
    """A longer one is not refused: the request gets one of ours."""
    most = "r" * limits.REQUEST_ID_CHARACTERS_MAX
    for sent, is_kept in ((most, True), (most + "r", False)):
        got = (await lite.get("/", headers={"X-Request-ID": sent})).headers["x-request-id"]
        assert (got == sent) is is_kept
        assert got


@pytest.mark.parametrize("beyond", [0, 1], ids=["at", "beyond"])
async def test_an_address(sqlite_app, beyond):
    """No proxy's idea of an address is longer than its column."""
    most = limits.ADDRESS_CHARACTERS_MAX
    transport = httpx.ASGITransport(sqlite_app, client=("a" * (most + beyond), 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/worlds", headers={"Authorization": "Bearer none"})).status_code == 401
    services = sqlite_app.dependencies["services"].dependency()
    await services.denials.flush()
    (denial,) = await services.audit_service.list_denials(limit=9)
    assert denial.address == "a" * most


async def test_a_replay_has_a_limit(lite, lite_world, problem, monkeypatch) -> None:
    """413 that says to ask for parts, which are given; REPLAY_TICKS_MAX itself would be a long test."""
    monkeypatch.setattr("archetype.api.routes.simulation.REPLAY_TICKS_MAX", 2)
    await lite.post("/worlds/demo/run", json={"num_steps": 3})
    refused = problem(await lite.get("/worlds/demo/replay"), 413, "limit_exceeded")
    assert (refused["limit"], refused["actual"]) == (2, 3)
    assert "from_tick" in refused["detail"]
    assert (await lite.get("/worlds/demo/replay?from_tick=1")).json()["ticks_compared"] == 2
