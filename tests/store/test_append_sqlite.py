"""What the append on SQLite leaves behind, and what it tells where the file fails it."""

import gc
import weakref
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.errors import CorruptionError, UnavailableError
from archetype.store.acceptance import NewCommand
from archetype.store.append import append
from archetype.store.append_sqlite import SqliteAppend
from archetype.store.database import Database
from archetype.store.schema import events
from archetype.store.worlds import NewWorld, create


async def make_world(database) -> UUID:
    world_id = new_id()
    world = NewWorld(world_id, "demo", 1, "{}", NewCommand(world_id, world_id, "create_world", "{}"))
    await database.write(lambda connection: create(connection, world))
    return world_id


def group(world_id):
    return [NewCommand(new_id(), world_id, "custom", f'{{"text":"{"x" * 500}"}}') for _ in range(400)]


async def test_an_append_is_gone_as_soon_as_it_has_answered(sqlite_url):
    """It has the rows of a whole flush, which must not wait until somebody looks for cycles."""
    database = Database(sqlite_url)
    commands = [NewCommand(new_id(), new_id(), "spawn", "{}", actor_id=new_id(), cost=10)]

    def append(connection):
        made = SqliteAppend(connection)
        made.append([commands], None)
        return weakref.ref(made)

    gc.disable()
    try:
        made = await database.write(append)
        assert made() is None
    finally:
        gc.enable()
    await database.close()


async def test_a_disk_that_is_full_in_the_middle_of_an_append_is_an_outage(sqlite_url):
    database = Database(sqlite_url)
    world_id = await make_world(database)

    def fill(connection):
        page_count = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {page_count + 2}")

    await database.write(fill)
    with pytest.raises(UnavailableError, match="full; free some space"):
        await database.write(lambda connection: append(connection, [group(world_id)]))
    count = sa.select(sa.func.count()).select_from(events)
    assert await database.read(lambda connection: connection.scalar(count)) == 1
    await database.close()


async def test_an_append_to_a_damaged_file_says_so(sqlite_url):
    database = Database(sqlite_url)
    world_id = await make_world(database)

    def place(connection):
        page = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'events_event_id'")
        return (page.scalar_one() - 1) * connection.exec_driver_sql("PRAGMA page_size").scalar_one()

    offset = await database.read(place)
    await database.close()
    with Path(database.url.database).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 512)
    with pytest.raises(CorruptionError, match="restore it from a backup"):
        await database.write(lambda connection: append(connection, [group(world_id)]))
    await database.close()
