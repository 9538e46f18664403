"""Media types: what a caller accepts is what it can read back."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from archetype import Component
from archetype.api.encodings import BATCH_ROWS_MAX, ENCODERS, MediaType
from archetype.api.negotiation import table_answer
from archetype.errors import UnavailableError
from archetype.examples.movement import rows

BASE = ["world_id", "run_id", "entity_id", "tick", "is_active"]


class NegotiationTags(Component):
    """A component whose values nest."""

    names: list[str]


@pytest.fixture
async def filled(http, world) -> str:
    spawn = {"components": [{"type": "NegotiationTags", "names": ["a", "b,c"]}]}
    assert (await http.post("/worlds/demo/entities", json=spawn)).status_code == 202
    await http.post("/worlds/demo/step")
    return world


def decode(kind: MediaType, content: bytes) -> list[dict]:
    match kind:
        case MediaType.NDJSON:
            return [json.loads(line) for line in content.splitlines()]
        case MediaType.CSV:
            return list(csv.DictReader(io.StringIO(content.decode())))
        case MediaType.ARROW:
            return pa.ipc.open_stream(content).read_all().to_pylist()
        case _:
            return parquet.read_table(io.BytesIO(content)).to_pylist()


@pytest.mark.parametrize("kind", list(ENCODERS))
async def test_a_state_in_each_form(http, filled, kind) -> None:
    """Flat rows in order of entity, the base columns first, null where an entity lacks a component."""
    answer = await http.get("/worlds/demo/state", headers={"Accept": kind.value})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind.value)
    assert answer.headers["vary"] == "Accept"
    mover, tags = decode(kind, answer.content)
    assert list(mover)[:5] == BASE
    assert mover["world_id"] == filled
    assert [int(row["entity_id"]) for row in (mover, tags)] == [1, 2]
    assert float(mover["position__x"]) == 3.0
    names = tags["negotiationtags__names"]
    assert (json.loads(names) if kind is MediaType.CSV else names) == ["a", "b,c"]
    assert tags["position__x"] in {None, ""}


@pytest.mark.parametrize("kind", list(ENCODERS))
async def test_components_in_each_form(http, filled, kind) -> None:
    """Only the columns that were asked for, and only those entities."""
    answer = await http.get(
        "/worlds/demo/components?types=Position&entity_ids=1", headers={"Accept": kind.value}
    )
    (row,) = decode(kind, answer.content)
    assert list(row) == [*BASE, "position__x", "position__y"]


@pytest.mark.parametrize("kind", list(ENCODERS))
async def test_no_rows_are_still_well_formed(lite, lite_world, kind) -> None:
    """Before the first tick there is a header and no row."""
    for route in ("state", "components?types=Position"):
        answer = await lite.get(f"/worlds/demo/{route}", headers={"Accept": kind.value})
        assert answer.status_code == 200, answer.text
        assert decode(kind, answer.content) == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, text/csv;q=0.5", "text/csv"),
        ("application/json;q=0.1, application/x-ndjson", "application/x-ndjson"),
    ],
)
async def test_the_best_accepted_form_is_chosen(lite, lite_world, accept, kind) -> None:
    """Wildcards mean JSON, weights are heeded."""
    answer = await lite.get("/worlds/demo/state", headers={"Accept": accept})
    assert answer.headers["content-type"].split(";")[0] == kind


async def test_nothing_that_is_accepted_is_406(lite, lite_world, problem) -> None:
    """And the answer lists what there is."""
    refused = await lite.get("/worlds/demo/components", headers={"Accept": "image/png"})
    assert "text/csv" in problem(refused, 406, "not_acceptable")["detail"]


@pytest.mark.parametrize("kind", list(ENCODERS))
def test_tables_go_out_in_batches(kind) -> None:
    """No piece holds more than its share of rows, and together they are the table."""
    table = rows(2 * BATCH_ROWS_MAX + 1)
    pieces = [piece for piece in ENCODERS[kind](table) if piece]
    assert len(pieces) >= 3
    decoded = decode(kind, b"".join(pieces))
    assert len(decoded) == table.num_rows
    assert float(decoded[-1]["position__x"]) == table["position__x"][-1].as_py()


async def test_a_stopping_server_breaks_streams_off() -> None:
    """A reader never takes a part for the whole."""
    stopping = asyncio.Event()
    stream = table_answer(rows(3 * BATCH_ROWS_MAX), MediaType.NDJSON, stopping)
    pieces = stream.iterator
    await anext(pieces)
    stopping.set()
    with pytest.raises(UnavailableError):
        await anext(pieces)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, deflate"])
@pytest.mark.parametrize("path", ["/worlds", "/worlds/demo/entities/bulk"])
async def test_an_encoded_body_is_refused_with_what_to_send(lite, lite_world, problem, encoding, path):
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = await lite.post(path, content=gzip.compress(b'{"name": "other"}'), headers=headers)
    refused = problem(answer, 415, "unsupported_media_type")
    assert encoding in refused["detail"]
    assert answer.headers["accept-encoding"] == "identity"


async def test_a_body_that_says_it_is_as_it_is_is_taken(lite):
    for number, encoding in enumerate(("identity", "Identity", "")):
        body = {"name": f"world-{number}"}
        answer = await lite.post("/worlds", json=body, headers={"Content-Encoding": encoding})
        assert answer.status_code == 201
