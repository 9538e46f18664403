"""Run the benchmark: print a table, write bench.json, and exit 0 whatever the figures are."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import diffs, gate, growth, history, processes, rollouts, scheduling, storage, verification, worlds
from bench.databases import Databases, databases
from bench.measure import Row, table, write_json

Measurement = Callable[..., list[Row]]

PER_DATABASE: dict[str, Measurement] = {
    "tick": worlds.tick,
    "age": worlds.age,
    "spawn": worlds.spawn,
    "commands": worlds.commands,
    "past": worlds.past,
    "long_past": history.long_past,
    "entity": history.entity,
    "fork": history.fork,
    "replay": history.replay,
    "rollout": rollouts.rollout,
    "storage": storage.storage,
    "verify": verification.verify,
    "diff": diffs.diff,
    "server": processes.server,
    "http": processes.http,
    "gate": gate.gate,
}
GROWTH: dict[str, Measurement] = {
    "long": growth.long,
    "many": growth.many,
    "forks": growth.forks,
    "big": growth.big,
}
"""They take many minutes, so only those that `--only` names are measured."""

ONCE: dict[str, Measurement] = {"imports": processes.imports, "scheduling": scheduling.scheduling}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions, smaller worlds; a minute or so"
    )
    parser.add_argument(
        "--only", action="append", choices=[*ONCE, *PER_DATABASE, *GROWTH], help="may be given repeatedly"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of what grows: 0.1 measures a tenth of the ticks and worlds"
    )
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="measure on this kind alone")
    parser.add_argument(
        "--postgres", metavar="URL", help="a PostgreSQL server; without it one is started, with fsync"
    )
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where the figures are kept")
    arguments = parser.parse_args()
    with databases(arguments.postgres, with_postgres=arguments.database != "sqlite") as given:
        rows = _measure_all(given, arguments)
    print(table(rows))
    missed = sum(row.is_met is False for row in rows)
    print(f"\n{len(rows)} figures, {missed} beside their target (marked !)")
    write_json(arguments.output, rows, is_quick=arguments.quick)
    return 0


def _measure_all(given: Databases, arguments: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    kinds = [kind for kind in given.kinds if arguments.database in {None, kind}]
    plan = [(name, "-", measure) for name, measure in ONCE.items()]
    plan += [(name, kind, measure) for kind in kinds for name, measure in PER_DATABASE.items()]
    plan += [
        (name, kind, partial(measure, scale=arguments.scale))
        for kind in kinds
        for name, measure in GROWTH.items()
        if name in (arguments.only or ())
    ]
    for name, kind, measure in plan:
        if arguments.only and name not in arguments.only:
            continue
        start = time.perf_counter()
        try:
            rows += measure(given, kind, is_quick=arguments.quick)
            said = "done"
        except (RuntimeError, ImportError, AssertionError) as error:
            said = f"not measured: {error}"
        print(f"{name} on {kind}: {said} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return rows


if __name__ == "__main__":
    sys.exit(main())
