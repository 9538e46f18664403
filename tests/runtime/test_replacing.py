"""Code that changes: a script's new class takes the place of the recorded one, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archetype import ArchetypeRuntime
from archetype.errors import CodeChangedError, ProcessorError
from archetype.examples.movement import Position

APP = Path(__file__).parents[2] / "app"

PUSH = """
from daft import col
from archetype import AsyncProcessor
from archetype.examples.movement import Position

class Push(AsyncProcessor):
    components = (Position,)

    def __init__(self, times: int = 1) -> None:
        self.times = times

    async def process(self, df, **kwargs):
        return df.with_column("position__x", col("position__x") + {by} * self.times)
"""

MAIN = """
import asyncio
from archetype import ArchetypeRuntime

async def main():
    async with ArchetypeRuntime() as runtime:
        world = runtime.world("demo", processors=[Push()])
        if (await world.info()).tick == 0:
            await world.spawn(Position())
        await world.step()
        kinds = [command.type.value for command in await world.command_history()]
        print((await world.entity(1)).components["Position"]["x"], kinds.count("replace_processor"))

asyncio.run(main())
"""


def push(by: object) -> type:
    """Define `Push` anew, as a process that was started again with an edited script has it."""
    scope = {"__name__": "edited"}
    exec(PUSH.format(by=by), scope)
    return scope["Push"]


@pytest.fixture
def open_runtime(database_url):
    """Open the database as another process does: without what this one keeps in memory."""
    return lambda: ArchetypeRuntime(database_url)


async def changes(world):
    return [
        (command.type.value, command.payload.get("parameters"), command.payload.get("priority"))
        for command in await world.command_history()
        if command.type.value.endswith("_processor")
    ]


async def x_of(world, tick=None):
    return (await world.entity(1, tick)).components["Position"]["x"]


async def applied_ticks(runtime, world, kind):
    services = await runtime.services()
    entries = await services.command_service.history(world.world_id)
    return [entry.applied_tick for entry in entries if entry.command.type.value == kind]


async def test_a_script_with_other_code_replaces_it_and_says_from_when_on(open_runtime):
    """One command, without parameters: it is the code alone that is other."""
    old = push(1.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[old(times=2)])
        await world.spawn(Position())
        await world.run(2)
    new = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[new(times=2)])
        await world.step()
        assert await x_of(world) == 24.0
        assert await changes(world) == [
            ("add_processor", {"times": 2}, 10),
            ("replace_processor", None, None),
        ]
        assert await applied_ticks(runtime, world, "replace_processor") == [2]
        await runtime.world("demo", processors=[new(times=2)]).info()
        assert len(await changes(world)) == 2, "the same code is adopted once"


async def test_one_that_takes_the_place_of_one_brings_its_parameters(open_runtime):
    """Where they differ too."""
    old = push(1.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[old()])
        await world.spawn(Position())
        await world.step()
    new = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[new(times=5)])
        await world.step()
        assert await x_of(world) == 51.0
        assert (await changes(world))[1:] == [("replace_processor", {"times": 5}, 10)]


async def test_several_of_a_name_are_replaced_together_or_anew(open_runtime):
    """By one command where they are the same but for their code, else by others."""
    old = push(1.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[old(times=1), old(times=2)])
        await world.spawn(Position())
        await world.step()
    new = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[new(times=1), new(times=2)])
        await world.step()
        assert await x_of(world) == 33.0
        assert (await changes(world))[2:] == [("replace_processor", None, None)]
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[new(times=3)])
        await world.step()
        assert await x_of(world) == 63.0
        assert [kind for kind, _, _ in await changes(world)][3:] == ["remove_processor", "add_processor"]


async def test_who_steps_without_replacing_is_refused_and_seals_nothing(open_runtime):
    """The recorded code is gone: nothing else may run in its name, until it is replaced."""
    old = push(1.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[old(times=3)])
        await world.spawn(Position())
        await world.step()
    new = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo")
        with pytest.raises(CodeChangedError, match="archetype processor replace") as caught:
            await world.step()
        assert caught.value.details["name"] == "Push"
        row = await (await runtime.services()).world_service.find("demo")
        assert (row.committed_tick, row.open_tick) == (0, 1), "tick 1 is open"
        await world.replace_processor(new)
        await world.step()
        assert await x_of(world) == 33.0
        await world.replace_processor(new(times=1))
        await world.step()
        assert await x_of(world) == 43.0
        assert await changes(world) == [
            ("add_processor", {"times": 3}, 10),
            ("replace_processor", None, None),
            ("replace_processor", {"times": 1}, 10),
        ]


async def test_a_tick_that_broken_code_left_sealed_runs_with_the_mended_code(open_runtime):
    """The replacement comes too late for the sealed tick, and holds for it all the same."""
    broken = push("self.missing")
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[broken()])
        await world.spawn(Position())
        with pytest.raises(ProcessorError):
            await world.step()
        row = await (await runtime.services()).world_service.find("demo")
        assert (row.committed_tick, row.open_tick) == (-1, 1), "tick 0 is sealed"
    mended = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo")
        with pytest.raises(CodeChangedError):
            await world.step()
        await world.replace_processor("Push")
        await world.run(2)
        assert [await x_of(world, tick) for tick in range(2)] == [10.0, 20.0]
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[mended()])
        await world.step()
        assert len(await changes(world)) == 2


async def test_a_script_s_mended_code_is_adopted_behind_a_sealed_tick(open_runtime):
    """Opening the world again with the mended class is enough."""
    broken = push("self.missing")
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[broken()])
        await world.spawn(Position())
        with pytest.raises(ProcessorError):
            await world.step()
    mended = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[mended()])
        await world.step()
        assert await x_of(world) == 10.0
        assert [kind for kind, _, _ in await changes(world)] == ["add_processor", "replace_processor"]


@pytest.mark.parametrize("way", ["script", "command"])
async def test_corrected_parameters_mend_a_tick_that_failed(open_runtime, way):
    """The same code with other parameters holds for the sealed tick, in this process and in the next."""
    kind = push(10.0)
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[kind(times="many")])
        await world.spawn(Position())
        with pytest.raises(ProcessorError):
            await world.step()
        if way == "command":
            await world.replace_processor(kind(times=2))
            await world.step()
    async with open_runtime() as runtime:
        world = runtime.world("demo", processors=[kind(times=2)])
        if way == "script":
            await world.step()
        assert await x_of(world, 0) == 20.0
        await world.step()
        assert await x_of(world) == 40.0
        assert (await world.replay()).divergence is None


def test_a_script_that_is_edited_and_run_again_goes_on(tmp_path):
    """The file's text is the fingerprint; the first run's past stays as it was."""
    script = tmp_path / "script.py"
    environment = {name: value for name, value in os.environ.items() if name != "ARCHETYPE_DATABASE_URL"}
    environment["PYTHONPATH"] = str(APP)
    printed: list[str] = []
    for by in (1.0, 1.0, 10.0):
        script.write_text(PUSH.format(by=by) + MAIN)
        done = subprocess.run(
            [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed == ["1.0 0", "2.0 0", "12.0 1"]
