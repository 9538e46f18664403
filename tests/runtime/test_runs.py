"""Runs that a script starts, waits for, follows and cancels; changes that insist on a version."""

import pytest

from archetype import ArchetypeRuntime
from archetype.errors import VersionConflictError
from archetype.examples.movement import MovementProcessor, Position, Velocity


async def test_a_started_run_is_waited_for(database_url):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])
        await world.spawn(Position(), Velocity(dx=1))
        handle = await world.start_run(5)
        done = await handle.wait()
        assert (done.status, done.ticks_completed) == ("completed", 5)
        assert await handle.info() == done
        assert [info.run_id for info in await world.runs()] == [handle.run_id]
        assert (await world.query(Position)).to_pydict()["position__x"] == [5.0]


async def test_a_started_run_is_cancelled_and_the_next_runtime_leaves_it(database_url):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("demo")
        handle = await world.start_run(100_000)
        async for info in handle.follow():
            if info.ticks_completed:
                break
        await handle.cancel(reason="enough")
        assert (await handle.wait()).status == "cancelled"
    async with ArchetypeRuntime(database_url) as runtime:
        assert await runtime.resume_runs() == []


async def test_a_run_that_the_end_of_a_script_stops_goes_on_in_the_next(database_url):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("demo")
        handle = await world.start_run(200)
        async for info in handle.follow():
            if info.ticks_completed:
                break
    async with ArchetypeRuntime(database_url) as runtime:
        (resumed,) = await runtime.resume_runs()
        assert resumed.run_id == handle.run_id
        assert (await resumed.wait()).ticks_completed == 200
        assert (await runtime.world("demo").info()).tick == 200


def test_the_sync_face_waits_too(database_url):
    with ArchetypeRuntime.sync(database_url) as runtime:
        handle = runtime.world("demo").start_run(3)
        assert handle.wait().ticks_completed == 3
        assert handle.info().status == "completed"
        assert runtime.resume_runs() == []


CHANGES = {
    "spawn": lambda world, version: world.spawn(Position(), expected_version=version),
    "spawn_many": lambda world, version: world.spawn_many([[Position()]], expected_version=version),
    "update": lambda world, version: world.update(1, Position(), expected_version=version),
    "despawn": lambda world, version: world.despawn(1, expected_version=version),
    "add_components": lambda world, version: world.add_components(1, Velocity(), expected_version=version),
    "remove_components": lambda world, version: world.remove_components(
        1, Position, expected_version=version
    ),
    "add_processor": lambda world, version: world.add_processor(
        MovementProcessor(), expected_version=version
    ),
    "remove_processor": lambda world, version: world.remove_processor(
        MovementProcessor, expected_version=version
    ),
    "step": lambda world, version: world.step(expected_version=version),
    "run": lambda world, version: world.run(2, expected_version=version),
    "start_run": lambda world, version: world.start_run(2, expected_version=version),
    "fork": lambda world, version: world.fork("what-if", expected_version=version),
    "fork_many": lambda world, version: world.fork_many("what-if", 2, expected_version=version),
    "label": lambda world, version: world.label("here", expected_version=version),
    "configure": lambda world, version: world.configure(snapshots=5, expected_version=version),
    "destroy": lambda world, version: world.destroy(expected_version=version),
}


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_change_holds_for_the_version_it_was_made_for(database_url, verb):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])
        await world.spawn(Position())
        await world.step()
        version = (await world.info()).version
        with pytest.raises(VersionConflictError) as caught:
            await CHANGES[verb](world, version - 1)
        assert caught.value.details == {"expected_version": version - 1, "actual_version": version}
        await CHANGES[verb](world, version)
