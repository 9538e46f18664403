"""Connections: what is refused, what is survived, and what an outage looks like."""

import asyncio
import gc
import threading
import warnings

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import CorruptionError, InvalidInputError, UnavailableError
from archetype.service.container import ServiceContainer
from archetype.store import postgres
from archetype.store.acceptance import NewCommand
from archetype.store.database import Database, parse_url
from archetype.store.schema import log_head
from survival.proxy import proxied

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("sqlite+pysqlite:///a.db", "sqlite+aiosqlite"),
        ("postgresql://u@h/n", "postgresql+asyncpg"),
        ("postgresql+psycopg://u@h/n", "postgresql+asyncpg"),
    ],
)
def test_the_driver_is_ours_whatever_the_url_says(url, driver):
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "oracle://x", "not a url"])
def test_other_databases_are_refused_with_what_to_write(url):
    with pytest.raises(InvalidInputError, match="sqlite:///"):
        parse_url(url)


def test_a_password_is_not_shown():
    assert "secret" not in Database("postgresql://u:secret@h/n").name


async def test_a_database_that_is_not_there_is_named_without_its_password(unused_tcp_port):
    database = Database(f"postgresql://u:secret@127.0.0.1:{unused_tcp_port}/n")
    with pytest.raises(UnavailableError, match=str(unused_tcp_port)) as caught:
        await database.read(lambda connection: connection.scalar(sa.text("SELECT 1")))
    assert "secret" not in str(caught.value)
    await database.close()


async def test_a_failed_write_leaves_nothing(database):
    def write(connection):
        connection.execute(sa.text("UPDATE log_head SET position = 99"))
        message = "half way"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="half way"):
        await database.write(write)
    found = await database.read(
        lambda connection: connection.scalar(sa.text("SELECT position FROM log_head"))
    )
    assert found == 0


async def test_a_writer_that_is_cancelled_does_not_break_the_next(database):
    def slow(connection):
        for _ in range(200):
            connection.execute(sa.text("UPDATE log_head SET position = position"))

    task = asyncio.create_task(database.write(slow))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(lambda connection: connection.execute(sa.text("UPDATE log_head SET position = 0")))


async def test_a_write_that_fails_behind_its_cancelled_caller_is_nobodys_error(sqlite_url):
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: unheard.append(what["message"]))
    database = Database(sqlite_url)
    entered, may_fail = threading.Event(), threading.Event()

    def write(_connection):
        entered.set()
        may_fail.wait()
        message = "too late to be heard"
        raise RuntimeError(message)

    writing = asyncio.create_task(database.write(write))
    await asyncio.to_thread(entered.wait)
    writing.cancel()
    await asyncio.sleep(0)
    may_fail.set()
    await asyncio.wait({writing})
    assert writing.cancelled()
    del writing
    gc.collect()
    await database.close()
    assert unheard == []


async def test_a_connection_that_is_in_use_at_the_end_is_ended_when_it_comes_back(database_url):
    """A caller that is cancelled twice, as a server's stream is, leaves its query behind."""
    closed = Database(database_url)
    entered, may_end = asyncio.Event(), asyncio.Event()

    def slow(connection):
        entered.set()
        await_only(may_end.wait())
        return connection.scalar(sa.select(5))

    reading = asyncio.create_task(closed.read_to_end(slow))
    await entered.wait()
    for _ in range(2):
        reading.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({reading})
    assert reading.cancelled()
    await closed.close()
    may_end.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    del reading
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(each.message) for each in heard] == []


async def test_a_connection_that_was_asked_for_goes_back_if_nobody_wants_it_any_more(
    database_url, monkeypatch
):
    """The caller was cancelled, and again, before it was there."""
    database = Database(database_url)
    engine, asked, may_come = database._open(), asyncio.Event(), asyncio.Event()

    async def slow():
        asked.set()
        await may_come.wait()
        return await engine.connect()

    class Slow:
        def connect(self):
            return slow()

    async def hold():
        async with database.held():
            raise AssertionError("nobody waits for it")

    with monkeypatch.context() as patched:
        patched.setattr(database, "_open", Slow)
        holding = asyncio.create_task(hold())
        await asked.wait()
        for _ in range(2):
            holding.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({holding})
    assert holding.cancelled()
    may_come.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    assert database.connections_in_use == 0
    await database.close()


