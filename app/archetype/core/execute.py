"""Running processors over a state: one Daft query per archetype, checked row by row when it comes back."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from archetype.core.archetype import Archetype
from archetype.core.context import TickContext, rng_for
from archetype.core.frame_rows import CheckedRows, RowsError, check_rows
from archetype.core.gather import gather_or_cancel
from archetype.core.processor import AsyncProcessor, accepted_names
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import ProcessorError

if TYPE_CHECKING:
    from daft import DataFrame

MORSEL_ROWS = 1 << 40


@dataclass(frozen=True, eq=False)
class ProcessedTick:
    """The state after the processors, and by archetype id the rows that they ended."""

    state: WorldState
    tombstones: Mapping[bytes, ArchetypeTable]


@functools.cache
def configure_daft() -> None:
    """Make Daft fit for replay: no telemetry, and each frame one morsel, so that float sums do not vary."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import daft  # noqa: PLC0415 (slow to import, and its environment must be set before)

    daft.set_execution_config(
        default_morsel_size=MORSEL_ROWS, enable_dynamic_batching=False, maintain_order=True
    )


def warm_daft() -> None:
    """Run a query of one row: the first of a process starts Daft's threads, which takes most of a second."""
    configure_daft()
    import daft  # noqa: PLC0415

    daft.from_pydict({"warm": [1]}).with_column("up", daft.col("warm") + 1).collect()


async def run_processors(
    state: WorldState, processors: Sequence[AsyncProcessor], context: TickContext
) -> ProcessedTick:
    """Run every processor on every archetype that has its components.

    Per archetype: ascending priority, ties in the order given. An archetype that none matches keeps its
    table object. Raises ProcessorError naming processor, archetype and tick.
    """
    steps = _steps(processors)
    chains: list[_Chain] = []
    for table in state:
        matching = [step for step in steps if table.archetype.covers(step.component_names)]
        if matching:
            chains.append(_Chain(table, matching, context))
    if not chains:
        return ProcessedTick(state, {})
    configure_daft()
    outcomes = await gather_or_cancel([chain.run for chain in chains])
    changed: list[ArchetypeTable] = []
    tombstones: dict[bytes, ArchetypeTable] = {}
    for chain, outcome in zip(chains, outcomes, strict=True):
        archetype = chain.table.archetype
        empty = ArchetypeTable(archetype, archetype.table_schema.empty_table())
        changed.append(outcome.active or empty)
        if outcome.inactive is not None:
            tombstones[archetype.archetype_id] = outcome.inactive
    return ProcessedTick(state.replace(changed), tombstones)


@dataclass(frozen=True)
class _Step:
    processor: AsyncProcessor
    name: str
    ordinal: int
    component_names: frozenset[str]


def _steps(processors: Sequence[AsyncProcessor]) -> list[_Step]:
    """Put processors in order; an ordinal tells apart those of one name, by their order of registration."""
    counts: dict[str, int] = {}
    steps: list[_Step] = []
    for processor in processors:
        name = processor.processor_name()
        ordinal = counts[name] = counts.get(name, -1) + 1
        names = frozenset(kind.__name__ for kind in processor.components)
        steps.append(_Step(processor, name, ordinal, names))
    return sorted(steps, key=lambda step: step.processor.priority)


