"""Sync tests: every example world, computed again elsewhere, tick by tick, to the recorded hashes."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from archetype.examples import movement, solar
from archetype.runtime.runtime import ArchetypeRuntime

sys.path.insert(0, str(Path(__file__).parent))

from crowd import Flocking

HERE = Path(__file__).parent

ELSEWHERE = """
import asyncio, dataclasses, json, os, sys

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from archetype.service.container import ServiceContainer, load_modules

async def main():
    load_modules(sys.argv[2:])
    async with ServiceContainer(sys.argv[1]) as services:
        world = await services.world_service.find("demo")
        report = await services.replay_service.replay(world)
        print(json.dumps(dataclasses.asdict(report), default=str))

asyncio.run(main())
"""


def replayed_elsewhere(url, *modules):
    """Replay in another process, on one processor core, with other hash seeds."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "PYTHONHASHSEED": "42",
    }
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, url, *modules],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def movement_world(runtime):
    world = runtime.world("demo", processors=[movement.MovementProcessor()], seed=1)
    await world.spawn_many(movement.rows(2_000, seed=2))
    await world.run(3)
    await world.update(1, movement.Velocity(dx=0.1, dy=1e-9))
    await world.despawn(2)
    await world.run(3)


async def solar_world(runtime):
    world = runtime.world("demo", processors=[solar.LeapfrogProcessor()], seed=1)
    await world.spawn_many(solar.bodies())
    await world.run(20)


async def crowd_world(runtime):
    world = runtime.world("demo", processors=[Flocking()], seed=1)
    rng = np.random.default_rng(5)
    count = 300_000
    rows = {"crowd__x": rng.normal(0.0, 1e6, count), "crowd__team": rng.integers(0, 7, count)}
    await world.spawn_many(pa.table(rows))
    await world.run(4)


@pytest.mark.parametrize(
    ("build", "module"),
    [
        pytest.param(movement_world, "archetype.examples.movement", id="movement"),
        pytest.param(solar_world, "archetype.examples.solar", id="solar"),
        pytest.param(crowd_world, "crowd", id="sums-and-joins"),
    ],
)
def test_another_process_with_one_core_computes_the_same_bytes(sqlite_url, build, module):
    async def make():
        async with ArchetypeRuntime(sqlite_url) as runtime:
            await build(runtime)

    asyncio.run(make())
    report = replayed_elsewhere(sqlite_url, module)
    assert report["divergence"] is None
    assert report["code_changes"] == []
    assert report["ticks_compared"] == report["to_tick"] >= 4
