"""`archetype resource` against a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest


@pytest.fixture
def world(archetype) -> str:
    """A new world's name."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name).code == 0
    return name


def test_resources_are_added_listed_and_removed(archetype, world, tmp_path):
    """With a value or with all defaults, from the command line or a file; the last of a class counts."""
    assert archetype("resource", "add", world, "ServedPitch").json["type"] == "add_resource"
    assert archetype("resource", "list", world).json == [
        {
            "name": "ServedPitch",
            "module": "served_systems",
            "value": {"grass": "green", "length": 105},
            "is_loaded": True,
        }
    ]
    path = tmp_path / "pitch.json"
    path.write_text('{"length": 90}')
    for value, length in (('{"length": 100.5}', 100.5), (f"@{path}", 90)):
        added = archetype("resource", "add", world, "served_systems.ServedPitch", "--value", value)
        assert added.code == 0
        (listed,) = archetype("resource", "list", world).json
        assert listed["value"] == {"grass": "green", "length": length}
    assert archetype("run", world, "--steps", 1).code == 0
    assert archetype("resource", "remove", world, "ServedPitch", "--tick", 1).json["tick"] == 1
    assert archetype("resource", "list", world).json == []


def test_what_is_no_model_or_does_not_fit_is_refused(archetype, world):
    """With the place; nothing is recorded."""
    for arguments, said in (
        (("NoSuchPitch",), "NoSuchPitch"),
        (("ServedPitch", "--value", '{"length": "long"}'), "value.length"),
        (("ServedPitch", "--value", "{"), "--value"),
    ):
        refused = archetype("resource", "add", world, *arguments)
        assert (refused.code, said in refused.err) == (2, True)
    assert archetype("resource", "list", world).json == []
