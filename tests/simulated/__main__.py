"""Simulate many seeds: print those that fail, with the end of their traces, and exit 1 if there are any."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import simulated.world  # noqa: F401  the worlds' classes must be loaded
from archetype.store.database import Database
from archetype.store.migrate import upgrade
from simulated.simulation import Simulation, simulate

TRACE_LINES_MAX = 40


async def make_template(path: Path) -> None:
    """Make an empty database with its schema."""
    database = Database(f"sqlite:///{path}")
    try:
        await upgrade(database)
    finally:
        await database.close()


def fault_of(seed: int, template: Path) -> str | None:
    """Simulate a seed; return how it failed, or None."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulated.db"
        shutil.copy(template, path)
        simulation = Simulation(seed, path)
        try:
            simulate(simulation)
        except Exception:  # noqa: BLE001  whatever it is, it has a seed
            return "\n".join([*simulation.trace[-TRACE_LINES_MAX:], traceback.format_exc()])
    return None


def main() -> int:
    """Simulate the seeds that are asked for."""
    parser = argparse.ArgumentParser(prog="simulated", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed; those behind it follow")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    failed: list[int] = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(arguments.processes) as pool:
        template = Path(folder) / "template.db"
        asyncio.run(make_template(template))
        for seed, fault in zip(seeds, pool.map(partial(fault_of, template=template), seeds), strict=True):
            if fault is not None:
                failed.append(seed)
                print(f"seed {seed} failed:\n{fault}", flush=True)
            elif seed % 100 == 99:
                print(f"seeds up to {seed} are simulated", file=sys.stderr, flush=True)
    print(f"{len(seeds)} seeds simulated, {len(failed)} failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
