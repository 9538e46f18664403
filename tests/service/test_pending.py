"""So many commands wait in one world; what waits already is answered all the same."""

import asyncio

import pytest

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import OverloadedError, WorldNotFoundError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from statements import plan_of

MOST = 5


@pytest.fixture(autouse=True)
def most(monkeypatch):
    monkeypatch.setattr("archetype.service.pending.PENDING_COMMANDS_MAX", MOST)


async def a_world(services):
    world = await services.world_service.create_world(WorldConfig(name=new_id().hex))
    return await services.world_service.find(world.world_id)


async def submit(services, world, count=1, *, tick=0):
    requests = [CommandRequest("custom", {}, id=new_id(), tick=tick) for _ in range(count)]
    await services.command_service.submit_batch(world.world_id, requests)
    return requests


async def pending(services, world):
    return await services.command_service.pending_count(world.world_id)


@pytest.mark.parametrize("sizes", [[1] * MOST, [MOST], [2, 3]], ids=["singly", "at_once", "in_two"])
async def test_a_world_takes_so_many_and_no_more_until_it_is_stepped(services, sizes):
    world = await a_world(services)
    for size in sizes:
        await submit(services, world, size)
    with pytest.raises(OverloadedError, match="step or run it") as caught:
        await submit(services, world)
    assert caught.value.details["pending_count"] == caught.value.details["pending_commands_max"] == MOST
    assert await pending(services, world) == MOST
    await services.simulation_service.run(world.world_id, RunRequest())
    await submit(services, world, MOST)
    assert await pending(services, world) == MOST


async def test_a_batch_that_does_not_fit_is_refused_whole(services):
    world = await a_world(services)
    await submit(services, world, MOST - 1)
    with pytest.raises(OverloadedError):
        await submit(services, world, 2)
    assert await pending(services, world) == MOST - 1
    await submit(services, world)


async def test_a_retry_is_answered_though_the_world_is_full(services):
    world = await a_world(services)
    requests = await submit(services, world, MOST)
    receipts = await services.command_service.submit_batch(world.world_id, requests)
    assert all(receipt.is_duplicate for receipt in receipts)
    with pytest.raises(OverloadedError):
        await services.command_service.submit_batch(world.world_id, [*requests, CommandRequest("custom", {})])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_ids_of_a_retry_are_looked_up_in_their_index(services, statements):
    """To look through the world's log for each of them would take minutes where it is full."""
    world = await a_world(services)
    requests = await submit(services, world, MOST)
    statements.clear()
    await services.command_service.submit_batch(world.world_id, requests)
    lookups = [each for each in statements if "json_each" in each.text]
    assert lookups
    for lookup in lookups:
        plan = await plan_of(services.database, lookup)
        assert any("events_event_id (world_id=? AND event_id=?)" in each for each in plan), plan


async def test_what_is_due_later_waits_and_what_acts_at_once_does_not(services):
    world = await a_world(services)
    await services.simulation_service.run(world.world_id, RunRequest())
    for number in range(MOST):
        world = await services.world_service.find(world.world_id)
        await services.label_service.add(world, f"label-{number}", 0)
    await submit(services, world, MOST, tick=50)
    await services.simulation_service.run(world.world_id, RunRequest(steps=2))
    with pytest.raises(OverloadedError):
        await submit(services, world)


async def test_callers_of_one_moment_share_the_room(services):
    world = await a_world(services)
    answers = await asyncio.gather(
        *(submit(services, world) for _ in range(3 * MOST)), return_exceptions=True
    )
    refused = [each for each in answers if isinstance(each, OverloadedError)]
    assert len(answers) - len(refused) == await pending(services, world) == MOST


async def test_a_full_world_that_does_not_move_is_not_counted_again(services, monkeypatch):
    world = await a_world(services)
    await submit(services, world, MOST)
    with pytest.raises(OverloadedError):
        await submit(services, world)
    monkeypatch.setattr("archetype.store.pending.pending_count", None)
    with pytest.raises(OverloadedError):
        await submit(services, world)


async def test_another_server_is_late_by_what_it_has_under_way(services, database_url):
    """What it has not seen yet it cannot count; from its first answer on it knows."""
    world = await a_world(services)
    await submit(services, world, MOST)
    async with ServiceContainer(database_url) as other:
        await submit(other, world)
        with pytest.raises(OverloadedError):
            await submit(other, world)
        await other.simulation_service.run(world.world_id, RunRequest())
    await submit(services, world)


async def test_nothing_is_kept_of_worlds_that_are_far_from_full(services):
    appender = services.command_service._appender
    world = await a_world(services)
    await submit(services, world)
    assert not appender._worlds
    with pytest.raises(WorldNotFoundError):
        await services.command_service.submit(new_id(), CommandRequest("custom", {}))
    assert not appender._worlds
