"""What the append on SQLite leaves behind."""

import gc
import weakref

from archetype.clock import new_id
from archetype.store.acceptance import NewCommand
from archetype.store.append_sqlite import SqliteAppend
from archetype.store.database import Database


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
