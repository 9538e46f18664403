"""The long run on each database: kills, rivals, and on SQLite a fault at every system call of a writer.

What is printed before each part runs that part again: its seed, its database, its rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.databases import databases
from survival.injection import CannotTraceError
from survival.points import every_point
from survival.rivals import rivalry
from survival.rounds import kill_rounds

SERVERS = {"sqlite": 2, "postgres": 3}
OPERATIONS = 150
"""What each client does in the rivals' part."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="survival", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="servers to kill on each database")
    parser.add_argument("--seed", type=int, help="by default another one each time")
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="on this kind alone")
    parser.add_argument("--part", choices=["kill", "rivals", "faults"], help="this part alone")
    parser.add_argument("--postgres", metavar="URL", help="a server; without it one is started")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    with databases(arguments.postgres, with_postgres=arguments.database != "sqlite") as given:
        for kind in given.kinds:
            for part in ("kill", "rivals", "faults"):
                is_wanted = arguments.database in {None, kind} and arguments.part in {None, part}
                if is_wanted and (part != "faults" or kind == "sqlite"):
                    with given.fresh(kind) as url:
                        _run(part, kind, url, seed=seed, rounds=arguments.rounds)
    return 0


def _run(part: str, kind: str, url: str, *, seed: int, rounds: int) -> None:
    print(f"--part {part} --database {kind} --seed {seed} --rounds {rounds}", flush=True)
    start = time.monotonic()
    parts: dict[str, Coroutine[Any, Any, str]] = {
        "kill": _kill(url, seed, rounds),
        "rivals": _rivals(url, seed, SERVERS[kind]),
        "faults": _faults(url),
    }
    chosen = parts.pop(part)
    for other in parts.values():
        other.close()
    print(f"    {asyncio.run(chosen)}; {time.monotonic() - start:.0f} s", flush=True)


async def _kill(url: str, seed: int, rounds: int) -> str:
    journal = await kill_rounds(url, seed=seed, rounds=rounds)
    acknowledged = len(journal.acknowledged)
    return f"{rounds} kills, {acknowledged} operations acknowledged, {journal.retried_count} retries alike"


async def _rivals(url: str, seed: int, server_count: int) -> str:
    kill_after = random.Random(seed).randrange(OPERATIONS)
    load, reading_count = await rivalry(
        url, seed=seed, server_count=server_count, operations=OPERATIONS, kill_after=kill_after
    )
    acknowledged = len(load.journal.acknowledged)
    return f"{server_count} servers, {acknowledged} operations acknowledged, {reading_count} readings judged"


async def _faults(url: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            count = await every_point(Path(url.removeprefix("sqlite:///")), Path(folder))
        except CannotTraceError as error:
            return f"left out: {error}"
    return f"{count} points, each with its fault"


if __name__ == "__main__":
    sys.exit(main())
