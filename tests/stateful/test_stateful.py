"""Whatever is asked in whatever order, the services say what the model says."""

import asyncio
import os
import shutil
import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

import stateful.code  # noqa: F401  the worlds' classes must be loaded
from migrated import postgres_url, run_on
from stateful.machine import SystemMachine

EXAMPLES = int(os.environ.get("ARCHETYPE_TEST_EXAMPLES", "25"))
STEPS = 30


@pytest.fixture(params=["sqlite", "postgres"])
def make_url(request, tmp_path):
    """Give what makes a fresh migrated database each time that it is called."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")

        def make():
            path = tmp_path / f"{uuid.uuid4().hex}.db"
            shutil.copy(template, path)
            return f"sqlite:///{path}"

        yield make
        return
    template, url, names = request.getfixturevalue("postgres_template"), postgres_url(), []

    def clone():
        names.append(f"test_{uuid.uuid4().hex}")
        asyncio.run(run_on(url, f"CREATE DATABASE {names[-1]} TEMPLATE {template} STRATEGY file_copy"))
        return url.rsplit("/", 1)[0] + f"/{names[-1]}"

    yield clone
    for name in names:
        asyncio.run(run_on(url, f"DROP DATABASE {name} WITH (FORCE)"))


def test_the_system_is_its_model(make_url):
    machine = type("Machine", (SystemMachine,), {"make_url": staticmethod(make_url)})
    is_long = EXAMPLES > 25
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not is_long,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
