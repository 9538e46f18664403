"""A fault at a chosen system call, and a failure right behind a chosen commit."""

import shutil
from pathlib import Path

import pytest

from archetype.errors import UnavailableError
from archetype.service.container import ServiceContainer
from survival.deeds import Deeds
from survival.injection import CannotTraceError, Fault
from survival.points import check_point, prepared

WRITES_MAX = 100
"""Writes up to which a spawn and a step are followed; they need fewer."""


@pytest.mark.parametrize(
    "fault",
    [
        Fault("pwrite64", "signal=KILL", 5),
        Fault("fdatasync", "signal=KILL", 3),
        Fault("fdatasync", "error=EIO", 3),  # the first two are of a new file's header and folder
    ],
    ids=lambda fault: f"{fault.call}-{fault.effect}-{fault.number}",
)
async def test_a_fault_of_the_system_loses_nothing_that_was_acknowledged(fault, sqlite_template, tmp_path):
    """A few of all the points; `make soak` goes through every one."""
    template = Path(shutil.copy(sqlite_template, tmp_path / "prepared.db"))
    world_id = await prepared(template)
    try:
        is_felt = await check_point(template, tmp_path / "points", world_id, fault)
    except CannotTraceError as error:
        pytest.skip(f"no faults can be injected here: {error}")
    assert is_felt


async def test_a_failure_right_behind_any_commit_repeats_nothing(services: ServiceContainer, monkeypatch):
    """The write is durable and its caller is told that it failed: a retry finds it, and goes on behind it."""
    deeds = await Deeds.begin(services)
    count, fatal = 0, 0

    def failing(original):
        async def write(*arguments):
            nonlocal count
            result = await original(*arguments)
            count += 1
            if count == fatal:
                raise UnavailableError("told that it failed", retry_after_s=1)
            return result

        return write

    for writer, name in ((services.database, "_write"), (services.database._kept, "call")):
        monkeypatch.setattr(writer, name, failing(getattr(writer, name)))
    for number in range(1, WRITES_MAX):
        refused = deeds.refused_count
        fatal = count + number
        await deeds.spawn()
        await deeds.step()
        if deeds.refused_count == refused:
            break
    assert 3 < number < WRITES_MAX - 1
    await deeds.check(services)
