"""Starting: the same few statements however many worlds there are, and no world that nobody asked for."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa

from archetype.core.config import WorldConfig
from archetype.examples.movement import MovementProcessor
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.store.database import Database
from archetype.store.schema import worlds
from statements import plan_of

STATES = ("FROM pages", "FROM snapshots", "FROM ticks")


async def make_worlds(database_url, names):
    """Make worlds with one committed tick each, and return their ids."""
    made = []
    async with ServiceContainer(database_url) as services:
        for name in names:
            made.append((await services.world_service.create_world(WorldConfig(name=name))).world_id)
            start = [
                CommandRequest("add_processor", {"processor": MovementProcessor.__name__}),
                CommandRequest("spawn", {"components": [{"type": "Position"}, {"type": "Velocity"}]}),
            ]
            await services.command_service.submit_batch(made[-1], start)
            await services.simulation_service.run(made[-1], RunRequest(steps=1))
    return made


async def start(services):
    """Do what a server does when it starts, and return the runs that it takes up."""
    await services.gate.has_keys()
    return await services.run_service.resume_interrupted()


async def test_a_start_reads_the_same_however_many_worlds_there_are(database_url, statements):
    heard = []
    for names in (["first"], [f"world-{number}" for number in range(12)]):
        await make_worlds(database_url, names)
        statements.clear()
        async with ServiceContainer(database_url) as services:
            assert await start(services) == []
            heard.append(list(statements))
            assert services.budget.size_bytes == 0
    few, many = heard
    assert 0 < len(few) == len(many)
    assert not [each for each in many if any(part in each.text for part in STATES)]


async def test_a_run_that_is_taken_up_loads_its_own_world_alone(database_url):
    made = await make_worlds(database_url, [f"world-{number}" for number in range(4)])
    async with ServiceContainer(database_url) as services:
        await services.simulation_service.accept(made[2], RunRequest(steps=2))
        long_ago = sa.update(worlds).values(lease_until=dt.datetime(2026, 1, 31, tzinfo=dt.UTC))
        await services.database.write(lambda connection: connection.execute(long_ago))
    async with ServiceContainer(database_url) as services:
        (run_id,) = await start(services)
        assert (await services.run_service.wait(run_id)).ticks_completed == 2
        uses = services.budget.uses()
        assert {name: use.value_count for name, use in uses.items() if use.value_count} == {
            "worlds": 1,
            "projections": 1,
            "lineages": 1,
            "code": 1,
        }
        assert services.world_service.live_worlds.of(made[2]).projection is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_looking_for_unfinished_runs_goes_by_their_index(database_url, statements):
    """The poll of every two seconds must not grow with the runs that have ended."""
    await make_worlds(database_url, ["one"])
    async with ServiceContainer(database_url) as services:
        statements.clear()
        await services.run_service.resume_interrupted()
        (poll,) = [each for each in statements if "FROM runs" in each.text]
        plan = await plan_of(services.database, poll)
        assert any("runs_unfinished" in each for each in plan), plan


@pytest.mark.parametrize("part", ["run_service", "watch", "appender", "denials"])
async def test_an_end_that_is_interrupted_ends_the_rest(database_url, monkeypatch, part):
    """No connection stays open, whatever part could not be waited for."""
    services, closed = ServiceContainer(database_url), []
    await services.open()
    close = Database.close

    async def closing(self):
        closed.append(self)
        await close(self)

    async def interrupted():
        raise asyncio.CancelledError

    monkeypatch.setattr(Database, "close", closing)
    monkeypatch.setattr(getattr(services, part), "close", interrupted)
    with pytest.raises(asyncio.CancelledError):
        await services.shutdown()
    assert closed == [services.database]
