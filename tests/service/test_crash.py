"""kill -9 in the middle: what was acknowledged is there, and nothing is there by half."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from archetype.errors import CodeNotLoadedError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest

WRITER = """
import asyncio, sys
from archetype import ArchetypeRuntime
from archetype.errors import CodeNotLoadedError
from archetype.examples.movement import MovementProcessor, Position, Velocity

async def main(url):
    async with ArchetypeRuntime(url) as runtime:
        world = runtime.world("crash", processors=[MovementProcessor()])
        while True:
            entity_id = await world.spawn(Position(), Velocity(dx=1))
            print("spawned", entity_id, flush=True)
            result = await world.run(2)
            print("committed", result.final_tick - 1, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_what_was_acknowledged_survives_a_kill_and_the_world_goes_on(database_url):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "app")}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, database_url], env=environment, stdout=subprocess.PIPE, text=True
    )
    spawned, committed = [], -1
    for line in writer.stdout:
        word, number = line.split()
        spawned += [int(number)] if word == "spawned" else []
        committed = int(number) if word == "committed" else committed
        if len(spawned) == 6:
            break
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.communicate()[0].split()
    spawned += [int(number) for word, number in zip(rest[::2], rest[1::2], strict=False) if word == "spawned"]
    async with ServiceContainer(database_url) as services:
        world = await services.world_service.find("crash")
        assert world.committed_tick >= committed
        result = await services.simulation_service.run(world.world_id, RunRequest(steps=1))
        assert result.final_tick == world.committed_tick + 2
        world = await services.world_service.find("crash")
        table = await services.query_service.frame(world, components=["Position"])
        assert set(spawned) <= set(table["entity_id"].to_pylist())
        births = await services.database.read(
            lambda connection: {
                row.first_entity_id: row.tick
                for row in connection.execute(
                    sa.text("SELECT first_entity_id, tick FROM events WHERE type = 'spawn'")
                )
            }
        )
        ages = {entity_id: world.committed_tick + 1 - birth for entity_id, birth in births.items()}
        moved = dict(zip(table["entity_id"].to_pylist(), table["position__x"].to_pylist(), strict=True))
        assert moved == {entity_id: float(age) for entity_id, age in ages.items()}
        positions = await services.database.read(
            lambda connection: connection.scalars(
                sa.text("SELECT position FROM events ORDER BY position")
            ).all()
        )
        assert positions == list(range(1, len(positions) + 1))


WEATHER = """
import asyncio, sys
from daft import col
from archetype import ArchetypeRuntime, AsyncProcessor, Component

class Fog(Component):
    depth: float = 1.0

class Thickening(AsyncProcessor):
    components = (Fog,)

    async def process(self, df, **kwargs):
        return df.with_column("fog__depth", col("fog__depth") + 1.0)

async def main(url):
    async with ArchetypeRuntime(url) as runtime:
        world = runtime.world("foggy", processors=[Thickening()])
        await world.spawn(Fog())
        await world.run(2)

if __name__ == "__main__":
    import weather  # a script that is imported beside being run has its classes twice
    asyncio.run(main(sys.argv[1]))
"""


async def test_a_world_whose_code_is_not_loaded_can_be_read_and_says_what_to_load(database_url, tmp_path):
    (tmp_path / "weather.py").write_text(WEATHER)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2] / 'app'}:{tmp_path}"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "weather.py"), database_url],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    async with ServiceContainer(database_url) as services:
        world = await services.world_service.find("foggy")
        table = await services.query_service.frame(world, components=["Fog"], ticks=[0, 1])
        assert table["fog__depth"].to_pylist() == [2.0, 3.0]
        (info,) = await services.program_service.processors(world)
        assert (info.name, info.module, info.is_loaded) == ("Thickening", "weather", False)
        with pytest.raises(CodeNotLoadedError, match="--module weather"):
            await services.simulation_service.run(world.world_id, RunRequest(steps=1))
        assert (await services.world_service.find("foggy")).committed_tick == 1
