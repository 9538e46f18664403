"""Resources that a script inserts: models are recorded, live handles are not."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from archetype import ArchetypeRuntime, Component, PostTick
from archetype.errors import InvalidInputError
from archetype.scheduling import system


class ScriptedTank(Component):
    level: float = 0.0


class Tap(BaseModel):
    flow: float = 1.0


class Drain(BaseModel):
    flow: float = 0.25


class Valve:
    """A live handle."""


@system(writes=(ScriptedTank,))
def scripted_filler(access):
    tap, drain = access.resources.get(Tap) or Tap(flow=0), access.resources.get(Drain) or Drain(flow=0)
    for entity_id, tank in access(ScriptedTank):
        access[entity_id, ScriptedTank] = ScriptedTank(level=tank.level + tap.flow - drain.flow)


async def level(world, tick=None) -> float:
    return (await world.entity(1, tick)).components["ScriptedTank"]["level"]


async def commands(world) -> list[tuple[str, object]]:
    kinds = ["add_resource", "remove_resource"]
    return [
        (str(each.type), each.payload.get("value", {}).get("flow"))
        for each in await world.command_history(types=kinds)
    ]


@pytest.fixture
async def world(runtime):
    made = runtime.world("tanks", processors=[scripted_filler], resources=[Tap(flow=2.0), Valve()])
    await made.spawn(ScriptedTank())
    return made


async def test_what_changed_is_recorded_before_the_next_run(world):
    """New, changed in place, replaced and removed; what did not change is not recorded again."""
    await world.run(2)
    assert await commands(world) == [("add_resource", 2)]
    world.resources.require(Tap).flow = 3.0
    world.resources.insert(Drain())
    await world.step()
    world.resources.insert(Drain(flow=0.25))
    await world.step()
    assert world.resources.remove(Tap) == Tap(flow=3.0)
    await world.step()
    assert await commands(world) == [
        ("add_resource", 2),
        ("add_resource", 3),
        ("add_resource", 0.25),
        ("remove_resource", None),
    ]
    assert [await level(world, tick) for tick in range(5)] == [2, 4, 6.75, 9.5, 9.25]
    assert (await world.replay()).divergence is None


async def test_they_come_back_after_a_restart(world, runtime, database_url):
    """Live handles do not; what the script gives when it opens the world counts."""
    await world.step()
    async with ArchetypeRuntime(database_url) as restarted:
        again = restarted.world("tanks", resources=[Drain()])
        await again.step()
        assert await level(again) == 3.75
        assert (again.resources.get(Tap), again.resources.get(Valve)) == (Tap(flow=2.0), None)
        unchanged = restarted.world("tanks", resources=[Tap(flow=2.0)])
        await unchanged.step()
        assert await commands(again) == [("add_resource", 2), ("add_resource", 0.25)]


async def test_others_changes_are_taken_over_and_own_ones_kept(world, database_url):
    """Only what this script changed is recorded over what others did."""
    await world.step()
    async with ArchetypeRuntime(database_url) as others:
        theirs = others.world("tanks")
        await theirs.info()
        theirs.resources.insert(Tap(flow=10.0))
        theirs.resources.insert(Drain(flow=1.0))
        await theirs.step()
        await world.step()
        assert world.resources.require(Tap) == Tap(flow=10.0)
        world.resources.require(Drain).flow = 2.0
        await world.step()
        await theirs.step()
        assert theirs.resources.require(Drain) == Drain(flow=2.0)
        assert await level(theirs) == 2 + 9 + 9 + 8 + 8


async def test_forks_have_models_of_their_tick_handles_of_this_process_and_no_hooks(world):
    """A fork from here on has what was not recorded yet, too; both are independent."""
    heard = []
    await world.step()
    world.add_hook(PostTick, lambda event: heard.append(event.world_id))
    world.resources.require(Tap).flow = 5.0
    await world.step()
    world.resources.insert(Drain(flow=1.0))
    early, late = await world.fork("early", tick=0), await world.fork("late")
    valve = world.resources.require(Valve)
    assert early.resources.require(Valve) is late.resources.require(Valve) is valve
    assert (early.resources.get(Tap), early.resources.get(Drain)) == (Tap(flow=2.0), None)
    late.resources.require(Tap).flow = 0.0
    for fork, expected in ((early, 4), (late, 6)):
        await fork.step()
        assert await level(fork) == expected
    assert world.resources.require(Tap) == Tap(flow=5.0)
    await world.replay()
    assert heard == [world.world_id]


async def test_a_tick_that_failed_for_want_of_a_resource_is_mended_by_it(runtime):
    """The tick is sealed, and what is added afterwards holds for it already; so it does in a replay."""

    class Key(BaseModel):
        turns: int = 1

    @system(writes=(ScriptedTank,))
    def scripted_locksmith(access):
        turns = access.resources.require(Key).turns
        for entity_id, tank in access(ScriptedTank):
            access[entity_id, ScriptedTank] = ScriptedTank(level=tank.level + turns)

    world = runtime.world("locked", processors=[scripted_locksmith])
    await world.spawn(ScriptedTank())
    with pytest.raises(Exception, match="Key"):
        await world.step()
    world.resources.insert(Key(turns=3))
    await world.run(2)
    assert [await level(world, tick) for tick in range(2)] == [3, 6]
    assert (await world.replay()).divergence is None
    assert (await world.verify()).is_sound


async def test_a_model_that_cannot_be_recorded_is_refused(world):
    """Nothing runs, and nothing is recorded of it."""

    class Bent(BaseModel):
        model_config = {"arbitrary_types_allowed": True}

        valve: Valve

    await world.step()
    world.resources.insert(Bent(valve=Valve()))
    with pytest.raises(InvalidInputError, match="Bent cannot be recorded"):
        await world.step()
    world.resources.remove(Bent)
    await world.step()
    assert await commands(world) == [("add_resource", 2)]
