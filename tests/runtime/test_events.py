"""Following a world from a script."""

from __future__ import annotations

import asyncio

import pytest

from archetype import ArchetypeRuntime
from archetype.errors import InvalidInputError
from archetype.examples.movement import MovementProcessor, Position, Velocity

WITHIN_S = 30.0


async def test_a_script_follows_its_world_while_it_runs(runtime):
    world = runtime.world("demo", processors=[MovementProcessor()])
    await world.spawn(Position(), Velocity(dx=1))
    ticks = []

    async def follow():
        async for event in world.events(0, types=["tick_committed"]):
            ticks.append(event.tick)
            if len(ticks) == 5:
                return

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await world.run(3)
        await world.run(2)
    assert ticks == [0, 1, 2, 3, 4]


async def test_it_ends_when_the_world_is_removed(runtime):
    world = runtime.world("demo")
    await world.spawn(Position())

    async def types():
        return [event.type async for event in world.events(after=0)]

    reading = asyncio.create_task(types())
    await world.destroy()
    assert await asyncio.wait_for(reading, WITHIN_S) == ["create_world", "spawn", "destroy_world"]


async def test_a_type_that_there_is_not_is_refused(runtime):
    with pytest.raises(InvalidInputError, match="known are"):
        await anext(runtime.world("demo").events(types=["spawned"]))


def test_the_same_without_async(database_url):
    with ArchetypeRuntime.sync(database_url) as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        found = []
        for event in world.events(0):
            found.append(event.type)
            if len(found) == 2:
                world.destroy()
        assert found == ["create_world", "spawn", "destroy_world"]
