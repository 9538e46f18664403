"""Schedulers, plans and executions through the client, against a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest

from archetype.client.worlds import UNSET
from archetype.errors import (
    AccessViolationError,
    ConflictError,
    InvalidInputError,
    PlanError,
    TickNotFoundError,
)


@pytest.fixture
def world(client) -> str:
    """A new world's name; two systems of a group write its only score."""
    name = f"world {uuid4().hex[:8]}"
    client.create_world(name, scheduler={"group_builder": "frequency"})
    for processor in ("served_home", "served_guest", "served_referee"):
        client.submit(name, "add_processor", {"processor": processor})
    client.spawn(name, [{"type": "ServedScore"}])
    return name


def test_a_scheduler_is_given_and_changed(client, world):
    """What is left out stays; None is the default one again."""
    assert client.world(world)["scheduler"]["group_builder"]["name"] == "frequency"
    assert client.configure_world(world, snapshots=5)["scheduler"]["group_builder"]["name"] == "frequency"
    full = client.configure_world(world, scheduler={"max_concurrent": 2})["scheduler"]
    assert (full["max_concurrent"], full["group_builder"]["name"]) == (2, "priority")
    assert client.configure_world(world, scheduler=full)["scheduler"] == full
    assert client.configure_world(world, snapshots=7, scheduler=UNSET)["scheduler"] == full
    changed = client.configure_world(world, scheduler=None)
    assert (changed["scheduler"], changed["snapshots"]) == (None, 7)
    assert client.create_world()["scheduler"] is None
    with pytest.raises(InvalidInputError, match="names no setting"):
        client.configure_world(world)
    with pytest.raises(InvalidInputError) as caught:
        client.create_world(scheduler={"group_builder": "singel"})
    assert [fault["path"] for fault in caught.value.faults] == ["scheduler.group_builder"]


def test_the_plan_of_the_next_tick(client, world):
    """Groups, overlaps, and who is not due."""
    client.step(world)
    plan = client.plan(world)
    assert (plan["tick"], plan["not_due"]) == (1, ["served_referee"])
    (group,) = plan["groups"]
    assert [each["name"] for each in group["processors"]] == ["served_home", "served_guest"]
    assert group["overlaps"] == [
        {
            "component": "ServedScore",
            "processors": ["served_home", "served_guest"],
            "resolution": {"points": "sum", "winner": "last"},
        }
    ]


def test_what_ran_is_told(client, world):
    """Executions and conflicts of each tick of a range."""
    client.run(world, 3)
    ticks = client.executions(world)
    assert [len(each["executions"]) for each in ticks] == [3, 2, 3]
    assert ticks[0]["executions"][1]["processor"] == "served_guest"
    resolved = {each["field"]: (each["resolution"], each["winners"]) for each in ticks[0]["conflicts"]}
    both = ["served_home", "served_guest"]
    assert resolved == {"points": ("sum", both), "winner": ("last", ["served_guest"])}
    assert client.executions(world, 1, 2) == ticks[1:2]
    assert client.executions(f"{world}@0") == ticks[:1]
    with pytest.raises(TickNotFoundError):
        client.executions(world, to_tick=4)


def test_a_refused_tick_is_the_error_that_the_server_raised(client, world):
    """Each with its facts."""
    client.configure_world(world, scheduler={"group_builder": "frequency", "conflicts": "error"})
    with pytest.raises(ConflictError) as conflict:
        client.step(world)
    assert [each["field"] for each in conflict.value.details["conflicts"]] == ["winner"]
    client.configure_world(world, scheduler={"group_builder": "single"})
    with pytest.raises(PlanError) as plan:
        client.plan(world)
    assert plan.value.details["processors"] == ["served_referee"]


def test_a_trespass_is_the_error_that_the_server_raised(client):
    """Who touched what, and how."""
    world = client.create_world()["world_id"]
    client.submit(world, "add_processor", {"processor": "served_streaker"})
    with pytest.raises(AccessViolationError) as caught:
        client.step(world)
    details = caught.value.details
    assert (details["processor"], details["component"], details["access"]) == (
        "served_streaker",
        "ServedScore",
        "write",
    )


def test_processors_show_what_they_declare(client, world):
    """Loaded or of a world."""
    loaded = {each["name"]: each for each in client.processor_types()}
    own = {each["name"]: each for each in client.processors(world)}
    for shown in (loaded, own):
        referee = shown["served_referee"]
        assert (referee["kind"], referee["reads"], referee["writes"]) == ("system", ["ServedScore"], [])
        assert referee["every"] == 2
    assert loaded["MovementProcessor"]["kind"] == "frame"
