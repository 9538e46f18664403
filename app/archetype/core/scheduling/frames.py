"""One archetype's frame in one tick: made, handed to processors, collected, and held to its columns."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa

from archetype.core.constraints import Constraints
from archetype.core.context import TickContext, rng_for
from archetype.core.frame_rows import RowsError
from archetype.core.processor import AsyncProcessor, accepted_names
from archetype.core.scheduling.plan import SystemDescriptor
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.validity import constraints_by_column, refused
from archetype.core.state import ArchetypeTable, Int64s, WorldState
from archetype.errors import ProcessorError, TickFailedError

if TYPE_CHECKING:
    from daft import DataFrame, Expression

__all__ = ["RAISED", "Frames", "GroupFrames", "said"]

T = TypeVar("T")

RAISED = (Exception, SystemExit, KeyboardInterrupt)
"""What users' code raises: what ends a process elsewhere fails its tick here, and no other world's."""


class GroupFrames:
    """The frames of a group's state, each made once for all processors that see the same components."""

    def __init__(self, state: WorldState, context: TickContext) -> None:
        self.state = state
        self.context = context
        self._frames: dict[tuple[bytes, bytes], Frames] = {}

    def of(self, table: ArchetypeTable, rights: Rights) -> Frames:
        """Give a table as a processor with these rights sees it."""
        shown = _readable(table, rights)
        key = (table.archetype.archetype_id, shown.archetype.archetype_id)
        frames = self._frames.get(key)
        if frames is None:
            frames = self._frames[key] = Frames(table, self.context, shown)
        return frames


