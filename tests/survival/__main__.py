"""The long run: rounds of kills on each database; the printed seed and database run it again."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from bench.databases import databases
from survival.rounds import kill_rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="survival", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="servers to kill on each database")
    parser.add_argument("--seed", type=int, help="by default another one each time")
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="on this kind alone")
    parser.add_argument("--postgres", metavar="URL", help="a server; without it one is started")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    with databases(arguments.postgres, with_postgres=arguments.database != "sqlite") as given:
        for kind in given.kinds:
            if arguments.database in {None, kind}:
                print(f"{kind}: {arguments.rounds} kills, --seed {seed} --database {kind}", flush=True)
                start = time.monotonic()
                with given.fresh(kind) as url:
                    journal = asyncio.run(kill_rounds(url, seed=seed, rounds=arguments.rounds))
                print(
                    f"{kind}: {len(journal.acknowledged)} operations acknowledged, "
                    f"{journal.retried_count} retries answered alike, {time.monotonic() - start:.0f} s",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
