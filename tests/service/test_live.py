"""Live feeds: nothing is missed, nothing comes twice, whoever wrote it and wherever a reader was cut off."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import CorruptionError, InvalidInputError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.live import LiveService, event_filter
from archetype.service.runs import RunRequest
from archetype.service.watch import Watch
from archetype.store import feed as store

WRITER = """
import asyncio, sys
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer

async def main(url, world, count):
    async with ServiceContainer(url) as services:
        found = await services.world_service.find(world)
        for number in range(int(count)):
            request = CommandRequest("custom", {"number": number})
            await services.command_service.submit(found.world_id, request)

asyncio.run(main(*sys.argv[1:]))
"""
WITHIN_S = 30.0


async def make_world(services, name="demo"):
    return (await services.world_service.create_world(WorldConfig(name=name, seed=7))).world_id


async def submit(services, world_id, *numbers):
    requests = [CommandRequest("custom", {"number": number}) for number in numbers]
    await services.command_service.submit_batch(world_id, requests)


async def stored(services, world_id=None):
    """The positions of the log, or of a world, as they stand in the table."""
    statement = sa.text("SELECT position, world_id FROM events ORDER BY position")
    rows = await services.database.read(lambda connection: connection.execute(statement).all())
    return [row.position for row in rows if world_id is None or str(row.world_id) == str(world_id)]


async def taken(live, count, *args, **options):
    """The next events of a feed, as many as that; the feed is closed behind them."""
    found = []
    async with asyncio.timeout(WITHIN_S), aclosing(live.events(*args, **options)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


@asynccontextmanager
async def deaf(database_url, **options):
    """Services with a watch of its own that never polls, unless a poll is given."""
    async with ServiceContainer(database_url) as services:
        watch = Watch(services.database, **{"poll_s": None, "retry_s": 0.01} | options)
        try:
            yield services, LiveService(services.database, watch)
        finally:
            await watch.close()


def write_elsewhere(database_url, count, world="demo"):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "app")}
    return subprocess.Popen([sys.executable, "-c", WRITER, database_url, world, str(count)], env=environment)


async def test_a_feed_gives_commands_and_facts_as_they_stand_in_the_log(services):
    world_id = await make_world(services)
    await submit(services, world_id, 1)
    await services.simulation_service.run(world_id, RunRequest(steps=2))
    positions = await stored(services)
    events = await taken(services.live_service, len(positions), 0)
    assert [event.position for event in events] == positions
    assert [event.version for event in events] == list(range(1, len(positions) + 1))
    assert [(event.kind, event.type) for event in events] == [
        ("command", "create_world"),
        ("command", "custom"),
        ("command", "run"),
        ("fact", "tick_committed"),
        ("fact", "tick_committed"),
        ("fact", "run_finished"),
    ]
    custom, run, *facts = events[1:]
    assert custom.payload == {"number": 1}
    assert custom.batch_size_bytes is None
    assert {fact.command_id for fact in facts} <= {None, run.command_id}
    assert [fact.tick for fact in facts] == [0, 1, 1]


async def test_a_feed_begins_at_the_head_unless_it_is_told_where(services):
    world_id = await make_world(services)
    await submit(services, world_id, 1)
    feed = await services.live_service.feed(None, world_id)
    await submit(services, world_id, 2)
    assert [event.payload for event in await feed.read()] == [{"number": 2}]
    assert await feed.read() == []
    assert feed.is_at_end
    feed.close()


async def test_a_reader_that_waits_is_woken_by_a_commit_of_this_process(database_url):
    async with deaf(database_url) as (services, live):
        world_id = await make_world(services)
        head = (await stored(services))[-1]
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(taken(live, 3, head, world)) for world in (None, world_id)]
            for number in range(3):
                await submit(services, world_id, number)
        assert [[event.payload["number"] for event in reader.result()] for reader in readers] == [
            [0, 1, 2]
        ] * 2


@pytest.mark.parametrize("poll_s", [None, 0.01], ids=["deaf to polls", "polling"])
async def test_a_commit_of_another_process_wakes_a_reader(database_url, poll_s):
    """PostgreSQL's notices do without the poll; a SQLite file has to be asked."""
    if database_url.startswith("sqlite") and poll_s is None:
        poll_s = 0.05
    async with deaf(database_url, poll_s=poll_s) as (services, live):
        world_id = await make_world(services)
        head = (await stored(services))[-1]
        reader = asyncio.create_task(taken(live, 20, head, world_id))
        writer = write_elsewhere(database_url, 20)
        events = await reader
        assert [event.payload["number"] for event in events] == list(range(20))
        assert await asyncio.to_thread(writer.wait) == 0


