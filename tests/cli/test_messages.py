"""`archetype message` against a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest


@pytest.fixture
def world(archetype) -> str:
    """A new world's name, with one entity."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name).code == 0
    assert archetype("entity", "spawn", name).code == 0
    return name


def test_messages_are_sent_and_listed(archetype, world):
    """To an entity and to everybody; filters and ticks as everywhere."""
    receipt = archetype("message", "send", world, '{"say": "hi"}', "--receiver", 1, "--channel", "chat").json
    assert receipt["type"] == "message"
    archetype("message", "send", world, "[1]", "--sender", 1, "--tick", 1)
    archetype("message", "send", world, "2", "--receiver", 9)
    assert archetype("run", world, "--steps", 2).code == 0
    listed = archetype("message", "list", world).json
    assert [(each["content"], each["status"]) for each in listed] == [
        ({"say": "hi"}, "applied"),
        ([1], "applied"),
        (2, "rejected"),
    ]
    for reference, filters, contents in (
        (world, ("-n", 1), [2]),
        (world, ("--sender", 1), [[1]]),
        (f"{world}@0", ("--channel", "chat"), [{"say": "hi"}]),
        (world, ("--from", 1), [[1]]),
    ):
        found = archetype("message", "list", reference, *filters).json
        assert [each["content"] for each in found] == contents


def test_content_is_json(archetype, world):
    """A text without its quotes is refused, with the way to write it; nothing is sent."""
    refused = archetype("message", "send", world, "hello")
    assert (refused.code, "needs its quotes" in refused.err) == (2, True)
    assert archetype("message", "list", world).json == []
