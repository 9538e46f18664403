"""Triggers, views and functions: after any migrations none differs, and what somebody changed is named."""

import pytest
from alembic.script import ScriptDirectory

from archetype.store import migrate
from archetype.store.database import Database

FEWER_TICKS = """DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW tick_log AS SELECT * FROM ('
    || trim(trailing ';' FROM pg_get_viewdef('tick_log'::regclass)) || ') AS t WHERE t.tick > 1'; END $$"""
LET_IN = (
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
)

IN_A_FILE = [
    (["DROP TRIGGER events_no_update"], "trigger events_no_update on events is missing"),
    (
        [
            "DROP TRIGGER ticks_no_delete",
            "CREATE TRIGGER ticks_no_delete BEFORE DELETE ON ticks WHEN OLD.tick < 0 BEGIN SELECT 1; END",
        ],
        "trigger ticks_no_delete on ticks is not as the migrations made it",
    ),
    (
        ["CREATE TRIGGER evil AFTER INSERT ON keys BEGIN UPDATE keys SET revoked_at = NULL; END"],
        "trigger evil on keys is none of ours",
    ),
    (["DROP VIEW lineage"], "view lineage is missing"),
    (
        ["DROP VIEW audit_trail", "CREATE VIEW audit_trail AS SELECT 1 AS x"],
        "view audit_trail is not as the migrations made it",
    ),
]
ON_POSTGRESQL = [
    (["DROP TRIGGER events_append_only ON events"], "trigger events_append_only on events is missing"),
    (["ALTER TABLE pages DISABLE TRIGGER pages_no_edit"], "trigger pages_no_edit on pages is disabled"),
    (
        [
            "DROP TRIGGER ticks_append_only ON ticks",
            "CREATE TRIGGER ticks_append_only BEFORE UPDATE ON ticks EXECUTE FUNCTION refuse_change()",
        ],
        "trigger ticks_append_only on ticks is not as the migrations made it",
    ),
    (
        ["CREATE TRIGGER evil BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION guard_denials()"],
        "trigger evil on keys is none of ours",
    ),
    (["CREATE RULE evil AS ON DELETE TO keys DO INSTEAD NOTHING"], "rule evil on keys is none of ours"),
    ([LET_IN], "function refuse_change is not as the migrations made it"),
    (
        ["CREATE FUNCTION lock_log(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'"],
        "function lock_log is not as the migrations made it",
    ),
    (["ALTER FUNCTION append_judged RENAME TO other"], "function append_judged is missing"),
    (["DROP VIEW lineage"], "view lineage is missing"),
    ([FEWER_TICKS], "view tick_log is not as the migrations made it"),
    (
        ["ALTER VIEW lineage RENAME COLUMN world_id TO id"],
        "view lineage is not as the migrations made it",
    ),
]


async def seen_after(url, statements):
    database = Database(url)
    try:
        for statement in statements:
            await database.write(lambda connection, text=statement: connection.exec_driver_sql(text))
        return await migrate.changed_objects(database)
    finally:
        await database.close()


async def test_whatever_revision_a_database_comes_from_it_ends_as_a_new_one(database):
    steps = list(ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions())
    for step in steps[1:]:
        await migrate.downgrade(database, step.revision)
        await migrate.upgrade(database)
        assert await migrate.differences(database) == [], step.revision


@pytest.mark.parametrize(("statements", "seen"), IN_A_FILE)
async def test_what_somebody_changed_in_a_file_is_named(sqlite_url, statements, seen):
    assert await seen_after(sqlite_url, statements) == [seen]


@pytest.mark.parametrize(("statements", "seen"), ON_POSTGRESQL)
async def test_what_somebody_changed_on_postgresql_is_named(postgres_database_url, statements, seen):
    assert await seen_after(postgres_database_url, statements) == [seen]


async def test_what_somebody_has_beside_ours_is_their_own(database_url):
    own = ["CREATE TABLE mine (a INTEGER)", "CREATE VIEW my_events AS SELECT * FROM events"]
    assert await seen_after(database_url, own) == []