async def test_connections_that_were_cut_are_made_anew(postgres_database_url, monkeypatch):
    """Appends are tried again by themselves: their ids make the second try harmless."""
    monkeypatch.setattr(postgres, "REST_S", 0.0)
    async with ServiceContainer(postgres_database_url) as services:
        world = await services.world_service.create_world(WorldConfig(name="cut"))

        def spawn():
            return NewCommand(new_id(), world.world_id, "spawn", "{}", entity_count=1)

        ids = []
        for _ in range(3):
            (answer,) = await services.appender.append([spawn()])
            ids.append(answer.first_entity_id)
            other = Database(postgres_database_url)
            await other.write(lambda connection: connection.execute(sa.text(CUT)))
            await other.close()
            assert (await services.world_service.find("cut")).head_version == len(ids) + 1
        assert ids == [1, 2, 3]


@pytest.mark.parametrize(("rest_s", "is_asked"), [(0.0, True), (3600.0, False)])
async def test_a_connection_that_rested_is_asked_whether_it_lives(
    postgres_database_url, monkeypatch, rest_s, is_asked
):
    """One that was used just now is not: a question before each use costs more than many an answer."""
    monkeypatch.setattr(postgres, "REST_S", rest_s)
    async with proxied(postgres_database_url) as (proxy, url):
        database = Database(url)
        one = sa.text("SELECT 1")
        for _ in range(2):
            assert await database.read(lambda connection: connection.scalar(one)) == 1
        before = proxy.answer_count
        assert await database.read(lambda connection: connection.scalar(one)) == 1
        assert (proxy.answer_count - before > 3) is is_asked
        await database.close()


async def test_a_snapshot_sees_one_state_whatever_is_written_meanwhile(database):
    query = sa.select(log_head.c.position)
    async with database.reading(is_lenient=True) as reading:
        before = await reading.read(lambda connection: connection.scalar(query))
        await database.write(lambda connection: connection.execute(sa.update(log_head).values(position=7)))
        assert await reading.read(lambda connection: connection.scalar(query)) == before == 0
    async with database.reading(is_lenient=True) as reading:
        assert await reading.read(lambda connection: connection.scalar(query)) == 7


async def test_a_stream_gives_parts_and_leaves_room_for_other_reads(database):
    series = sa.select(sa.literal(0).label("n")).cte("series", recursive=True)
    series = series.union_all(sa.select(series.c.n + 1).where(series.c.n < 24))
    lengths = []
    async with database.reading(is_lenient=True) as reading:
        async with reading.stream(sa.select(series.c.n), row_count=10) as parts:
            async for part in parts:
                lengths.append(len(part))
                assert await reading.read(lambda connection: connection.scalar(sa.select(5))) == 5
        assert lengths == [10, 10, 5]
        async with reading.stream(sa.select(series.c.n), row_count=10) as parts:
            assert [row.n for row in await anext(parts)] == list(range(10))
        assert await reading.read(lambda connection: connection.scalar(sa.select(5))) == 5


async def test_text_that_is_no_utf_8_is_read_in_a_snapshot_only(sqlite_url):
    query = sa.text("SELECT CAST(x'61ff' AS TEXT)")
    database = Database(sqlite_url)
    async with database.reading(is_lenient=True) as reading:
        assert await reading.read(lambda connection: connection.scalar(query)) == "a\udcff"
    with pytest.raises(UnavailableError, match="UTF-8"):
        await database.read(lambda connection: connection.scalar(query))
    await database.close()


async def test_a_damaged_file_is_not_called_unavailable(tmp_path):
    (tmp_path / "a.db").write_bytes(b"x" * 50_000)
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(CorruptionError, match="not a database"):
        await database.revision()
    await database.close()
