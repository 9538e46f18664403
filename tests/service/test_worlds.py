"""Worlds: making, naming, forking and removing them."""

import asyncio
from uuid import UUID

import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import NameTakenError, PayloadError, TickNotFoundError, WorldNotFoundError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest


async def create(services, name="demo", **options):
    return await services.world_service.create_world(WorldConfig(name=name, **options))


async def moving_world(services, name="demo"):
    info = await create(services, name, seed=5)
    spawn = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1, "dy": 2}]}
    requests = [
        CommandRequest("add_processor", {"processor": "MovementProcessor"}),
        CommandRequest("spawn", spawn),
    ]
    await services.command_service.submit_batch(info.world_id, requests)
    return info.world_id


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def position(services, world_id, tick=None):
    world = await services.world_service.find(world_id)
    return (await services.query_service.entity(world, 1, tick)).components["Position"]["x"]


async def count(services, table):
    return await services.database.read(
        lambda connection: connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
    )


async def test_a_new_world_rests_before_tick_0(services):
    info = await create(services, seed=3)
    assert (info.name, info.tick, info.entity_count, info.version, info.seed) == ("demo", 0, 0, 1, 3)
    assert await services.world_service.list_worlds() == [info]


async def test_a_name_is_taken_until_its_world_is_removed(services):
    info = await create(services)
    with pytest.raises(NameTakenError):
        await create(services)
    assert await count(services, "worlds") == 1
    await services.world_service.remove_world(await services.world_service.find("demo"), reason="over")
    with pytest.raises(WorldNotFoundError):
        await services.world_service.find("demo")
    with pytest.raises(WorldNotFoundError, match="was removed"):
        await services.world_service.find(info.world_id)
    assert (await create(services)).world_id != info.world_id


