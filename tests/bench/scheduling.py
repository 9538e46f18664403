"""Scheduling in this process: what it costs beside the processors' own work, and what runs at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from daft import lit

from archetype import AsyncProcessor, Component
from archetype.core.archetype import Archetype
from archetype.core.context import TickContext
from archetype.core.processor import Processor
from archetype.core.resources import Resources
from archetype.core.scheduling.executor import run_processors
from archetype.core.state import ArchetypeTable, WorldState
from archetype.examples.movement import MovementProcessor, Position, Velocity, rows
from archetype.scheduling import (
    Combine,
    Delta,
    RetryPolicy,
    SchedulerConfig,
    SimpleScheduler,
    SingleGroupBuilder,
    system,
)
from bench.databases import Databases
from bench.measure import Row, timed_async

NOOP_COUNT = 50
AWAIT_S = 0.05


class BenchScore(Component):
    """A field that many processors add to."""

    points: Annotated[float, Combine("sum")] = 0.0


class MovementAlone(AsyncProcessor):
    """Movement that declares what it touches, and so runs on its group's state alone."""

    components = (Position, Velocity)
    reads = (Position, Velocity)
    writes = (Position,)

    async def process(self, df: Any, **kwargs: Any) -> Any:
        """Add the velocity to the position."""
        return await MovementProcessor().process(df, **kwargs)


class BenchAdder(AsyncProcessor):
    """Adds one to every score."""

    components = (BenchScore,)

    async def process(self, df: Any) -> Any:
        """Give the whole column as one write."""
        return {"benchscore__points": lit(1.0)}


class BenchDelta(BenchAdder):
    """Adds one onto what is there."""

    async def process(self, df: Any) -> Any:
        """Give the whole column as one write onto the base."""
        return {"benchscore__points": Delta(lit(1.0))}


class BenchWholeFrame(AsyncProcessor):
    """Writes a whole frame."""

    components = (BenchScore,)

    async def process(self, df: Any) -> Any:
        """Change the column within its frame."""
        return df.with_column("benchscore__points", df["benchscore__points"] + 1.0)


@system()
async def bench_noop(access: Any) -> None:
    """Do nothing."""


@system()
def bench_noop_sync(access: Any) -> None:
    """Do nothing in a thread."""


@system()
async def bench_await(access: Any) -> None:
    """Wait as for another service."""
    await asyncio.sleep(AWAIT_S)


@system(reads=(Position, Velocity), writes=(Position,))
def bench_movement(access: Any) -> None:
    """Move entity by entity, as the documented loop does."""
    for entity, position, velocity in access(Position, Velocity):
        access[entity, Position] = Position(x=position.x + velocity.dx, y=position.y + velocity.dy)


class BenchNoop(AsyncProcessor):
    """Gives back what it was given."""

    async def process(self, df: Any) -> Any:
        """Change nothing."""
        return df


def scheduling(_databases: Databases, _kind: str, *, is_quick: bool) -> list[Row]:
    return asyncio.run(_scheduling(repeat=5 if is_quick else 20))


def _context() -> TickContext:
    return TickContext(uuid.UUID(int=1), uuid.UUID(int=2), 0, 7, Resources())


def _movers(count: int) -> WorldState:
    table = rows(count)
    ids = pa.array(np.arange(1, count + 1))
    archetype = Archetype.of([Position, Velocity])
    return WorldState.of([ArchetypeTable.of(archetype, table.add_column(0, "entity_id", ids))])


def _scores(count: int) -> WorldState:
    columns = {"entity_id": np.arange(1, count + 1), "benchscore__points": np.full(count, 10.0)}
    return WorldState.of([ArchetypeTable.of(Archetype.of([BenchScore]), pa.table(columns))])


def _together(**config: Any) -> SimpleScheduler:
    return SimpleScheduler(config=SchedulerConfig(**config), group_builder=SingleGroupBuilder())


async def _scheduling(*, repeat: int) -> list[Row]:
    found = [*await _overheads(repeat), *await _waits(repeat), *await _isolation(repeat)]
    return [*found, *await _alone(repeat)]


async def _overheads(repeat: int) -> list[Row]:
    state = _movers(1_000)
    retrying = _together(retry_policy=RetryPolicy(max_attempts=3))
    cases: list[tuple[str, Processor, SimpleScheduler]] = [
        ("async systems", bench_noop, _together()),
        ("sync systems", bench_noop_sync, _together()),
        ("async systems with retries", bench_noop, retrying),
        ("frame processors", BenchNoop(), _together()),
    ]
    found: list[Row] = []
    for what, processor, scheduler in cases:
        one = await _duration_s(state, [processor], scheduler, repeat=repeat)
        many = await _duration_s(state, [processor] * (NOOP_COUNT + 1), scheduler, repeat=repeat)
        cost = (many - one) / NOOP_COUNT
        found.append(Row(f"one of {NOOP_COUNT} no-op {what} in a group", "-", cost * 1e6, "us", 60.0))
    return found


async def _waits(repeat: int) -> list[Row]:
    state = _movers(10)
    found: list[Row] = []
    for limit, target, least in ((None, 1.2, AWAIT_S), (5, 1.1, 4 * AWAIT_S)):
        scheduler = _together(max_concurrent=limit)
        taken = await _duration_s(state, [bench_await] * 20, scheduler, repeat=min(repeat, 5))
        name = f"20 processors awaiting {AWAIT_S * 1000:.0f} ms, {limit or 'all'} at once"
        found.append(Row(name, "-", taken / least, "x", target, note=f"of {least * 1000:.0f} ms"))
    return found


async def _isolation(repeat: int) -> list[Row]:
    state = _scores(100_000)
    cases: list[tuple[str, type[AsyncProcessor], float | None]] = [
        ("sum-writers", BenchAdder, 25.0),
        ("delta-writers", BenchDelta, 25.0),
        ("whole frames", BenchWholeFrame, None),
    ]
    found: list[Row] = []
    for what, kind, target in cases:
        taken = await _duration_s(state, [kind() for _ in range(10)], _together(), repeat=repeat)
        found.append(Row(f"a group of 10 {what} over 100,000 entities", "-", taken * 1000, "ms", target))
    loop = await _duration_s(_movers(10_000), [bench_movement], _together(), repeat=repeat)
    found.append(Row("10,000 entities through the documented loop", "-", loop * 1000, "ms", 200.0))
    return found


async def _alone(repeat: int) -> list[Row]:
    found: list[Row] = []
    for count in (1_000, 100_000):
        state = _movers(count)
        default = alone = 0.0
        # By turns, so that whatever else the machine does meets both alike.
        for _ in range(5):
            default += await _duration_s(state, [MovementProcessor()], None, repeat=repeat)
            alone += await _duration_s(state, [MovementAlone()], None, repeat=repeat)
        note = f"{alone / 5 * 1000:.1f} ms against {default / 5 * 1000:.1f} ms"
        name = f"movement of {count:,}, isolated against fused"
        found.append(Row(name, "-", alone / default, "x", 1.3, note=note))
    return found


async def _duration_s(
    state: WorldState, processors: Sequence[Processor], scheduler: SimpleScheduler | None, *, repeat: int
) -> float:
    given = () if scheduler is None else (scheduler,)

    def work() -> Awaitable[Any]:
        return run_processors(state, processors, _context(), *given)

    return await timed_async(work, repeat=repeat, warm_up=2)
