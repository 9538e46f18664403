"""What a measurement is, and how it is printed and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure; `floor` is what the same work costs without us, in the same unit.

    Units that end in "/s" are rates, of which more is better; less is better of all others.
    """

    name: str
    database: str
    value: float
    unit: str
    target: float | None = None
    floor: float | None = None
    floor_is: str = ""
    note: str = ""

    @property
    def is_rate(self) -> bool:
        return self.unit.endswith("/s")

    @property
    def is_met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.is_rate else self.value <= self.target

    @property
    def ratio(self) -> float | None:
        """How many times slower than the floor."""
        if not self.floor or not self.value:
            return None
        return self.floor / self.value if self.is_rate else self.value / self.floor


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def timed(work: Callable[[], Any], *, repeat: int, warm_up: int = 1) -> float:
    """Return the median duration in seconds."""
    for _ in range(warm_up):
        work()
    durations: list[float] = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return median(durations)


async def timed_async(work: Callable[[], Awaitable[Any]], *, repeat: int, warm_up: int = 1) -> float:
    """Return the median duration in seconds."""
    for _ in range(warm_up):
        await work()
    durations: list[float] = []
    for _ in range(repeat):
        start = time.perf_counter()
        await work()
        durations.append(time.perf_counter() - start)
    return median(durations)


HEADINGS = ("", "measurement", "database", "value", "target", "floor", "x floor", "floor is")


def table(rows: Sequence[Row]) -> str:
    """Lay rows out for a terminal; one that misses its target is marked with an exclamation mark."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    numbers = {3, 4, 5, 6}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    mark = {True: " ", False: "!", None: " "}[row.is_met]
    bound = "" if row.target is None else f"{'>=' if row.is_rate else '<='} {_number(row.target)}"
    floor = "" if row.floor is None else _number(row.floor)
    ratio = "" if row.ratio is None else f"{row.ratio:.1f}"
    name = f"{row.name} ({row.note})" if row.note else row.name
    value = f"{_number(row.value)} {row.unit}".rstrip()
    return (mark, name, row.database, value, bound, floor, ratio, row.floor_is)


def _number(value: float) -> str:
    """Spell a number with three significant digits or so."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def write_json(path: Path, rows: Sequence[Row], *, is_quick: bool) -> None:
    """Keep rows, with what they were measured on, for comparison by programs."""
    packages = ("daft", "pyarrow", "sqlalchemy", "asyncpg", "numpy")
    document = {
        "quick": is_quick,
        "machine": {
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "platform": platform.platform(),
            "python": sys.version.split()[0],
            "load_at_end": os.getloadavg()[0],
            "packages": {name: version(name) for name in packages},
        },
        "rows": [vars(row) | {"is_met": row.is_met, "ratio_to_floor": row.ratio} for row in rows],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