async def test_of_many_who_want_a_name_one_gets_it(services):
    results = await asyncio.gather(*(create(services) for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in results) == 1
    assert all(isinstance(each, NameTakenError) for each in results if isinstance(each, Exception))


async def test_making_a_world_again_with_its_id_answers_as_the_first_time(services):
    world_id = new_id()
    first = await create(services, world_id=world_id)
    assert await create(services, world_id=world_id) == first
    with pytest.raises(NameTakenError):
        await create(services, "other", world_id=world_id)


async def test_making_a_world_again_under_another_command_id_adds_nothing_to_its_log(services):
    config = WorldConfig(name="demo", world_id=new_id())
    for _ in range(2):
        await services.world_service.create_world(config, command_id=new_id())
    assert await count(services, "events") == 1


@pytest.mark.parametrize("name", ["", "a@b", "a/b", " a", "a\n", "x" * 129, "x" * 300, "a\x00"])
async def test_names_that_a_reference_could_not_hold_are_refused(services, name):
    with pytest.raises(PayloadError, match="must have 1 to 128 characters"):
        await create(services, name)


@pytest.mark.parametrize("name", [".", "..", str(UUID(int=7)), str(UUID(int=10)).upper()])
async def test_names_that_would_be_taken_for_something_else_are_refused(services, name):
    with pytest.raises(PayloadError, match="nor may it be"):
        await create(services, name)


async def test_a_name_that_is_nearly_an_id_is_found(services):
    info = await create(services, new_id().hex)
    assert (await services.world_service.find(info.name)).world_id == info.world_id


@pytest.mark.parametrize("reference", ["\x00", "", "x" * 1000, "'; DROP TABLE worlds; --"])
async def test_a_reference_that_can_name_no_world_is_not_found(services, reference):
    with pytest.raises(WorldNotFoundError):
        await services.world_service.find(reference)


@pytest.mark.parametrize("seed", [-1, 2**63])
async def test_a_seed_out_of_range_is_refused(services, seed):
    with pytest.raises(PayloadError, match=r"payload\.seed"):
        await create(services, seed=seed)


async def test_a_fork_shares_the_past_and_goes_its_own_way(services):
    parent_id = await moving_world(services)
    await run(services, parent_id, 3)
    parent = await services.world_service.find(parent_id)
    info = await services.world_service.fork_world(parent, "fork")
    assert (info.tick, info.entity_count, info.parent_id, info.fork_tick) == (3, 1, parent_id, 2)
    await services.command_service.submit(
        info.world_id,
        CommandRequest("update", {"entity_id": 1, "components": [{"type": "Velocity", "dx": 10}]}),
    )
    await run(services, info.world_id, 2)
    await run(services, parent_id, 1)
    assert [await position(services, info.world_id, tick) for tick in range(5)] == [1, 2, 3, 13, 23]
    assert [await position(services, parent_id, tick) for tick in range(4)] == [1, 2, 3, 4]


async def test_a_fork_writes_a_constant_number_of_rows(services):
    parent_id = await moving_world(services)
    written = []
    for ticks in (1, 20):
        await run(services, parent_id, ticks)
        parent = await services.world_service.find(parent_id)
        tables = ("worlds", "events", "ticks", "snapshots", "pages", "runs")
        before = [await count(services, table) for table in tables]
        await services.world_service.fork_world(parent, f"after-{ticks}")
        after = [await count(services, table) for table in tables]
        written.append([b - a for a, b in zip(before, after, strict=True)])
    assert written == [[1, 1, 0, 0, 0, 0]] * 2


async def test_a_fork_of_a_fork_names_the_owner_of_its_tick(services):
    root_id = await moving_world(services)
    await run(services, root_id, 4)
    middle = await services.world_service.fork_world(await services.world_service.find(root_id), "middle")
    await run(services, middle.world_id, 1)
    row = await services.world_service.find("middle")
    early = await services.world_service.fork_world(row, "early", tick=1)
    late = await services.world_service.fork_world(row, "late")
    assert (early.parent_id, early.tick) == (root_id, 2)
    assert (late.parent_id, late.tick) == (middle.world_id, 5)
    await run(services, early.world_id, 1)
    assert await position(services, early.world_id) == 3
    with pytest.raises(TickNotFoundError):
        await services.world_service.fork_world(row, "too-late", tick=5)


async def test_forks_give_out_entity_ids_from_where_they_begin(services):
    root_id = await moving_world(services)
    await run(services, root_id, 1)
    fork = await services.world_service.fork_world(await services.world_service.find(root_id), "fork")
    spawn = CommandRequest("spawn", {"components": []})
    ids = [
        (await services.command_service.submit(world_id, spawn)).first_entity_id
        for world_id in (root_id, root_id, fork.world_id)
    ]
    assert ids == [2, 3, 2]


async def test_a_fork_lives_on_when_its_parent_is_removed(services, database_url):
    parent_id = await moving_world(services)
    await run(services, parent_id, 2)
    parent = await services.world_service.find(parent_id)
    fork = await services.world_service.fork_world(parent, "fork")
    await services.world_service.remove_world(parent)
    async with ServiceContainer(database_url) as other:
        await run(other, fork.world_id, 1)
        assert await position(other, fork.world_id) == 3


async def test_a_world_can_be_forked_before_its_first_tick(services):
    parent_id = await moving_world(services)
    fork = await services.world_service.fork_world(await services.world_service.find(parent_id), "fork")
    assert (fork.tick, fork.entity_count) == (0, 0)
    await run(services, fork.world_id, 1)
    assert (await services.world_service.info(await services.world_service.find("fork"))).entity_count == 0


async def test_worlds_are_listed_page_by_page(services):
    made = [(await create(services, f"w{n}")).world_id for n in range(5)]
    first = await services.world_service.list_worlds(limit=2)
    rest = await services.world_service.list_worlds(after=first[-1].world_id, limit=10)
    assert [info.world_id for info in (*first, *rest)] == made


async def test_the_tree_of_worlds_can_be_read_with_sql(services):
    root_id = await moving_world(services)
    await run(services, root_id, 1)
    row = await services.world_service.find(root_id)
    await services.world_service.fork_world(row, "a")
    await services.world_service.fork_world(await services.world_service.find("a"), "b")
    paths = await services.database.read(
        lambda connection: connection.scalars(sa.text("SELECT path FROM world_tree ORDER BY path")).all()
    )
    assert paths == ["demo", "demo/a", "demo/b"]