async def test_a_reader_of_another_world_is_left_alone(database_url):
    """The reader of a quiet world does not read for what others do."""
    async with deaf(database_url) as (services, live):
        loud, quiet = await make_world(services, "loud"), await make_world(services, "quiet")
        feed, other = await live.feed(None, quiet), await live.feed(None, loud)
        async with asyncio.timeout(WITHIN_S):
            while live._watch._position is None:
                await asyncio.sleep(0)
        await feed.read()
        await other.read()
        await submit(services, loud, 1)
        async with asyncio.timeout(WITHIN_S):
            while not await other.read():
                await other.wait()
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        await submit(services, quiet, 2)
        await asyncio.wait_for(waiting, WITHIN_S)
        assert [event.payload for event in await feed.read()] == [{"number": 2}]
        feed.close()
        other.close()


async def test_a_lost_connection_is_made_again_and_nothing_is_missed(postgres_database_url):
    """Whatever is committed while nobody listens is read when somebody listens again."""
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = $1"
    )
    name = postgres_database_url.rpartition("/")[2]
    session = await asyncpg.connect(postgres_database_url)
    async with deaf(postgres_database_url) as (services, live):
        world_id = await make_world(services)
        reader = asyncio.create_task(taken(live, 30, 1, world_id))
        async with asyncio.timeout(WITHIN_S):
            for start in range(0, 30, 10):
                while not await session.fetch(kill, name):
                    await asyncio.sleep(0.01)
                async with ServiceContainer(postgres_database_url) as elsewhere:
                    await submit(elsewhere, world_id, *range(start, start + 10))
        assert [event.payload["number"] for event in await reader] == list(range(30))
    await session.close()


async def test_no_notice_is_sent_where_the_log_does_not_grow_and_one_for_each_commit(postgres_database_url):
    heard = []
    session = await asyncpg.connect(postgres_database_url)
    await session.add_listener("archetype_log", lambda *notice: heard.append(int(notice[-1])))
    async with ServiceContainer(postgres_database_url) as services:
        world_id = await make_world(services)
        request = CommandRequest("custom", {}, id=new_id())
        await services.command_service.submit_batch(world_id, [CommandRequest("custom", {}), request])
        await services.command_service.submit(world_id, request)
        await services.simulation_service.run(world_id, RunRequest(steps=1))
        last = (await stored(services))[-1]
    await session.execute("SELECT 1")
    assert heard == [1, 3, 4, last]
    await session.close()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(1, 7), min_size=1, max_size=6), of_world=st.booleans())
async def test_whatever_the_cuts_each_event_comes_once_and_in_order(database_url, cuts, of_world):
    async with ServiceContainer(database_url) as services:
        name = f"world-{os.urandom(6).hex()}"
        world_id, beside = await make_world(services, name), await make_world(services, f"{name}-beside")
        start = (await stored(services))[-1]
        total = sum(cuts) * (1 if of_world else 2)

        async def write():
            for number in range(sum(cuts)):
                await submit(services, world_id, number)
                await submit(services, beside, number)

        writing = asyncio.create_task(write())
        found, place, turn = [], start, 0
        while len(found) < total:
            count = min(cuts[turn % len(cuts)], total - len(found))
            found += await taken(services.live_service, count, place, world_id if of_world else None)
            place, turn = found[-1].position, turn + 1
        await writing
        expected = [each for each in await stored(services, world_id if of_world else None) if each > start]
        assert [event.position for event in found] == expected


async def test_cuts_lose_nothing_while_two_processes_write(database_url):
    """Each reader takes a few events and is gone; the next one goes on where it stopped."""
    async with deaf(database_url, poll_s=0.02) as (services, live):
        world_id = await make_world(services)
        place = (await stored(services))[-1]
        writers = [write_elsewhere(database_url, 40) for _ in range(2)]
        found = []
        for turn in range(1000):
            if len(found) == 90:
                break
            found += await taken(live, min(1 + turn % 7, 90 - len(found)), place, world_id)
            place = found[-1].position
            if turn < 10:
                await submit(services, world_id, turn)
        assert [await asyncio.to_thread(writer.wait) for writer in writers] == [0, 0]
        assert [event.position for event in found] == (await stored(services, world_id))[1:]


async def test_a_page_holds_no_more_than_its_limit(services):
    world_id = await make_world(services)
    await submit(services, world_id, *range(2 * store.PAGE_EVENTS + 5))
    feed = await services.live_service.feed(0)
    sizes = []
    while not feed.is_at_end:
        sizes.append(len(await feed.read()))
    assert sizes == [store.PAGE_EVENTS, store.PAGE_EVENTS, 6]
    feed.close()


@pytest.mark.parametrize("wanted", [None, ["custom"]], ids=["all", "filtered"])
@pytest.mark.parametrize("is_one_world", [False, True], ids=["log", "world"])
async def test_a_page_of_large_events_ends_with_the_one_that_fills_it(
    services, monkeypatch, wanted, is_one_world
):
    """Nothing is lost between pages, and an event beyond the limit has a page of its own."""
    world_id = await make_world(services)
    await submit(services, world_id, *range(10))
    every = await stored(services, world_id)
    payload_characters = len('{"number":0}')
    feed_options = (0, world_id if is_one_world else None, event_filter(types=wanted))
    for limit, largest in [(1, 1), (3 * payload_characters, 3), (3 * payload_characters + 1, 4)]:
        monkeypatch.setattr(store, "PAGE_CHARACTERS", limit)
        feed = await services.live_service.feed(*feed_options)
        pages = []
        while not feed.is_at_end:
            pages.append([event.position for event in await feed.read()])
        assert [position for page in pages for position in page] == (every if wanted is None else every[1:])
        assert max(len(page) for page in pages) == largest
        feed.close()