class Frames:
    """Gives processors a table as a frame; `shown` is the table with the components that they may read."""

    def __init__(
        self, table: ArchetypeTable, context: TickContext, shown: ArchetypeTable | None = None
    ) -> None:
        self.table = table
        self.shown = table if shown is None else shown
        self.names = ["entity_id", "is_active", *self.shown.archetype.schema.names]
        self._context = context

    @functools.cached_property
    def first(self) -> DataFrame:
        """The frame of the table's rows, all of them active."""
        from archetype.core.scheduling.extended_frame import ExtendedFrame  # noqa: PLC0415

        return self._with_constants(ExtendedFrame.of(self.shown.rows), is_active=True)

    @functools.cached_property
    def _dtypes(self) -> dict[str, Any]:
        return {column.name: column.dtype for column in self.first.schema()}

    @functools.cached_property
    def _constraints(self) -> Mapping[str, Constraints]:
        # What is computed again was held to them, or to those of its day.
        return {} if self._context.is_replay else constraints_by_column(self.shown.archetype)

    async def call(self, system: SystemDescriptor, df: DataFrame) -> DataFrame | Mapping[str, Any]:
        """Let a processor extend a frame, or give values for columns of it.

        Raises ProcessorError if it raises, or returns neither, and AccessViolationError if it names a column
        that is hidden from it.
        """
        from daft import DataFrame  # noqa: PLC0415

        process = cast("AsyncProcessor", system.processor).process
        try:
            returned: Any = process(df, **self._keywords(system))
            if inspect.isawaitable(returned):
                returned = await returned
        except RAISED as exc:
            self.require_readable(system, exc)
            raise self.error(system, f"raised {said(exc)}") from exc
        if isinstance(returned, DataFrame):
            return returned if returned is df else self._conformed(system, returned)
        if isinstance(returned, Mapping):
            return cast("Mapping[str, Any]", returned)
        raise self.error(
            system,
            f"returned {type(returned).__name__}, not a Daft DataFrame nor a mapping of columns; end "
            "process() with `return df`",
        )

    async def collected(self, system: SystemDescriptor, df: DataFrame, use: Callable[[pa.Table], T]) -> T:
        """Collect a frame, and give what `use` makes of its rows; both off the event loop.

        Raises ProcessorError if that fails, and the tick's errors that `use` raises.
        """
        from daft import col  # noqa: PLC0415

        try:
            return await self.evaluated(df, {name: col(name) for name in self.names}, use)
        except TickFailedError:
            raise
        except RAISED as exc:
            self.require_readable(system, exc)
            raise self.error(system, said(exc)) from exc

    async def evaluated(
        self, df: DataFrame, columns: Mapping[str, Expression], use: Callable[[pa.Table], T]
    ) -> T:
        """Evaluate columns over a frame, and give what `use` makes of them; both off the event loop."""
        from archetype.core.scheduling.extended_frame import selected  # noqa: PLC0415

        return await asyncio.to_thread(lambda: use(selected(df, columns)))

    def has_dtypes(self, df: DataFrame) -> bool:
        """Say whether a frame has exactly this one's columns and types."""
        if df.schema() == self.first.schema():
            return True
        return {column.name: column.dtype for column in df.schema()} == self._dtypes

    def handed_on(self, df: DataFrame) -> DataFrame:
        """Give a frame to the next processor, with the tick's own base columns, whatever was made of them.

        Rows that are not active have lost their ids, and so cannot come back.
        """
        from daft import col, lit  # noqa: PLC0415
        from daft.functions import when  # noqa: PLC0415

        from archetype.core.scheduling.extended_frame import ExtendedFrame  # noqa: PLC0415

        own = self._base | {"is_active": True}
        if isinstance(df, ExtendedFrame) and own.items() <= df.constants.items():
            return df
        kept = when(col("is_active"), col("entity_id")).otherwise(lit(None))
        return self._with_constants(df.with_column("entity_id", kept), is_active=False)

    def error(self, system: SystemDescriptor, what: str) -> ProcessorError:
        """Give the error that says what a processor did wrong, where and when."""
        name = self.table.archetype.name
        return ProcessorError(
            f"Processor {system.name} failed on {name} at tick {self._context.tick}: {what}. "
            "Nothing of this tick was kept; mend the processor and step again.",
            what=what,
            processor=system.name,
            archetype=name,
            tick=self._context.tick,
        )

    @functools.cached_property
    def _base(self) -> dict[str, str | int]:
        context = self._context
        return {"world_id": str(context.world_id), "run_id": str(context.run_id), "tick": context.tick}

    def _with_constants(self, df: DataFrame, *, is_active: bool) -> DataFrame:
        from daft import lit  # noqa: PLC0415

        constants = {name: lit(value) for name, value in self._base.items()}
        return df.with_columns(constants | ({"is_active": lit(True)} if is_active else {}))  # noqa: FBT003

    def _keywords(self, system: SystemDescriptor) -> dict[str, Any]:
        context = self._context
        offered: dict[str, Any] = {
            **context.inputs,
            "tick": context.tick,
            "world_id": context.world_id,
            "run_id": context.run_id,
            "messages": context.messages,
            "debug": context.debug,
        }
        names = accepted_names(cast("Callable[..., Any]", type(system.processor).process))  # type: ignore[attr-defined]
        if names is None or "resources" in names:
            offered["resources"] = context.resources.for_processor()
        if names is None or "rng" in names:
            offered["rng"] = rng_for(
                context, system.processor.processor_name(), system.ordinal, self.table.archetype.archetype_id
            )
        return offered if names is None else {name: offered[name] for name in names if name in offered}

    def _conformed(self, system: SystemDescriptor, df: DataFrame) -> DataFrame:
        if self.has_dtypes(df):
            return df
        have = {column.name: column.dtype for column in df.schema()}
        for name in have:
            if name not in self._dtypes:
                raise self.error(system, f"added the column {name!r}; a frame keeps its archetype's columns")
        for name in self.names:
            if name not in have:
                raise self.error(system, f"dropped the column {name!r}; return every column it was given")
        for name, dtype in have.items():
            if dtype != self._dtypes[name]:
                raise self.error(
                    system,
                    f"changed {name!r} from {self._dtypes[name]} to {dtype}; cast it back before returning",
                )
        return self._with_constants(df, is_active=False)

    def is_constrained(self, column: str) -> bool:
        """Say whether its class refuses values that a column of this type can hold."""
        return column in self._constraints

    def require_valid(
        self, system: SystemDescriptor, column: str, values: pa.Array, entity_ids: Int64s
    ) -> None:
        """Raise ProcessorError if a class refuses values that a processor wrote for these entities."""
        if not self.is_constrained(column):
            return
        component = self.shown.archetype.component_of(column)
        field = f"{component}.{column[len(component) + 2 :]}"
        what = refused(self._constraints[column], field, values, entity_ids)
        if what is not None:
            raise self.error(system, what)

    def require_readable(self, system: SystemDescriptor, exc: BaseException) -> None:
        """Raise AccessViolationError if an error names a column that is hidden from its processor."""
        if isinstance(exc, TickFailedError) or self.shown is self.table:
            return
        hidden = set(self.table.archetype.components) - set(self.shown.archetype.components)
        named = set(re.findall(r"\w+", str(exc)))
        for component in sorted(hidden):
            if any(column.name in named for column in self.table.archetype.component_fields(component)):
                system.rights.require_read(system.name, component)


def _readable(table: ArchetypeTable, rights: Rights) -> ArchetypeTable:
    hidden = [name for name in table.archetype.components if not rights.may_read(name)]
    if not hidden:
        return table
    archetype = table.archetype.without_components(hidden)
    arrays = [table.array(name) for name in archetype.table_schema.names]
    return ArchetypeTable.from_arrays(archetype, arrays)


def said(exc: BaseException) -> str:
    """Give an exception as a clause of a sentence, with what caused it in the first place."""
    if isinstance(exc, RowsError):
        return f"its output {exc}"
    text = f"{type(exc).__name__}: {exc}"
    root = exc
    while root.__cause__ is not None:
        root = root.__cause__
    return text if root is exc else f"{text} (because of {type(root).__name__}: {root})"
