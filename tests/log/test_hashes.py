"""The hashes that docs/hashes.md describes, held by the test vectors that stand there."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from archetype.log.hashes import (
    GENESIS,
    ArchetypeDigest,
    HashedEvent,
    code_hash,
    commit_hash,
    event_hash,
    state_hash,
)

EVENT = HashedEvent(
    position=7,
    world_id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    version=3,
    event_id=UUID("01890a5d-ac96-7aab-8f2a-111111111111"),
    kind="command",
    type="spawn",
    schema_version=1,
    due_tick=0,
    tick=4,
    priority=-2,
    actor_id=None,
    cause_id=None,
    first_entity_id=12,
    recorded_at=datetime(2026, 1, 31, 9, 30, 0, 42, tzinfo=UTC),
    batch=None,
    payload='{"components":[{"type":"Position","x":1,"y":2.5}]}',
)
VECTORS = {
    "event": event_hash(EVENT),
    "event with batch": event_hash(EVENT._replace(batch=b"arrow")),
    "empty state": state_hash([]),
    "state": state_hash(
        [ArchetypeDigest(bytes(32), 2, {"entity_id": [b"\x01" * 32], "a__é": [b"\x02" * 32]})]
    ),
    "empty program": code_hash({"processors": []}),
    "commit": commit_hash(
        parent=GENESIS, tick=0, command_hashes=[b"\x03" * 32], state=b"\x04" * 32, code=b"\x05" * 32
    ),
}


def test_the_vectors_are_those_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "hashes.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| ([a-z ]+?) +\| `([0-9a-f]{64})` +\|$", text, re.MULTILINE))
    assert documented == {name: value.hex() for name, value in VECTORS.items()}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position", 8),
        ("version", 4),
        ("world_id", UUID(int=1)),
        ("event_id", UUID(int=1)),
        ("kind", "fact"),
        ("type", "update"),
        ("schema_version", 2),
        ("due_tick", 1),
        ("tick", 5),
        ("priority", 2),
        ("actor_id", UUID(int=1)),
        ("cause_id", UUID(int=1)),
        ("first_entity_id", None),
        ("recorded_at", datetime(2026, 1, 31, 9, 30, 0, 43, tzinfo=UTC)),
        ("batch", b""),
        ("payload", "{}"),
    ],
)
def test_every_field_of_an_event_is_covered(field, value):
    assert event_hash(EVENT._replace(**{field: value})) != event_hash(EVENT)


def test_the_event_form_is_plain_text_a_line_a_field():
    text = (
        "event:1\n7\n01890a5d-ac96-774b-bcce-b302099a8057\n3\n01890a5d-ac96-7aab-8f2a-111111111111\ncommand\n"
        "spawn\n1\n0\n4\n-2\n\n\n12\n2026-01-31T09:30:00.000042Z\n\n" + EVENT.payload
    )
    assert event_hash(EVENT) == hashlib.sha256(text.encode()).digest()


def test_the_order_in_which_archetypes_and_columns_are_given_does_not_matter():
    one = ArchetypeDigest(b"\x01" * 32, 1, {"entity_id": [b"a" * 32], "p__x": [b"b" * 32]})
    two = ArchetypeDigest(b"\x02" * 32, 1, {"p__x": [b"b" * 32], "entity_id": [b"a" * 32]})
    mirrored = ArchetypeDigest(b"\x01" * 32, 1, dict(reversed(one.pages.items())))
    assert state_hash([one, two]) == state_hash([two, mirrored])


def test_pages_cannot_move_between_columns_unseen():
    a, b = b"a" * 32, b"b" * 32
    one = state_hash([ArchetypeDigest(bytes(32), 1, {"x": [a, b], "y": []})])
    two = state_hash([ArchetypeDigest(bytes(32), 1, {"x": [a], "y": [b]})])
    assert one != two


def test_commit_covers_the_order_of_commands():
    common = {"parent": GENESIS, "tick": 1, "state": bytes(32), "code": bytes(32)}
    assert commit_hash(command_hashes=[b"a" * 32, b"b" * 32], **common) != commit_hash(
        command_hashes=[b"b" * 32, b"a" * 32], **common
    )
