"""`archetype backup` and what comes after: a restored database goes on, and proves to be sound."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from pathlib import Path

import asyncpg
import pytest

from archetype.core.config import WorldConfig
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from postgres import find_binaries


@pytest.fixture
def programs(monkeypatch):
    """PostgreSQL's client programs, on PATH."""
    binaries = find_binaries()
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    return binaries


def with_services(url, use):
    async def run():
        async with ServiceContainer(url) as services:
            return await use(services)

    return asyncio.run(run())


async def fill(services):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=7))
    spawn = CommandRequest("spawn", {"components": []})
    await services.command_service.submit_batch(info.world_id, [spawn] * 3)
    await services.simulation_service.run(info.world_id, RunRequest(steps=4))


async def go_on(services):
    """Step the restored world, and return its next tick and whether all is sound."""
    world = await services.world_service.find("demo")
    result = await services.simulation_service.run(world.world_id, RunRequest(steps=2))
    return result.final_tick, (await verify(services.database)).is_sound


def test_a_copy_of_a_file_is_checked_and_goes_on(command, sqlite_url, tmp_path):
    with_services(sqlite_url, fill)
    target = tmp_path / "copy.db"
    made = command("backup", target, "--verify", "--database-url", sqlite_url).json
    assert made["is_verified"] is True
    assert made["size_bytes"] == target.stat().st_size
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT position FROM log_head").fetchone() == (made["position"],)
    connection.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if "copy" in each.name] == ["copy.db"]
    restored = tmp_path / "restored.db"
    shutil.copy(target, restored)
    assert with_services(f"sqlite:///{restored}", go_on) == (6, True)


def test_a_copy_is_one_state_while_somebody_writes(command, sqlite_url, tmp_path):
    """Two rows that are always written together are always copied together."""
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pair (a INTEGER, b BLOB)")
        connection.execute("INSERT INTO pair VALUES (0, NULL), (0, NULL)")
    connection.close()
    stopping, written = threading.Event(), threading.Event()

    def write():
        writer = sqlite3.connect(path, timeout=30)
        for number in range(1, 100_000):
            with writer:
                writer.execute("UPDATE pair SET a = ?, b = zeroblob(20000)", (number,))
            written.set()
            if stopping.is_set():
                break
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        written.wait()
        for number in range(5):
            target = tmp_path / f"copy{number}.db"
            assert command("backup", target, "--database-url", sqlite_url).code == 0
            copy = sqlite3.connect(target)
            assert len(copy.execute("SELECT DISTINCT a FROM pair").fetchall()) == 1
            copy.close()
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("left", ["", "-wal", "-journal"], ids=["file", "wal", "journal"])
def test_what_is_there_is_not_overwritten(command, sqlite_url, tmp_path, left):
    """With --force a file is, but not one that somebody has open."""
    (tmp_path / f"copy.db{left}").write_text("mine")
    refused = command("backup", tmp_path / "copy.db", "--database-url", sqlite_url)
    assert refused.code == 5
    assert (tmp_path / f"copy.db{left}").read_text() == "mine"
    forced = command("backup", tmp_path / "copy.db", "--force", "--database-url", sqlite_url)
    assert forced.code == (5 if left else 0)


def test_bad_targets_are_refused_before_anything_is_written(command, sqlite_url, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    database = sqlite_url.removeprefix("sqlite:///")
    assert command("backup", tmp_path / "no" / "copy.db", "--database-url", sqlite_url).code == 2
    assert command("backup", database, "--force", "--database-url", sqlite_url).code == 2
    assert command("backup", tmp_path / "x.db", "--database-url", f"sqlite:///{tmp_path}/none.db").code == 7
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_database_gives_no_backup(command, sqlite_url, tmp_path):
    with_services(sqlite_url, fill)
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'")
        ]
        for name in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE ticks SET state_hash = zeroblob(32) WHERE tick = 2")
    connection.close()
    target = tmp_path / "copy.db"
    failed = command("backup", target, "--verify", "--database-url", sqlite_url)
    assert failed.code == 6
    assert not target.exists()
    with Path(path).open("r+b") as file:
        file.seek(16_384 * 3)
        file.write(b"\xff" * 16_384 * 4)
    assert command("backup", target, "--database-url", sqlite_url).code == 6
    assert [each.name for each in tmp_path.iterdir() if "copy" in each.name] == []


@pytest.mark.postgres_only
def test_a_dump_is_restored_into_another_database_and_goes_on(
    command, postgres_database_url, programs, tmp_path
):
    with_services(postgres_database_url, fill)
    target = tmp_path / "dump"
    made = command("backup", target, "--database-url", postgres_database_url).json
    assert made["position"] > 0
    assert command("backup", target, "--database-url", postgres_database_url).code == 5
    assert command("backup", target, "--force", "--database-url", postgres_database_url).code == 0
    scratch = postgres_database_url.rsplit("_", 1)[0] + "_restored_" + postgres_database_url[-8:]
    subprocess.run(
        [programs / "psql", postgres_database_url, "-c", f"CREATE DATABASE {name_of(scratch)}"], check=True
    )
    try:
        subprocess.run(
            [programs / "pg_restore", "--no-owner", "--exit-on-error", "--dbname", scratch, target],
            check=True,
        )
        assert command("db", "check", "--database-url", scratch).code == 0
        assert with_services(scratch, go_on) == (6, True)
    finally:
        asyncio.run(run_on(postgres_database_url, f"DROP DATABASE {name_of(scratch)} WITH (FORCE)"))


@pytest.mark.postgres_only
def test_what_the_url_says_to_us_is_not_said_to_pg_dump(command, postgres_database_url, programs, tmp_path):
    url = f"{postgres_database_url}?command_timeout=60&ssl=prefer"
    assert command("backup", tmp_path / "dump", "--database-url", url).json["position"] == 0


@pytest.mark.postgres_only
def test_pg_dump_is_given_the_password_beside_the_url(
    command, postgres_database_url, programs, monkeypatch, tmp_path
):
    """A password in the URL would come before that one, and stand in the list of processes."""
    spy = tmp_path / "pg_dump"
    spy.write_text('#!/bin/sh\necho "$PGPASSWORD for $*" >&2\nexit 1\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    url = postgres_database_url.replace("@", ":s3cret@")
    failed = command("backup", tmp_path / "dump", "--database-url", url)
    assert "s3cret for --format=custom" in failed.err
    assert f"--dbname={postgres_database_url}" in failed.err


def name_of(url):
    return url.rsplit("/", 1)[1]


async def run_on(url, statement):
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.mark.postgres_only
def test_without_pg_dump_the_command_to_run_is_printed(command, postgres_database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    url = postgres_database_url.replace("@", ":s3cret@")
    failed = command("backup", tmp_path / "dump", "--database-url", url)
    assert failed.code == 7
    assert "pg_dump --format=custom" in failed.err
    assert f"--file={tmp_path}/dump" in failed.err
    assert "s3cret" not in failed.err


@pytest.mark.postgres_only
def test_a_dump_that_fails_says_why(command, postgres_database_url, programs, monkeypatch, tmp_path):
    target = tmp_path / "dump"
    verified = command("backup", target, "--verify", "--database-url", postgres_database_url)
    assert verified.code == 2
    assert "archetype verify" in verified.err
    false = tmp_path / "pg_dump"
    false.write_text("#!/bin/sh\necho 'no room' >&2\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    failed = command("backup", target, "--database-url", postgres_database_url)
    assert failed.code == 7
    assert "no room" in failed.err
    assert [each.name for each in tmp_path.iterdir() if "dump" in each.name] == ["pg_dump"]
