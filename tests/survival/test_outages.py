"""PostgreSQL dies, stalls, cuts connections or keeps others waiting: callers are told, nothing is lost."""

import asyncio
from contextlib import suppress

import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.errors import UnavailableError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.container import ServiceContainer
from archetype.store import append, postgres
from archetype.store.database import Database
from survival.deeds import Deeds
from survival.invariants import check
from survival.load import Load
from survival.proxy import proxied
from survival.server import serving

ANSWERS_MAX = 100
"""Answers of the database up to which a spawn and a step are followed; they need fewer."""

SELECT_ONE = sa.text("SELECT 1")


async def test_a_server_outlives_its_database(mortal_cluster, mortal_url):
    """Killed under load and started again, twice; callers are told to try again, and nothing else."""
    load, outages = Load(5, client_count=3), []
    done = asyncio.Event()

    async def outage() -> None:
        await asyncio.to_thread(mortal_cluster.kill)
        await asyncio.to_thread(mortal_cluster.launch)
        if len(outages) == 2:
            load.journal.at("answered", 10, done.set)
        else:
            load.journal.at("answered", 10, begin)

    def begin() -> None:
        outages.append(asyncio.create_task(outage()))

    async with serving(mortal_url) as server:
        load.journal.at("answered", 15, begin)
        await load.work(server.url, until=done)
        await asyncio.gather(*outages)
        await load.finish(server.url)
    await check(mortal_url, load.journal)


async def test_an_answer_may_be_lost_at_any_moment(postgres_database_url):
    """Each answer of the database in turn never arrives: commands and ticks happen once all the same."""
    async with proxied(postgres_database_url) as (proxy, url), ServiceContainer(url) as services:
        deeds = await Deeds.begin(services)
        for number in range(1, ANSWERS_MAX):
            proxy.lose_answer(number)
            before = proxy.lost_count
            await deeds.spawn()
            await deeds.step()
            if proxy.lost_count == before:
                break  # both are done with fewer answers
        assert number < ANSWERS_MAX - 1
        assert deeds.refused_count > 0
        async with ServiceContainer(postgres_database_url) as other:
            await deeds.check(other)


async def test_a_silent_connection_is_given_up(postgres_database_url):
    """Neither an append nor a tick nor a read hangs, and the next ones use other connections."""
    async with (
        asyncio.timeout(120),
        proxied(postgres_database_url, "command_timeout=1") as (proxy, url),
        ServiceContainer(url) as services,
    ):
        deeds = await Deeds.begin(services)
        await deeds.step()
        proxy.stall()
        await asyncio.gather(*(deeds.spawn() for _ in range(5)))
        proxy.stall()
        await deeds.step()
        proxy.stall()
        with pytest.raises(UnavailableError, match="in time"):
            await services.database.read(lambda connection: connection.scalar(SELECT_ONE))
        assert await services.database.read(lambda connection: connection.scalar(SELECT_ONE)) == 1
        async with ServiceContainer(postgres_database_url) as other:
            assert len(deeds.spawns) == 5
            await other.database.read(lambda connection: connection.scalar(SELECT_ONE))
            deeds.spawns = dict(sorted(deeds.spawns.items(), key=lambda item: item[1]))
            await deeds.check(other)


async def test_cut_connections_are_made_anew(postgres_database_url):
    async with proxied(postgres_database_url) as (proxy, url), ServiceContainer(url) as services:
        deeds = await Deeds.begin(services)
        for _ in range(3):
            proxy.cut()
            await deeds.spawn()
            proxy.cut()
            await deeds.step()
        await deeds.check(services)


async def test_who_holds_the_logs_lock_too_long_is_named_as_the_cause(postgres_database_url, monkeypatch):
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT_S", 1)
    rival = Database(postgres_database_url)
    async with ServiceContainer(postgres_database_url) as services:
        deeds = await Deeds.begin(services)
        async with rival._open().begin() as connection:
            await connection.run_sync(append.lock_log)
            with pytest.raises(UnavailableError, match="pg_locks"):
                await deeds.submit(new_id(), "spawn", {"components": [{"type": "Position"}]})
            with pytest.raises(UnavailableError, match="pg_locks"):
                await services.database.write(append.lock_log)
        await deeds.spawn()
        await deeds.step()
        await deeds.check(services)
    await rival.close()


async def test_a_holder_of_the_logs_lock_that_falls_silent_loses_it(postgres_database_url, monkeypatch):
    """A server that was paused in the middle of a commit keeps nobody waiting for long."""
    monkeypatch.setattr(append, "SILENT_HOLDER", "300ms")
    silent = Database(postgres_database_url)
    async with asyncio.timeout(120), ServiceContainer(postgres_database_url) as services:
        deeds = await Deeds.begin(services)

        async def fall_silent() -> None:
            async with silent.translating(), silent._open().begin() as connection:
                await connection.run_sync(append.lock_log)
                await deeds.spawn()
                await connection.execute(SELECT_ONE)

        with pytest.raises(UnavailableError):
            await fall_silent()
        assert deeds.refused_count == 0
        await deeds.check(services)
    await silent.close()


async def test_a_schema_that_changes_beneath_costs_one_try_at_most(postgres_database_url):
    """Prepared statements of the old schema are forgotten."""
    query = sa.text("SELECT * FROM labels")
    reader, changer = Database(postgres_database_url), Database(postgres_database_url)
    await reader.read(lambda connection: connection.execute(query).all())
    await changer.write(
        lambda connection: connection.execute(sa.text("ALTER TABLE labels ADD COLUMN extra int"))
    )
    with suppress(UnavailableError):
        await reader.read(lambda connection: connection.execute(query).all())
    result = await reader.read(lambda connection: connection.execute(query).keys())
    assert "extra" in result
    await reader.close()
    await changer.close()


@pytest.mark.parametrize("state", ["57P01", "57P03", "53300", "53100", "40P01", "58030", "25006"])
async def test_states_that_pass_are_told_as_such(state, postgres_database_url):
    """Whatever PostgreSQL calls it; an outage must not look like a fault of the program."""
    opened = Database(postgres_database_url)
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'it is so' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(UnavailableError, match="it is so; "):
        await opened.read(lambda connection: connection.execute(sa.text(raising)))
    with pytest.raises(UnavailableError, match="it is so; "):
        await opened.call(raising, [])
    await opened.close()