async def test_a_filter_gives_what_it_names_and_moves_on_over_the_rest(services, monkeypatch):
    monkeypatch.setattr(store, "SCANNED_EVENTS_MAX", 3)
    world_id, beside = await make_world(services), await make_world(services, "beside")
    await submit(services, beside, *range(10))
    await submit(services, world_id, *range(10))
    await services.simulation_service.run(world_id, RunRequest(steps=2))
    for world in (None, world_id):
        found = await taken(services.live_service, 2, 0, world, event_filter(types=["tick_committed"]))
        assert [(event.kind, event.tick) for event in found] == [("fact", 0), ("fact", 1)]
    feed = await services.live_service.feed(0, world_id, event_filter(["fact"], ["custom"]))
    reads = 0
    while not feed.is_at_end:
        assert await feed.read() == []
        reads += 1
    assert reads == 5
    assert feed.place.position == (await stored(services))[-1]
    feed.close()


@pytest.mark.parametrize(
    ("kinds", "types", "field"),
    [(["row"], None, "kinds"), (None, ["spawned"], "types")],
    ids=["kind", "type"],
)
def test_a_kind_or_type_that_there_is_not_is_refused(kinds, types, field):
    with pytest.raises(InvalidInputError, match="known are") as caught:
        event_filter(kinds, types)
    assert [fault["path"] for fault in caught.value.faults] == [field]


@pytest.mark.parametrize("after", [-1, 2**63, 99], ids=["negative", "no position", "another log's"])
async def test_a_position_that_is_not_the_logs_is_refused(services, after):
    """A reader that was given the position by another log would otherwise miss all that comes before it."""
    await make_world(services)
    with pytest.raises(InvalidInputError) as caught:
        await services.live_service.feed(after)
    assert [fault["path"] for fault in caught.value.faults] == ["after"]


async def test_a_fork_gives_its_own_rows_from_its_birth_on(services):
    parent = await make_world(services)
    await submit(services, parent, 1)
    await services.simulation_service.run(parent, RunRequest(steps=1))
    fork = await services.world_service.fork_world(await services.world_service.find("demo"), "fork")
    await submit(services, parent, 2)
    await submit(services, fork.world_id, 3)
    events = await taken(services.live_service, 2, 0, fork.world_id)
    assert [(event.type, event.version) for event in events] == [("fork_world", 1), ("custom", 2)]
    assert events[1].payload == {"number": 3}


@pytest.mark.parametrize("of_types", [None, ["custom"]], ids=["all", "filtered"])
async def test_a_feed_ends_behind_the_removal_of_its_world(services, of_types):
    world_id = await make_world(services)
    events = services.live_service.events(0, world_id, event_filter(types=of_types))
    reader = asyncio.create_task(_all(events))
    await submit(services, world_id, 1)
    await services.world_service.remove_world(await services.world_service.find("demo"))
    found = await asyncio.wait_for(reader, WITHIN_S)
    assert [event.type for event in found] == (of_types or ["create_world", "custom", "destroy_world"])
    assert await asyncio.wait_for(_all(services.live_service.events(3, world_id)), WITHIN_S) == []


async def test_feeds_end_with_the_services(database_url):
    async with ServiceContainer(database_url) as services:
        world_id = await make_world(services)
        readers = [
            asyncio.create_task(_all(services.live_service.events(0, world))) for world in (None, world_id)
        ]
        feed = await services.live_service.feed(0)
        await feed.read()
        await feed.read()
    ended = await asyncio.wait_for(asyncio.gather(*readers), WITHIN_S)
    assert {len(events) for events in ended} <= {0, 1}
    assert feed.is_over


async def test_a_row_that_is_missing_is_an_error_and_not_skipped(services):
    world_id = await make_world(services)
    await submit(services, world_id, 1, 2, 3)

    def lose(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET session_replication_role = replica"))
        else:
            connection.execute(sa.text("DROP TRIGGER events_no_delete"))
        connection.execute(sa.text("DELETE FROM events WHERE position = 3"))

    await services.database.write(lose)
    for world in (None, world_id):
        with pytest.raises(CorruptionError, match=r"(position|version) 3"):
            await taken(services.live_service, 4, 0, world)


async def test_the_watch_stops_with_its_last_reader_and_begins_again(services):
    world_id = await make_world(services)
    for turn in range(3):
        await submit(services, world_id, turn)
        (event,) = await taken(services.live_service, 1, turn + 1, world_id)
        assert event.payload == {"number": turn}
        await services.watch.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "archetype-watch"]


async def _all(events):
    return [event async for event in events]
