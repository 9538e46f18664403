"""The hashes that chain a world's history; docs/hashes.md holds the forms with their test vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from archetype.log.canonical import canonical_json

__all__ = [
    "GENESIS",
    "ArchetypeDigest",
    "HashedEvent",
    "act_hash",
    "code_hash",
    "commit_hash",
    "event_digest",
    "event_hash",
    "iso_utc",
    "state_hash",
]

GENESIS = bytes(32)
"""The parent of a root world's first commit: 32 zero bytes."""


class HashedEvent(NamedTuple):
    """The fields of one log row that its hash covers: all of them but the hash itself."""

    position: int
    world_id: UUID
    version: int
    event_id: UUID
    kind: str
    type: str
    schema_version: int
    due_tick: int
    tick: int
    priority: int
    actor_id: UUID | None
    cause_id: UUID | None
    first_entity_id: int | None
    recorded_at: datetime
    batch: bytes | None
    payload: str


@lru_cache(maxsize=64)
def iso_utc(moment: datetime) -> str:
    """Spell a UTC time as it is hashed and stored: 2026-01-31T09:30:00.000000Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_hash(event: HashedEvent) -> bytes:
    """Hash one log row: SHA-256 of its fields as UTF-8 text, one a line, the payload last.

    An absent value is an empty line; a batch stands as the hex SHA-256 of its bytes. PostgreSQL computes
    the same in `event_hash(events)`.
    """
    return event_digest(*event)


def event_digest(  # noqa: PLR0917  the order is the form's, and `event_hash` passes a whole row
    position: int,
    world_id: UUID | str,
    version: int,
    event_id: UUID | str,
    kind: str,
    type: str,  # noqa: A002
    schema_version: int,
    due_tick: int,
    tick: int,
    priority: int,
    actor_id: UUID | str | None,
    cause_id: UUID | str | None,
    first_entity_id: int | None,
    recorded_at: datetime | str,
    batch: bytes | None,
    payload: str,
) -> bytes:
    """Hash a log row by its fields in the order of `HashedEvent`, for those who have no need of one."""
    batch_digest = hashlib.sha256(batch).hexdigest() if batch is not None else ""
    first = "" if first_entity_id is None else first_entity_id
    moment = recorded_at if isinstance(recorded_at, str) else iso_utc(recorded_at)
    text = (
        f"event:1\n{position}\n{world_id}\n{version}\n{event_id}\n{kind}\n{type}\n{schema_version}\n"
        f"{due_tick}\n{tick}\n{priority}\n{actor_id or ''}\n{cause_id or ''}\n{first}\n"
        f"{moment}\n{batch_digest}\n{payload}"
    )
    return hashlib.sha256(text.encode()).digest()


def act_hash(
    parent: bytes,
    *,
    number: int,
    act: str,
    actor_id: UUID | None,
    key_id: str | None,
    address: str | None,
    detail: str,
    reason: str | None,
    recorded_at: datetime,
) -> bytes:
    """Hash an administrative act, which fixes all that were recorded before it; the first has `GENESIS`.

    The preimage is the canonical JSON of `["act:1", parent in hex, number, act, actor_id, key_id, address,
    detail, reason, recorded_at]`; what is absent is null.
    """
    actor = None if actor_id is None else str(actor_id)
    fields = [
        "act:1",
        parent.hex(),
        number,
        act,
        actor,
        key_id,
        address,
        detail,
        reason,
        iso_utc(recorded_at),
    ]
    return hashlib.sha256(canonical_json(fields).encode()).digest()


@dataclass(frozen=True, slots=True)
class ArchetypeDigest:
    """What the state hash needs of one archetype table: its row count and each column's page hashes."""

    archetype_id: bytes
    row_count: int
    pages: Mapping[str, Sequence[bytes]]


def state_hash(archetypes: Iterable[ArchetypeDigest]) -> bytes:
    """Hash a state: archetypes in order of id, their columns in order of name, pages in row order."""
    digest = hashlib.sha256(b"state:1\n")
    for archetype in sorted(archetypes, key=lambda each: each.archetype_id):
        digest.update(archetype.archetype_id + archetype.row_count.to_bytes(8, "big"))
        digest.update(len(archetype.pages).to_bytes(4, "big"))
        for name in sorted(archetype.pages, key=str.encode):
            encoded = name.encode()
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
            digest.update(len(archetype.pages[name]).to_bytes(4, "big"))
            for page in archetype.pages[name]:
                digest.update(page)
    return digest.digest()


def code_hash(program: Mapping[str, object]) -> bytes:
    """Hash the code of a tick: the canonical JSON of its program."""
    return hashlib.sha256(canonical_json(program).encode()).digest()


def commit_hash(
    *, parent: bytes, tick: int, command_hashes: Iterable[bytes], state: bytes, code: bytes
) -> bytes:
    """Hash one commit, which fixes the whole history up to it.

    The preimage is `commit:1` and a newline, then parent, tick (8 bytes, big-endian), SHA-256 of the
    commands' hashes in order of (due_tick, priority, version), state hash and code hash.
    """
    commands = hashlib.sha256()
    for each in command_hashes:
        commands.update(each)
    preimage = (
        b"commit:1\n" + parent + tick.to_bytes(8, "big", signed=True) + commands.digest() + state + code
    )
    return hashlib.sha256(preimage).digest()
