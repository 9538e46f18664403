"""Arrow streams that nobody's writer made: refused by name, in little memory, with nothing written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from archetype.errors import InvalidInputError, LimitExceededError
from archetype.examples.movement import Position
from archetype.limits import BATCH_COLUMNS_MAX, BULK_ROWS_MAX
from archetype.service.admission import CommandRequest, admit

DAMAGED = int(os.environ.get("ARCHETYPE_FUZZ_EXAMPLES", "0")) * 100 or 300
HERE = Path(__file__).parent


def stream(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def spawn(batch: bytes):
    assert Position.get_prefix() == "position__"
    request = CommandRequest("spawn", {}, batch=batch)
    return admit(request, world_id=uuid.UUID(int=1), actor_id=None)


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_streams_are_refused_in_little_memory_or_are_sound(seed) -> None:
    """Cut off, with bytes changed, with lengths and offsets that lie: no crash and no error but our own."""
    done = subprocess.run(
        [sys.executable, HERE / "hostile_streams.py", str(seed), str(DAMAGED)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1] / "app")},
        timeout=570,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert sum(found.values()) == DAMAGED
    assert found["InvalidInputError"] > DAMAGED / 4
    assert found["accepted"] > 0


def renamed(old: bytes, new: bytes) -> bytes:
    """A sound stream in which the bytes of a column's name are others."""
    return stream(pa.table({"position__x": [1.0], old.decode(): [1.0]})).replace(old, new)


def nested(depth: int) -> pa.DataType:
    return pa.list_(nested(depth - 1)) if depth else pa.float64()


X = {"position__x": [1.0, 2.0]}
REFUSED = {
    "nothing": (b"", "not a sound"),
    "text": (b"no stream at all" * 20, "not a sound"),
    "cut off": (stream(pa.table(X))[:-40], "not a sound"),
    "a name that is no text": (renamed(b"position__y", b"position_\xff\xfe"), "column 1 is not UTF-8"),
    "a name inside that is no text": (
        stream(pa.table({"position__x": pa.array([{"inner": 1}])})).replace(b"inner", b"in\xff\xfer"),
        "column 0 is not UTF-8",
    ),
    "text that is no text": (
        stream(pa.table({"position__x": pa.array([b"\xff"]).view(pa.string())})), "not a sound",
    ),
    "a column twice": (
        stream(pa.table([pa.array([1.0])] * 2, names=["position__x"] * 2)), "appears more than once",
    ),
    "an index beyond its dictionary": (
        stream(pa.table({"position__x": pa.DictionaryArray.from_arrays(
            pa.array([9], pa.int32()), pa.array([1.0]), safe=False)})), "position__x",
    ),
    "run ends": (
        stream(pa.table({"position__x": pa.RunEndEncodedArray.from_arrays(
            pa.array([2**30], pa.int32()), pa.array([1.0]))})), "position__x",
    ),
    "a union": (
        stream(pa.table({"position__x": pa.UnionArray.from_sparse(
            pa.array([0], pa.int8()), [pa.array([1.0])])})), "position__x",
    ),
    "a null": (stream(pa.table({"position__x": [1.0, None]})), "position__x is null in 1 rows"),
    "lists in lists": (stream(pa.table({"position__x": pa.array([None], nested(40))})), "position__x"),
    "another type": (stream(pa.table({"position__x": ["a"]})), "position__x"),
    "nobody's column": (stream(pa.table({"position__\x00": [1.0]})), "belongs to no loaded component"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_and_named(name) -> None:
    """The column, by its name or its number, or that it is no stream."""
    batch, what = REFUSED[name]
    with pytest.raises(InvalidInputError) as caught:
        spawn(batch)
    assert what in str(caught.value)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_what_would_grow_when_it_is_read_is_refused_unread(codec) -> None:
    """A few kB that stand for 160 MB."""
    bomb = stream(pa.table({"position__x": np.zeros(20_000_000)}), compression=codec)
    before = pa.total_allocated_bytes()
    with pytest.raises(InvalidInputError, match="send them uncompressed"):
        spawn(bomb)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_rows_up_to_the_limit() -> None:
    """A column of nulls claims any number of rows in a few bytes; one more than the limit is too many."""
    claim = stream(pa.table({"position__x": pa.nulls(BULK_ROWS_MAX)}))
    assert len(claim) < 1_000
    with pytest.raises(InvalidInputError, match=f"null in {BULK_ROWS_MAX} rows"):
        spawn(claim)
    with pytest.raises(LimitExceededError) as caught:
        spawn(stream(pa.table({"position__x": pa.nulls(BULK_ROWS_MAX + 1)})))
    assert caught.value.details == {"limit": BULK_ROWS_MAX, "actual": BULK_ROWS_MAX + 1}


def test_columns_up_to_the_limit() -> None:
    """Each that does not fit would be a fault in the answer."""
    names = [f"position__{number}" for number in range(BATCH_COLUMNS_MAX + 1)]
    with pytest.raises(InvalidInputError) as caught:
        spawn(stream(pa.table([pa.array([1.0])] * BATCH_COLUMNS_MAX, names=names[:-1])))
    assert len(caught.value.faults) == BATCH_COLUMNS_MAX
    with pytest.raises(LimitExceededError) as caught:
        spawn(stream(pa.table([pa.array([1.0])] * len(names), names=names)))
    assert caught.value.details == {"limit": BATCH_COLUMNS_MAX, "actual": BATCH_COLUMNS_MAX + 1}
