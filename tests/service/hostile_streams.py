"""Feeds damaged Arrow streams to the door in a process of little memory, and prints what came of them.

A process of its own, since a stream that reaches wrong memory would end the tests with it.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import uuid
from pathlib import Path

import pyarrow as pa

from archetype.core.component import Component
from archetype.errors import ArchetypeError
from archetype.examples.movement import Position
from archetype.service.admission import CommandRequest, admit

MEMORY_BYTES = 768 * 1024 * 1024
"""More than the libraries took so far; a stream of some kB must never need as much."""


class HostileStreamTags(Component):
    """Columns whose buffers point into each other."""

    names: list[str]
    note: str | None = None


def streams() -> list[tuple[str, bytes]]:
    rows = 50
    plain = {"position__x": [float(row) for row in range(rows)], "position__y": [1.0] * rows}
    tags = {"hostilestreamtags__names": [["a", "b" * row] for row in range(rows)]}
    notes = {"hostilestreamtags__note": [None if row % 3 else "é" * row for row in range(rows)]}
    ids = {"entity_id": list(range(1, rows + 1))}
    return [
        ("spawn", encoded(pa.table(plain | tags | notes))),
        ("update", encoded(pa.table(ids | {"position__x": plain["position__x"]} | notes))),
    ]


def encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def damaged(rng: random.Random, stream: bytes) -> bytes:
    data = bytearray(stream)
    match rng.randrange(4):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            at = rng.randrange(0, len(data) - 8) & ~7
            data[at : at + 8] = rng.choice([2**60, -1, 2**31, 2**63 - 1]).to_bytes(8, "little", signed=True)
        case 2:
            at = rng.randrange(0, len(data) - 4) & ~3
            data[at : at + 4] = rng.choice([0, 2**31 - 1, -1, 1, 65_536]).to_bytes(4, "little", signed=True)
        case _:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def main(seed: int, count: int) -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, limit))
    assert Position.get_prefix()
    rng, sound = random.Random(seed), streams()
    found: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        kind, stream = rng.choice(sound)
        request = CommandRequest(kind, {}, batch=damaged(rng, stream))
        try:
            command = admit(request, world_id=uuid.UUID(int=1), actor_id=None)
        except ArchetypeError as error:
            found[type(error).__name__] += 1
        else:
            found["accepted"] += 1
            # What was accepted is sound: it can be read again, and applied.
            again = CommandRequest(kind, {}, batch=command.batch)
            admit(again, world_id=uuid.UUID(int=1), actor_id=None)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
