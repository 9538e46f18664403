"""`archetype doctor` on both databases: what it says of a good one, and of what was broken on purpose."""

import asyncio
import json
import sqlite3

import asyncpg
import pytest

CHECKS = {
    "versions",
    "database",
    "durability",
    "schema",
    "objects",
    "runs",
    "leases",
    "log",
    "garbage",
    "keys",
    "disk",
}


@pytest.fixture
def doctor(command, database_url):
    return lambda *arguments: command("doctor", "--database-url", database_url, *arguments)


async def run_on(url, *statements):
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def found(done):
    return {each["check"]: each for each in json.loads(done.out)}


def is_sqlite(url):
    return url.startswith("sqlite")


def change(url, statement):
    if is_sqlite(url):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(statement)
        connection.close()
    else:
        asyncio.run(run_on(url, statement))


def test_each_check_is_made_and_says_what_it_saw(doctor, database_url):
    """The PostgreSQL of the tests has fsync off, for which the doctor ends with 7."""
    done = doctor()
    findings = found(done)
    assert findings.keys() >= CHECKS
    assert findings["keys"]["severity"] == "warning"
    assert "archetype key create" in findings["keys"]["remedy"]
    errors = {name for name, each in findings.items() if each["severity"] == "error"}
    assert errors - {"durability"} == set()
    assert done.code == (7 if errors else 0)
    if is_sqlite(database_url):
        assert findings.keys() >= {"file", "file_system", "wal"}
        assert doctor("--strict").code == 7
    else:
        assert findings.keys() >= {"connections", "rights", "clock"}
        assert findings["clock"]["severity"] == "ok"


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [("0001", "archetype db upgrade"), ("9999", "pip install --upgrade archetype-log")],
)
def test_another_schema_ends_the_examination(doctor, database_url, revision, remedy):
    change(database_url, f"UPDATE alembic_version SET version_num = '{revision}'")
    done = doctor()
    assert done.code == 7
    assert found(done)["schema"]["remedy"] == remedy
    assert "keys" not in found(done)


def test_a_guard_that_somebody_took_away_is_an_error(doctor, command, database_url):
    name = "events_no_update" if is_sqlite(database_url) else "events_append_only"
    change(database_url, f"DROP TRIGGER {name}" + ("" if is_sqlite(database_url) else " ON events"))
    done = doctor()
    assert done.code == 7
    objects = found(done)["objects"]
    assert (objects["severity"], objects["seen"]) == ("error", f"trigger {name} on events is missing")
    assert "archetype verify" in objects["remedy"]
    assert "keys" in found(done)
    failed = command("db", "check", "--database-url", database_url)
    assert failed.code == 7
    assert name in failed.err


def test_a_key_is_enough(doctor, command, database_url):
    for arguments in (("actor", "create", "root", "--role", "admin"), ("key", "create", "root")):
        assert command(*arguments, "--database-url", database_url).code == 0
    assert found(doctor())["keys"]["severity"] == "ok"


def test_a_file_that_is_not_there_is_not_made(command, tmp_path):
    done = command("doctor", "--database-url", f"sqlite:///{tmp_path}/none.db")
    assert done.code == 7
    assert found(done)["file"]["remedy"] == "archetype db upgrade"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_a_finding(command, tmp_path):
    (tmp_path / "odd.db").write_bytes(b"no database" * 1000)
    done = command("doctor", "--database-url", f"sqlite:///{tmp_path}/odd.db")
    assert done.code == 7
    assert found(done)["database"]["severity"] == "error"


@pytest.mark.postgres_only
def test_a_server_that_cannot_be_reached_or_has_no_such_database_is_a_finding(command, postgres_database_url):
    base = postgres_database_url.rsplit("/", 1)[0]
    for url in (f"{base}/nowhere", "postgresql://nobody@127.0.0.1:1/none"):
        done = command("doctor", "--database-url", url)
        assert done.code == 7
        assert found(done)["database"]["severity"] == "error"
        assert "Traceback" not in done.err


@pytest.mark.postgres_only
def test_a_user_without_rights_is_told_which(command, postgres_database_url):
    role = "reader_" + postgres_database_url[-12:]
    asyncio.run(
        run_on(
            postgres_database_url,
            f"CREATE ROLE {role} LOGIN",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        )
    )
    try:
        scheme, _, rest = postgres_database_url.partition("://")
        url = f"{scheme}://{role}@{rest.partition('@')[2]}"
        rights = found(command("doctor", "--database-url", url))["rights"]
        assert rights["severity"] == "error"
        assert "INSERT on events" in rights["seen"]
        assert "SELECT on events" not in rights["seen"]
        granted = [each for each in rights["remedy"].split(";") if each.strip()]
        asyncio.run(run_on(postgres_database_url, *granted))
        assert found(command("doctor", "--database-url", url))["rights"]["severity"] == "ok"
        asyncio.run(run_on(postgres_database_url, f"REVOKE ALL ON audit_trail FROM {role}"))
        assert found(command("doctor", "--database-url", url))["objects"]["severity"] == "ok"
        asyncio.run(run_on(postgres_database_url, f"REVOKE ALL ON alembic_version FROM {role}"))
        assert "permission denied" in found(command("doctor", "--database-url", url))["database"]["seen"]
    finally:
        asyncio.run(run_on(postgres_database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}"))
