"""A Daft frame that knows how it came about, so that what it holds can be had without a query."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import daft
from daft import DataFrame, col

from archetype.core.scheduling.plain_expressions import Step, plain_step

if TYPE_CHECKING:
    import pyarrow as pa
    from daft.expressions import Expression

__all__ = ["ExtendedFrame", "selected"]

logger = logging.getLogger(__name__)


class ExtendedFrame(DataFrame):
    """A frame of rows in memory, and the plain columns that it was given since.

    To whoever holds it, it is a frame like any other. What is made of it in another way than by `with_column`
    and `with_columns`, or by expressions that are not plain, is a frame that does not know how it came about.
    """

    _rows_before: Any
    _steps_since: tuple[Step, ...]

    @classmethod
    def of(cls, rows: pa.Table) -> DataFrame:
        """Give a frame of these rows; a plain one if Daft does not keep them in this process."""
        frame = daft.from_arrow(rows)
        partitions = list(frame.iter_partitions())
        is_here = len(partitions) == 1 and hasattr(partitions[0], "eval_expression_list")
        return cls._knowing(frame, partitions[0], ()) if is_here else frame

    @classmethod
    def _knowing(cls, frame: DataFrame, rows: Any, steps: tuple[Step, ...]) -> Self:
        extended = cls.__new__(cls)
        extended.__dict__ |= frame.__dict__ | {"_rows_before": rows, "_steps_since": steps}
        return extended

    def with_columns(self, columns: dict[str, Expression]) -> DataFrame:
        """Give the frame with further columns, or others in their place."""
        extended = super().with_columns(columns)
        step = plain_step(columns, self.constants)
        return (
            extended
            if step is None
            else self._knowing(extended, self._rows_before, (*self._steps_since, step))
        )

    def evaluated(self, columns: Mapping[str, Expression]) -> pa.Table | None:
        """Give what `select` of these columns would, to the bit, or None where only a query can tell."""
        last = plain_step(columns, self.constants)
        if last is None:
            return None
        try:
            from daft.expressions import ExpressionsProjection  # noqa: PLC0415 (undocumented: it may go)

            rows = self._rows_before
            for expressions in _projections((*self._steps_since, last)):
                rows = rows.eval_expression_list(ExpressionsProjection(expressions))
        except Exception:
            logger.debug("Columns could not be evaluated in place.", exc_info=True)
            return None
        return rows.to_arrow() if len(rows) == len(self._rows_before) else None

    @property
    def constants(self) -> Mapping[str, Any]:
        """The values of the columns that were given one and the same for all rows."""
        return self._steps_since[-1].constants if self._steps_since else {}


def _projections(steps: Sequence[Step]) -> list[list[Expression]]:
    """Give the expressions of each step in turn, with the columns as they are that later ones need."""
    projections: list[list[Expression]] = []
    needed = frozenset[str](steps[-1].expressions)
    for step in reversed(steps):
        carried = sorted(needed - step.expressions.keys())
        made = [name for name in step.expressions if name in needed]
        projections.append([*(step.expressions[name].alias(name) for name in made), *map(col, carried)])
        needed = step.reads | frozenset(carried)
    return projections[::-1]


def selected(frame: DataFrame, columns: Mapping[str, Expression]) -> pa.Table:
    """Give these columns of a frame as rows: evaluated where they are if they can be, else by a query."""
    rows = frame.evaluated(columns) if isinstance(frame, ExtendedFrame) else None
    if rows is None:
        rows = frame.select(*[each.alias(name) for name, each in columns.items()]).collect().to_arrow()
    return rows
