"""Disks that are full or read-only, and locks that others hold: said clearly, over when their cause is."""

import os
import shutil
import sqlite3
import subprocess

import pytest

from archetype.clock import new_id
from archetype.errors import UnavailableError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.container import ServiceContainer
from archetype.store import sqlite
from migrated import migrate, run_on
from postgres import UNPRIVILEGED
from survival.deeds import Deeds


def mounted(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    done = mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 65_536):
                pass
    except OSError:
        return filler
    raise AssertionError("the disk takes everything")


async def test_a_full_disk_is_said_and_then_forgotten(small_disk, sqlite_template):
    shutil.copy(sqlite_template, small_disk / "archetype.db")
    async with ServiceContainer(f"sqlite:///{small_disk}/archetype.db") as services:
        deeds = await Deeds.begin(services)
        await deeds.spawn()
        filler = fill(small_disk)
        await until_refused(lambda: deeds.submit(new_id(), "custom", noise()))
        world = await services.world_service.find("deeds")
        assert world.committed_tick == -1, "it can be read all the same"
        filler.unlink()
        await deeds.spawn()
        await deeds.step()
        await deeds.check(services)


async def test_a_disk_that_turns_read_only_is_said_and_then_forgotten(small_disk, sqlite_template):
    shutil.copy(sqlite_template, small_disk / "archetype.db")
    url = f"sqlite:///{small_disk}/archetype.db"
    async with ServiceContainer(url) as services:
        deeds = await Deeds.begin(services)
        await deeds.spawn()
        spawns = deeds.spawns
    if mounted("-o", "remount,ro", str(small_disk)).returncode:
        pytest.skip("this machine does not mount anew")
    services = ServiceContainer(url)
    with pytest.raises(UnavailableError, match="let this process"):
        await services.open()
    assert mounted("-o", "remount,rw", str(small_disk)).returncode == 0
    async with services:
        deeds = Deeds(services, (await services.world_service.find("deeds")).world_id)
        deeds.spawns = spawns
        await deeds.spawn()
        await deeds.step()
        await deeds.check(services)


async def test_a_full_disk_of_postgresql_is_said_and_then_forgotten(mortal_cluster, small_disk):
    shutil.chown(small_disk, UNPRIVILEGED)
    for folder in small_disk.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    name = f"full_{new_id().hex}"
    await run_on(
        mortal_cluster.url,
        f"CREATE TABLESPACE {name} LOCATION '{small_disk}'",
        f"CREATE DATABASE {name} TABLESPACE {name}",
    )
    url = mortal_cluster.url.rsplit("/", 1)[0] + f"/{name}"
    await migrate(url)
    async with ServiceContainer(url) as services:
        deeds = await Deeds.begin(services)
        await deeds.spawn()
        filler = fill(small_disk)
        await until_refused(lambda: deeds.submit(new_id(), "custom", noise()))
        filler.unlink()
        await deeds.spawn()
        await deeds.step()
        await deeds.check(services)
    await run_on(mortal_cluster.url, f"DROP DATABASE {name} WITH (FORCE)", f"DROP TABLESPACE {name}")


async def until_refused(write):
    """Write until the disk takes no more: the first may fit into what the files have already."""

    async def write_all():
        for _ in range(1_000):
            await write()

    with pytest.raises(UnavailableError, match="free some space"):
        await write_all()


def noise():
    """Give a payload that the database cannot make smaller."""
    return {"payload": {"note": os.urandom(20_000).hex()}}


async def test_another_process_that_holds_a_file_is_named_as_the_cause(sqlite_url, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 200)
    async with ServiceContainer(sqlite_url) as services:
        deeds = await Deeds.begin(services)
        rival = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="write lock"):
            await deeds.submit(new_id(), "spawn", {"components": [{"type": "Position"}]})
        rival.execute("ROLLBACK")
        rival.close()
        await deeds.spawn()
        await deeds.step()
        await deeds.check(services)