class _Chain:
    """One archetype's processors, fused into as few queries as can be."""

    def __init__(self, table: ArchetypeTable, steps: list[_Step], context: TickContext) -> None:
        self.table = table
        self._steps = steps
        self._context = context
        self._names = ["entity_id", "is_active", *table.archetype.schema.names]
        self._expected: dict[str, Any] = {}

    async def run(self) -> CheckedRows:
        """Run every step; a frame is collected at the end, and after each step that cannot be run again."""
        df = self._first_frame()
        self._expected = {column.name: column.dtype for column in df.schema()}
        checked = CheckedRows(self.table, None)
        segment: list[_Step] = []
        start = df
        for position, step in enumerate(self._steps):
            segment.append(step)
            df = await self._process(step, df)
            if step.processor.deterministic and position < len(self._steps) - 1:
                continue
            try:
                df, output = await asyncio.to_thread(self._collect, df)
                checked = check_rows(self.table, output)
            except Exception as exc:
                await self._blame(segment, start)
                raise self._error(segment[-1], _said(exc)) from exc
            segment, start = [], df
        return checked

    def _first_frame(self) -> DataFrame:
        import daft  # noqa: PLC0415

        return self._with_constants(daft.from_arrow(self.table.rows), is_active=True)

    def _with_constants(self, df: DataFrame, *, is_active: bool) -> DataFrame:
        from daft import lit  # noqa: PLC0415

        constants = {
            "world_id": lit(str(self._context.world_id)),
            "run_id": lit(str(self._context.run_id)),
            "tick": lit(self._context.tick),
        }
        return df.with_columns(constants | ({"is_active": lit(True)} if is_active else {}))  # noqa: FBT003

    async def _process(self, step: _Step, df: DataFrame) -> DataFrame:
        """Let one processor extend the query, and hold its columns to the archetype's."""
        from daft import DataFrame  # noqa: PLC0415

        try:
            output: Any = step.processor.process(df, **self._kwargs(step))
            if inspect.isawaitable(output):
                output = await output
        except Exception as exc:
            raise self._error(step, f"raised {_said(exc)}") from exc
        if not isinstance(output, DataFrame):
            raise self._error(
                step,
                f"returned {type(output).__name__}, not a Daft DataFrame; end process() with `return df`",
            )
        return self._conformed(step, output)

    def _kwargs(self, step: _Step) -> dict[str, Any]:
        context = self._context
        offered: dict[str, Any] = {
            **context.inputs,
            "tick": context.tick,
            "world_id": context.world_id,
            "run_id": context.run_id,
            "resources": context.resources,
            "debug": context.debug,
        }
        names = accepted_names(type(step.processor).process)
        if names is None or "rng" in names:
            offered["rng"] = rng_for(context, step.name, step.ordinal, self.table.archetype.archetype_id)
        return offered if names is None else {name: offered[name] for name in names if name in offered}

    def _conformed(self, step: _Step, df: DataFrame) -> DataFrame:
        have = {column.name: column.dtype for column in df.schema()}
        if have == self._expected:
            return df
        for name in have:
            if name not in self._expected:
                raise self._error(step, f"added the column {name!r}; a frame keeps its archetype's columns")
        for name in self._names:
            if name not in have:
                raise self._error(step, f"dropped the column {name!r}; return every column it was given")
        for name, dtype in have.items():
            if dtype != self._expected[name]:
                raise self._error(
                    step,
                    f"changed {name!r} from {self._expected[name]} to {dtype}; cast it back before returning",
                )
        return self._with_constants(df, is_active=False)

    def _collect(self, df: DataFrame) -> tuple[DataFrame, pa.Table]:
        from daft import col  # noqa: PLC0415

        collected = df.select(*[col(name) for name in self._names]).collect()
        return self._with_constants(collected, is_active=False), collected.to_arrow()

    async def _blame(self, segment: list[_Step], start: DataFrame) -> None:
        """Run a failed segment again, collecting after every step, to name the one at fault.

        A step that is not deterministic ends its segment, and so is never run again.
        """
        df = start
        for step in segment:
            if not step.processor.deterministic:
                return
            df = await self._process(step, df)
            try:
                df, output = await asyncio.to_thread(self._collect, df)
                check_rows(self.table, output)
            except Exception as exc:
                raise self._error(step, _said(exc)) from exc

    def _error(self, step: _Step, what: str) -> ProcessorError:
        archetype: Archetype = self.table.archetype
        return ProcessorError(
            f"Processor {step.name} failed on {archetype.name} at tick {self._context.tick}: {what}. "
            "Nothing of this tick was kept; mend the processor and step again.",
            processor=step.name,
            archetype=archetype.name,
            tick=self._context.tick,
        )


def _said(exc: BaseException) -> str:
    if isinstance(exc, RowsError):
        return f"its output {exc}"
    said = f"{type(exc).__name__}: {exc}"
    root = exc
    while root.__cause__ is not None:
        root = root.__cause__
    return said if root is exc else f"{said} (because of {type(root).__name__}: {root})"
