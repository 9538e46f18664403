"""Every call about pasts against a real server."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from archetype.client import ArchetypeClient
from archetype.errors import (
    EntityNotFoundError,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    TickNotFoundError,
)

MOVER = [{"type": "Position", "x": 1.0}, {"type": "Velocity", "dx": 0.5}]


@pytest.fixture
def world(client) -> str:
    """A world's name; after its five ticks the mover is at 1.5, 2, 2.5, 3 and 3.5."""
    name = f"world {uuid4().hex[:8]}"
    client.create_world(name, seed=7)
    client.submit(name, "add_processor", {"processor": "MovementProcessor"})
    client.spawn(name, MOVER)
    client.run(name, 5)
    return name


@pytest.fixture
def fork(client, world) -> str:
    """A fork at tick 1, whose mover is elsewhere after its one tick."""
    name = f"{world} fork"
    client.fork_world(world, name=name, tick=1)
    client.update(name, 1, [{"type": "Position", "x": 9.0}])
    client.step(name)
    return name


def test_two_states_are_compared(client, world, fork):
    """Both sides are references."""
    diff = client.diff(f"{world}@2", fork)
    assert (diff["base_tick"], diff["summary"]["values"], diff["commands_b"]["count"]) == (1, 1, 3)
    assert [(each["field"], each["value_a"], each["value_b"]) for each in diff["values"]] == [("x", 2.5, 9.5)]
    assert client.diff(f"{world}@2", fork, tolerance=1.0)["values"] == []
    assert client.diff(world, fork, limit=1)["limit"] == 1
    assert client.diff(f"{world}@1", f"{fork}@1")["is_identical"]
    with pytest.raises(TickNotFoundError):
        client.diff(world, f"{fork}@9")


def test_pasts_have_a_merge_base_or_none(client, world, fork):
    """`NotFoundError` where they share no tick."""
    base = client.merge_base(world, f"{fork}@2")
    assert (base["name"], base["tick"], base["ticks_since_a"], base["ticks_since_b"]) == (world, 1, 3, 1)
    with pytest.raises(NotFoundError, match="share no tick"):
        client.merge_base(world, client.create_world()["name"])


def test_the_tree_of_forks(client, world, fork):
    """One family or all, with the removed ones where they are asked for."""
    client.label(world, "base", tick=1)
    family = client.tree(world)
    assert [(each["name"], each["depth"], each["labels"]) for each in family] == [
        (world, 0, {"base": 1}),
        (fork, 1, {}),
    ]
    assert [each for each in client.tree() if each["name"] in {world, fork}] == family
    client.remove_world(fork)
    assert [each["name"] for each in client.tree(world)] == [world]
    assert [each["is_archived"] for each in client.tree(world, with_archived=True)] == [False, True]


def test_ticks_are_listed(client, world, fork):
    """Newest first, of the whole lineage, up to a reference, and page by page."""
    assert [each["world_name"] for each in client.ticks(fork)] == [fork, world, world]
    newest = client.ticks(world, limit=2)
    assert [each["tick"] for each in newest] == [4, 3]
    older = client.ticks(world, before=newest[-1]["tick"], from_tick=1)
    assert [each["tick"] for each in older] == [2, 1]
    assert [each["tick"] for each in client.ticks(f"{world}@2", to_tick=2)] == [1, 0]


def test_an_entity_is_followed(client, world):
    """Its values after each tick, and the commands about it."""
    moments = client.entity_history(world, 1)
    assert [each["components"]["Position"]["x"] for each in moments] == [1.5, 2.0, 2.5, 3.0, 3.5]
    assert [each["type"] for each in moments[0]["commands"]] == ["spawn"]
    assert client.entity_history(world, 1, from_tick=1, to_tick=3) == moments[1:3]
    with pytest.raises(EntityNotFoundError):
        client.entity_history(world, 2)


def test_history_is_filtered(client, world):
    """By type, tick, actor and what became of it."""
    client.despawn(world, 77)
    client.step(world)
    client.spawn(world, MOVER, tick=9)
    assert [each["type"] for each in client.history(world, types=["spawn", "despawn"])] == [
        "spawn", "despawn", "spawn",
    ]  # fmt: skip
    (rejected,) = client.history(world, status="rejected")
    assert (rejected["type"], rejected["status"], rejected["applied_tick"]) == ("despawn", "rejected", 5)
    assert rejected["world_id"] == client.world(world)["world_id"]
    assert [each["applied_tick"] for each in client.history(world, from_tick=6, types=["spawn"])] == [9]
    assert client.history(world, to_tick=1, types=["despawn"]) == []
    assert client.history(world, actor_id=uuid4()) == []
    for bad in ({"types": ["bury"]}, {"status": "lost"}):
        with pytest.raises(InvalidInputError, match="known are"):
            client.history(world, **bad)


def test_a_world_is_replayed(client, world):
    """All of it or a range, with what came out."""
    report = client.replay(world)
    assert (report["ticks_compared"], report["divergence"], report["code_changes"]) == (5, None, [])
    part = client.replay(world, from_tick=1, to_tick=3)
    assert (part["from_tick"], part["to_tick"], part["ticks_compared"]) == (1, 3, 2)


def test_a_replay_is_waited_for_and_its_limit_is_an_error():
    """However long it takes; too many ticks are the server's to refuse."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(413, json={"code": "limit_exceeded", "detail": "ask for parts", "limit": 1000})

    with (
        ArchetypeClient("http://test", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(LimitExceededError, match="ask for parts"),
    ):
        client.replay("demo", to_tick=2000)
    assert seen[0].extensions["timeout"]["read"] is None
    assert str(seen[0].url) == "http://test/worlds/demo/replay?to_tick=2000"
