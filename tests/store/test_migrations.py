"""Migrations: up, down, equal to what the code expects, and the guards that they set."""

import sqlite3

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from archetype.clock import new_id
from archetype.errors import SchemaOutdatedError
from archetype.store import migrate, schema
from archetype.store.acceptance import NewCommand
from archetype.store.database import Database
from archetype.store.worlds import NewWorld, create

VIEWS = {
    "command_log",
    "audit_trail",
    "world_tree",
    "tick_log",
    "storage_use",
    "lineage",
    "executions",
    "conflicts",
}
APPEND_ONLY = ["events", "ticks", "programs", "archetypes", "administrative_acts", "denials"]


def test_the_revision_that_the_code_needs_is_the_newest():
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(migrate.alembic_config()).get_heads() == [schema.REVISION]


async def test_the_migrated_schema_is_the_one_the_code_expects(database):
    assert await migrate.differences(database) == []
    await database.require_schema()


async def test_down_and_up_again(database):
    await migrate.downgrade(database, "base")
    left = await database.read(lambda connection: sa.inspect(connection).get_table_names())
    assert set(left) <= {"alembic_version"}
    with pytest.raises(SchemaOutdatedError, match="archetype db upgrade"):
        await database.require_schema()
    await migrate.upgrade(database)
    assert await migrate.differences(database) == []


async def test_downgrade_leaves_no_function_behind(postgres_database_url):
    database = Database(postgres_database_url)
    await migrate.downgrade(database, "base")
    count = await database.read(
        lambda connection: connection.scalar(
            sa.text("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        )
    )
    await database.close()
    assert count == 0


async def test_every_table_and_column_says_what_it_is(postgres_database_url):
    database = Database(postgres_database_url)

    def silent(connection):
        inspector = sa.inspect(connection)
        for table in schema.metadata.tables:
            if not inspector.get_table_comment(table)["text"]:
                yield table
            yield from (
                f"{table}.{column['name']}"
                for column in inspector.get_columns(table)
                if not column.get("comment")
            )

    found = await database.read(lambda connection: list(silent(connection)))
    await database.close()
    assert found == []


async def test_the_views_can_be_read(database):
    for view in VIEWS:
        await database.read(
            lambda connection, view=view: connection.execute(sa.text(f"SELECT * FROM {view}")).all()
        )


async def put_a_row_in(database, table):
    world_id = new_id()
    command = NewCommand(world_id, world_id, "create_world", '{"name":"w"}')
    await database.write(lambda connection: create(connection, NewWorld(world_id, "w", 1, "{}", command)))
    rows = {
        "programs": {"code_hash": b"c" * 32, "document": "{}"},
        "archetypes": {"archetype_id": b"a" * 32, "components": "[]", "schema": "[]"},
        "pages": {"page_hash": b"p" * 32, "codec": "plain", "size_bytes": 1, "data": b"x"},
    }
    if table in rows:
        await database.write(
            lambda connection: connection.execute(schema.metadata.tables[table].insert(), rows[table])
        )


@pytest.mark.parametrize("table", ["events", "programs", "archetypes", "administrative_acts"])
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
async def test_the_database_itself_refuses_to_edit_history(database, table, statement):
    await put_a_row_in(database, table)
    column = next(iter(schema.metadata.tables[table].columns)).name
    with pytest.raises(DBAPIError, match=f"{table} is append-only"):
        await database.write(lambda connection: connection.execute(sa.text(statement.format(table, column))))


async def test_a_page_cannot_be_edited(database):
    await put_a_row_in(database, "pages")
    with pytest.raises(DBAPIError, match="pages is append-only"):
        await database.write(
            lambda connection: connection.execute(sa.text("UPDATE pages SET size_bytes = 2"))
        )


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_postgres_refuses_truncate_too(postgres_database_url, table):
    database = Database(postgres_database_url)
    with pytest.raises(DBAPIError, match="append-only"):
        await database.write(lambda connection: connection.execute(sa.text(f"TRUNCATE {table} CASCADE")))
    await database.close()


async def test_a_reader_of_sqlite_cannot_write(sqlite_url):
    database = Database(sqlite_url)
    with pytest.raises(Exception, match="readonly"):
        await database.read(lambda connection: connection.execute(sa.text("DELETE FROM runs")))
    await database.close()


async def test_sqlite_is_durable_and_lets_readers_in(sqlite_url):
    database = Database(sqlite_url)

    def pragmas(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]

    assert await database.write(pragmas) == ["wal", 2]
    await database.close()
    assert sqlite3.connect(sqlite_url.removeprefix("sqlite:///")).execute(
        "PRAGMA integrity_check"
    ).fetchone() == ("ok",)
