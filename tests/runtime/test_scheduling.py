"""Schedulers, plans and executions, for scripts."""

from __future__ import annotations

import pytest

from archetype import ArchetypeRuntime, Component
from archetype.errors import AccessViolationError, InvalidInputError, PlanError, TickNotFoundError
from archetype.scheduling import (
    ConditionGroupBuilder,
    FrequencyGroupBuilder,
    SequentialScheduler,
    SimpleScheduler,
    SingleGroupBuilder,
    system,
)


class ScriptedDoor(Component):
    is_open: bool = False
    by: str = ""


@system(writes=(ScriptedDoor,))
def scripted_opener(access):
    for entity_id, _ in access(ScriptedDoor):
        access[entity_id, ScriptedDoor] = ScriptedDoor(is_open=True, by="opener")


@system(writes=(ScriptedDoor,), condition=lambda access: access.count(ScriptedDoor) > 1)
async def scripted_closer(access):
    for entity_id, _ in access(ScriptedDoor):
        access[entity_id, ScriptedDoor] = ScriptedDoor(by="closer")


@system(reads=(), writes=())
def scripted_burglar(access):
    return [access[entity_id, ScriptedDoor] for entity_id in access.entities()]


def conditional() -> SimpleScheduler:
    return SimpleScheduler(group_builder=ConditionGroupBuilder(SingleGroupBuilder()))


@pytest.fixture
async def world(runtime):
    made = runtime.world("demo", processors=[scripted_opener, scripted_closer], scheduler=conditional())
    await made.spawn(ScriptedDoor())
    return made


async def test_the_plan_of_the_next_tick(world):
    """What will run together, before it does and after."""
    for tick in range(2):
        plan = await world.plan()
        assert (plan.tick, plan.world_id, plan.not_due) == (tick, world.world_id, [])
        (group,) = plan.groups
        assert [(each.name, each.kind, each.has_condition) for each in group.processors] == [
            ("scripted_opener", "system", False),
            ("scripted_closer", "system", True),
        ]
        (overlap,) = group.overlaps
        assert (overlap.component, overlap.resolution) == ("ScriptedDoor", "last")
        assert plan.scheduler == conditional().settings
        await world.step()


async def test_what_ran_and_what_was_contested(world):
    """By tick, half-open; a condition that did not hold is told."""
    await world.step()
    await world.spawn(ScriptedDoor())
    await world.step()
    ticks = await world.executions()
    assert [(each.tick, [ran["status"] for ran in each.executions]) for each in ticks] == [
        (0, ["done", "condition_false"]),
        (1, ["done", "done"]),
    ]
    assert ticks[0].conflicts == []
    assert [(each["winners"], each["entity_count"]) for each in ticks[1].conflicts] == [
        (["scripted_closer"], 2)
    ]
    assert (await world.entity(1)).components["ScriptedDoor"] == {"is_open": False, "by": "closer"}
    assert await world.executions(1, 2) == ticks[1:]
    assert await world.executions(to_tick=1) == ticks[:1]
    with pytest.raises(TickNotFoundError):
        await world.executions(to_tick=3)
    with pytest.raises(InvalidInputError, match="before from_tick"):
        await world.executions(2, 1)


async def test_a_plan_that_is_refused(world):
    """It names the processor, and the world runs again with another scheduler."""
    await world.configure(scheduler=SimpleScheduler(group_builder=FrequencyGroupBuilder()))
    for refused in (world.plan, world.step):
        with pytest.raises(PlanError) as caught:
            await refused()
        assert caught.value.details["processors"] == ["scripted_closer"]
    await world.configure(scheduler=SequentialScheduler(ConditionGroupBuilder()))
    assert len((await world.plan()).groups) == 1
    await world.step()


async def test_a_plan_beside_a_run_changes_nothing_of_it(world):
    """It is made on what is committed, and read again however often."""
    await world.step()
    services = await world._runtime.services()
    live = services.world_service.live_worlds.of(world.world_id)
    before = live.projection
    assert await world.plan() == await world.plan()
    assert live.projection is before
    services.budget.limit_bytes = 0
    services.budget.make_room()
    await world.plan()
    assert live.projection is None


async def test_a_trespass_is_told_as_it_is(runtime):
    """Named by processor, component and access."""
    world = runtime.world("demo", processors=[scripted_burglar])
    await world.spawn(ScriptedDoor())
    with pytest.raises(AccessViolationError) as caught:
        await world.step()
    details = caught.value.details
    assert (details["processor"], details["component"], details["access"]) == (
        "scripted_burglar",
        "ScriptedDoor",
        "read",
    )


def test_the_sync_face_has_them_too(sqlite_url):
    """Plans and executions, without async."""
    with ArchetypeRuntime.sync(sqlite_url) as runtime:
        world = runtime.world("demo", processors=[scripted_opener])
        world.spawn(ScriptedDoor())
        assert [each.name for group in world.plan().groups for each in group.processors] == [
            "scripted_opener"
        ]
        world.run(2)
        assert [each.tick for each in world.executions(1)] == [1]
