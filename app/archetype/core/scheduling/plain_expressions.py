"""Which Daft expressions give the same bits as they stand and as parts of an optimised query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daft.expressions import Expression, ExpressionVisitor

if TYPE_CHECKING:
    from daft import DataType

__all__ = ["Step", "plain_step"]

_ARITHMETIC = frozenset({"plus", "minus", "multiply", "true_divide"})
_COMPARISONS = frozenset(
    {"equal", "not_equal", "less_than", "less_than_or_equal", "greater_than", "greater_than_or_equal"}
)
_LOGIC = frozenset({"and", "or", "not", "if_else", "is_null", "not_null"})
_MATHEMATICS = frozenset({"abs", "negate", "sign", "ceil", "floor", "clip", "sqrt", "exp", "sin", "cos"})
_FUNCTIONS = _ARITHMETIC | _COMPARISONS | _LOGIC | _MATHEMATICS


@dataclass(frozen=True, slots=True)
class Step:
    """Columns that a frame was given at once: their expressions, and the columns that those read.

    `constants` are the values of all columns that hold one and the same in each row once they are given, None
    where it was cast.
    """

    expressions: Mapping[str, Expression]
    reads: frozenset[str]
    constants: Mapping[str, Any]


def plain_step(given: Mapping[str, Expression], constants: Mapping[str, Any]) -> Step | None:
    """Give the step that these expressions are, behind one that left `constants`; None unless all are plain.

    Plain are those that look at each row by itself, and in which an optimiser finds nothing to simplify:
    neither functions of the user, nor aggregates, nor random numbers, nor sums with 0.
    """
    plainness = _Plainness(constants)
    kept = {name: value for name, value in constants.items() if name not in given}
    try:
        for name, expression in given.items():
            value = plainness.visit(expression)
            if value is not _VARIES:
                kept[name] = value
    except (_NotPlainError, ValueError, AttributeError):  # what Daft's visitors do not know
        return None
    return Step(dict(given), frozenset(plainness.reads), kept)


class _NotPlainError(Exception):
    pass


_VARIES = object()


@dataclass(slots=True)
class _Plainness(ExpressionVisitor[Any]):
    """Goes through an expression; gives the constant that it is, or that it varies from row to row."""

    constants: Mapping[str, Any]
    reads: set[str] = field(default_factory=set[str])

    def visit_col(self, name: str) -> Any:
        self.reads.add(name)
        return self.constants.get(name, _VARIES)

    def visit_lit(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise _NotPlainError

    def visit_alias(self, expr: Expression, alias: str) -> Any:
        return self.visit(expr)

    def visit_cast(self, expr: Expression, dtype: DataType) -> Any:
        return _VARIES if self.visit(expr) is _VARIES else None

    def visit_function(self, name: str, args: list[Expression]) -> Any:
        operands = [self.visit(each) for each in args]
        if name not in _FUNCTIONS or all(each is not _VARIES for each in operands):
            raise _NotPlainError
        condition_or_all = operands[:1] if name == "if_else" else operands
        if any(_is_simplified(name, each) for each in condition_or_all):
            raise _NotPlainError
        return _VARIES

    def visit_coalesce(self, args: list[Expression]) -> Any:
        raise _NotPlainError


def _is_simplified(function: str, operand: Any) -> bool:
    """Tell whether an optimiser does away with a function of this operand.

    It takes x for x + 0, x - 0, x * 1 and x / 1: other bits, where x is -0.0 or a NaN.
    """
    if operand is None or isinstance(operand, bool):
        return True
    return function in _ARITHMETIC and isinstance(operand, (int, float)) and operand in {0, 1}
