"""`archetype db` and `archetype sql` on both databases."""

from __future__ import annotations

import json
import sqlite3

import pytest

from archetype.store.schema import REVISION


@pytest.fixture
def db(command, database_url):
    """Run `archetype db …` or `sql …` on a migrated, empty database."""
    return lambda *arguments: command(*arguments, "--database-url", database_url)


def test_the_schema_goes_back_and_forward(db):
    """Up to date, back to none (7), forward again."""
    assert db("db", "current").json["is_current"] is True
    assert db("db", "check").json["revision"] == REVISION
    refused = db("db", "downgrade", "base")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert db("db", "downgrade", "base", "--yes").json["revision"] is None
    behind = db("db", "check")
    assert behind.code == 7
    assert "run `archetype db upgrade`" in behind.err
    assert behind.err.count("\n") == 1
    assert db("db", "current").json["is_current"] is False
    assert db("db", "upgrade").json["revision"] == REVISION
    assert db("db", "check").code == 0


def test_an_unknown_revision_is_named(db):
    """It is the command that is wrong."""
    failed = db("db", "upgrade", "nonsense")
    assert failed.code == 2
    assert "nonsense" in failed.err


def test_check_finds_a_schema_that_someone_changed(command, sqlite_url):
    """At the right revision, but not as the release expects: 7."""
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("CREATE TABLE stray (a INTEGER)")
    connection.close()
    failed = command("db", "check", "--database-url", sqlite_url)
    assert failed.code == 7
    assert "stray" in failed.err


def test_upgrade_makes_a_sqlite_file_and_current_does_not(command, tmp_path):
    """Looking at what is not there leaves nothing behind."""
    path = tmp_path / "new.db"
    url = f"sqlite:///{path}"
    assert command("db", "current", "--database-url", url).json["revision"] is None
    for arguments in (("db", "check"), ("sql", "SELECT 1"), ("db", "downgrade", "base", "--yes")):
        assert command(*arguments, "--database-url", url).code == 7
    assert not path.exists()
    assert command("db", "upgrade", "--database-url", url).json["is_current"]
    assert path.exists()


def test_sql_reads(db):
    """Rows in every form; the names of the columns are there even without rows."""
    assert db("sql", "SELECT 1 AS one, 'a' AS text").json == [{"one": 1, "text": "a"}]
    assert db("sql", "SELECT * FROM audit_trail WHERE type = 'a:b' AND 1 = 2", "-o", "csv").out.startswith(
        "position,"
    )
    assert db("sql", "SELECT position FROM log_head", "-o", "table").out.split() == ["position", "0"]


def test_sql_spells_what_json_has_no_form_for(db):
    """Bytes are hexadecimal."""
    is_sqlite = "sqlite" in db("db", "current").json["database"]
    found = db("sql", "SELECT x'00ff' AS b" if is_sqlite else "SELECT '\\x00ff'::bytea AS b, now() AS t")
    assert json.loads(found.out)[0]["b"] == "00ff"


WRITES = (
    "DELETE FROM worlds",
    "UPDATE log_head SET position = 5",
    "INSERT INTO log_head (id, position) VALUES (1, 1)",
    "CREATE TABLE stray (a INTEGER)",
    "DROP VIEW audit_trail",
    "\n-- a comment\nDELETE FROM worlds",
    "/* SELECT */ (DELETE FROM worlds)",
)


@pytest.mark.parametrize("statement", WRITES)
def test_sql_refuses_to_write(db, statement):
    """One clear line, and nothing has changed."""
    failed = db("sql", statement)
    assert failed.code == 2
    assert failed.err.startswith("error: `archetype sql` only reads: ")
    assert failed.err.count("\n") == 1
    assert db("sql", "SELECT id, position FROM log_head").json == [{"id": 1, "position": 0}]
    assert db("db", "check").code == 0


def test_sql_reads_behind_comments_and_brackets(db):
    """The first word is what counts."""
    assert db("sql", "\n-- how many\n/* of\nthem */ SELECT count(*) AS n FROM worlds").json == [{"n": 0}]
    assert db("sql", "SELECT ':name' AS a, '%s' AS b, 5 % 3 AS c").json == [{"a": ":name", "b": "%s", "c": 2}]
    assert db("sql", "WITH a AS (SELECT 1 AS b) SELECT b FROM a").json == [{"b": 1}]
    assert db("sql", "EXPLAIN SELECT 1").code == 0


def test_sql_from_a_file(db, tmp_path):
    """A file may begin with a comment, which a command line would take for an option."""
    path = tmp_path / "query.sql"
    path.write_text("-- one\nSELECT 1 AS one;\n")
    assert db("sql", f"@{path}").json == [{"one": 1}]
    assert db("sql", "@none.sql").code == 2


def test_postgresql_refuses_a_write_that_looks_like_a_read(command, postgres_database_url):
    """The transaction is read-only, whatever the statement begins with."""
    for statement in (
        "WITH gone AS (DELETE FROM log_head RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM log_head",
    ):
        failed = command("sql", statement, "--database-url", postgres_database_url)
        assert failed.code == 2
        assert failed.err.startswith("error: `archetype sql` only reads: ")
    ask = ("sql", "SELECT count(*) AS n FROM log_head", "--database-url", postgres_database_url)
    assert command(*ask).json == [{"n": 1}]


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1; SELECT 2", ""])
def test_sql_that_is_wrong_says_where(db, statement):
    """The database's own words, in one line."""
    failed = db("sql", statement)
    assert failed.code == 2, failed.err
    assert failed.err.count("\n") == 1
    assert "Traceback" not in failed.err


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA user_version = 9",
        "PRAGMA writable_schema = ON",
        "ATTACH DATABASE '{path}' AS other",
        "VACUUM INTO '{path}'",
    ],
)
def test_no_pragma_changes_a_sqlite_file(command, sqlite_url, tmp_path, statement):
    """What is not a plain write cannot write either."""
    path = tmp_path / "other.db"
    command("sql", statement.format(path=path), "--database-url", sqlite_url)
    ask = ("--database-url", sqlite_url)
    assert command("sql", "PRAGMA journal_mode", *ask).json == [{"journal_mode": "wal"}]
    assert command("sql", "PRAGMA user_version", *ask).json == [{"user_version": 0}]
    assert command("sql", "DELETE FROM log_head", *ask).code == 2
    assert not path.exists()


def test_an_unreachable_database_is_unavailable(command):
    """One line without the password, and 7."""
    failed = command("db", "current", "--database-url", "postgresql://me:secret@127.0.0.1:9/none")
    assert (failed.code, failed.err.count("\n")) == (7, 1)
    assert "secret" not in failed.err
