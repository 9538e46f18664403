"""How several writes of one cell in one execution group become one value.

    class Score(Component):
        points: Annotated[int, Combine("sum")] = 0

    class Notes(Component):
        lines: list[str] = []

        def __combine__(self, other: "Notes") -> "Notes":
            return Notes(lines=self.lines + other.lines)

Writes fold from the left in the order in which their processors were registered. What was stored before
is not part of the fold, unless a write is a `Delta`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, get_args, runtime_checkable

import pyarrow as pa

__all__ = ["OPERATIONS", "Combinable", "Combine", "Delta", "Operation", "combines", "fits", "is_number"]

T = TypeVar("T")

Operation = Literal["sum", "prod", "min", "max", "any", "all", "append", "union", "first", "last"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@runtime_checkable
class Combinable(Protocol):
    """A component that says itself what two writes of it make: `self` came first."""

    def __combine__(self, other: Self) -> Self:
        """Give what both writes together stand for."""
        ...


@dataclass(frozen=True)
class Combine:
    """Marks a field whose writes are combined by an operation: `Annotated[int, Combine("sum")]`.

    sum, prod: numbers; min, max: numbers, strings and times; any, all: bools; append: lists, joined;
    union: lists of values that can be sorted, as a sorted list without repetitions; first, last: anything.
    """

    operation: Operation

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"Combine takes one of {', '.join(OPERATIONS)}, not {self.operation!r}.")


@dataclass(frozen=True, slots=True)
class Delta(Generic[T]):
    """A write that is folded onto the value that is there: two `Delta` of 1 make 12 of 10.

    `value` is a component, or for a frame a column's expression or array. Fields fold by their own operation;
    a number without one is summed. A component with `__combine__` is combined by it.
    """

    value: T


def combines(kind: type[Any]) -> bool:
    """Say whether a component class defines `__combine__`."""
    return callable(getattr(kind, "__combine__", None))


def is_number(arrow: pa.DataType) -> bool:
    """Say whether values of this type can be summed."""
    return bool(pa.types.is_integer(arrow) or pa.types.is_floating(arrow))


def fits(operation: Operation, arrow: pa.DataType) -> bool:
    """Say whether an operation can combine values of this type."""
    match operation:
        case "sum" | "prod":
            return is_number(arrow)
        case "min" | "max":
            return is_number(arrow) or bool(pa.types.is_string(arrow) or pa.types.is_timestamp(arrow))
        case "any" | "all":
            return bool(pa.types.is_boolean(arrow))
        case "append":
            return bool(pa.types.is_list(arrow))
        case "union":
            return bool(pa.types.is_list(arrow)) and not pa.types.is_nested(arrow.value_type)
        case "first" | "last":
            return True
