"""When an episode is over and what it returned: pure functions of the state after each tick."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from archetype.core.component import Component
from archetype.core.faults import field_faults, listed
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import FieldFault, InvalidInputError

__all__ = [
    "Condition",
    "EpisodeRules",
    "Judged",
    "Return",
    "derived_seed",
    "recorded_number",
    "spelled_number",
]

Comparison = Literal["==", "!=", "<", "<=", ">", ">="]
_COMPARE: Mapping[Comparison, str] = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
Value = StrictBool | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | StrictFloat | StrictStr
Count = Annotated[StrictInt, Field(ge=0)]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Rule):
    """A question to the active entities of one component: for any, for all, or for how many of them it holds.

    With a `field` its value is compared; without one the component alone counts. `all` needs at least one
    entity. A missing value and NaN compare with nothing.
    """

    component: Annotated[str, Field(min_length=1)]
    field: str | None = None
    comparison: Comparison = "=="
    value: Value | None = None
    entities: Literal["any", "all", "count"] = "any"
    at_least: Count | None = None
    at_most: Count | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.field is None) != (self.value is None):
            msg = "needs a field and a value to compare it with, or neither"
            raise PydanticCustomError("condition", msg)
        if self.field is None and "comparison" in self.model_fields_set:
            msg = "a comparison needs a field and a value"
            raise PydanticCustomError("condition", msg)
        if (self.entities == "count") != (self.at_least is not None or self.at_most is not None):
            msg = "entities 'count' goes with at_least, at_most or both, and they with it"
            raise PydanticCustomError("condition", msg)
        return self

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `[any|all|count>=N|count<=N|count==N] COMPONENT[.FIELD OPERATOR VALUE]`.

        The value is JSON, or text. Examples: `Agent.age >= 100`, `all Health.points <= 0`, `count<=1 Player`.
        """
        found = _CONDITION.fullmatch(text.strip())
        if found is None:
            msg = f"{text!r:.200} is no condition; write it as 'all Health.points <= 0' or 'count<=1 Player'"
            raise InvalidInputError(msg, faults=[FieldFault("condition", msg)])
        parts: dict[str, Any] = {"component": found["component"], "entities": found["any"] or "any"}
        if found["limit"]:
            count = int(found["count"])
            parts["entities"] = "count"
            parts |= {"at_least": count} if found["limit"] != "<=" else {}
            parts |= {"at_most": count} if found["limit"] != ">=" else {}
        if found["comparison"]:
            parts |= {
                "field": found["field"],
                "comparison": found["comparison"],
                "value": _value(found["value"]),
            }
        return _made(cls, parts, "condition")

    def holds(self, state: WorldState) -> bool:
        """Tell whether it holds in a state."""
        total = matching = 0
        for table in state:
            if self.component in table.archetype.components:
                total += table.row_count
                matching += self._matching(table)
        if self.entities == "count":
            return (self.at_least or 0) <= matching and (self.at_most is None or matching <= self.at_most)
        return matching == total > 0 if self.entities == "all" else matching > 0

    def _matching(self, table: ArchetypeTable) -> int:
        if self.field is None:
            return table.row_count
        array = _column(table, self.component, self.field)
        return 0 if array is None else self._compared(array).true_count

    def _compared(self, array: pa.Array) -> pa.BooleanArray:
        return pc.call_function(_COMPARE[self.comparison], [array, pa.scalar(self.value)])

    def checked(self) -> Condition:
        """Return it with the component's plain name; `InvalidInputError` where it fits nothing loaded."""
        component = _component(self.component, "condition.component")
        checked = self.model_copy(update={"component": component.__name__})
        if self.field is not None:
            field = _field(component, self.field, "condition.field")
            try:
                self._compared(pa.array([], field.type))
            except pa.ArrowException:
                named = f"{self.component}.{self.field}"
                msg = f"{named} is {field.type} and cannot be compared with {self.value!r:.80}"
                raise InvalidInputError(msg, faults=[FieldFault("condition.value", msg)]) from None
        return checked


_CONDITION = re.compile(
    r"(?:(?P<any>any|all)\s+|count\s*(?P<limit>>=|<=|==)\s*(?P<count>\d{1,18})\s+)?"
    r"(?P<component>[\w.]+?)"
    r"(?:\.(?P<field>\w+)\s*(?P<comparison>==|!=|<=|>=|<|>)\s*(?P<value>\S.*))?"
)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Return(_Rule):
    """What an episode returns: after each tick the values of a column over all entities, then over its ticks.

    `entities` sums the values of one tick or takes their mean; `reducer` does so with those of all ticks, or
    keeps that of the last. A tick in which no entity has the component counts for nothing.
    """

    column: Annotated[str, Field(pattern=r"^[\w.]+\.\w+$", description="COMPONENT.FIELD, as Reward.value")]
    reducer: Literal["sum", "mean", "last"] = "sum"
    entities: Literal["sum", "mean"] = "sum"

    @classmethod
    def parse(cls, text: str) -> Return:
        """Read `COMPONENT.FIELD[:REDUCER[:ENTITIES]]`, as `Reward.value:sum`."""
        names = ("column", "reducer", "entities")
        return _made(cls, dict(zip(names, text.split(":", maxsplit=2), strict=False)), "returns")

    def of_tick(self, state: WorldState) -> float | None:
        """Return what a state counts for, the same in any order of rows; None if nobody has the component."""
        component, _, field = self.column.rpartition(".")
        values: list[float] = []
        for table in state:
            array = _column(table, component, field)
            if array is not None:
                values.extend(array.drop_null().cast(pa.float64(), safe=False).to_pylist())
        if not values:
            return None
        return _total(values) / (len(values) if self.entities == "mean" else 1)

    def of_ticks(self, values: Sequence[float | None]) -> float | None:
        """Reduce the values of an episode's ticks, in order; None if there is no such finite number."""
        present = [value for value in values if value is not None]
        match self.reducer:
            case "sum":
                reduced = _total(present)
            case "mean":
                reduced = _total(present) / len(present) if present else math.nan
            case "last":
                last = values[-1] if values else None
                reduced = math.nan if last is None else last
        return reduced if math.isfinite(reduced) else None

    def checked(self) -> Return:
        """Return it with the component's plain name; `InvalidInputError` where no such numbers are loaded."""
        name, _, field_name = self.column.rpartition(".")
        component = _component(name, "returns.column")
        field = _field(component, field_name, "returns.column")
        kind = field.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            msg = f"{self.column} is {kind}; an episode returns numbers"
            raise InvalidInputError(msg, faults=[FieldFault("returns.column", msg)])
        return self.model_copy(update={"column": f"{component.__name__}.{field_name}"})


R = TypeVar("R", bound=_Rule)


def _made(kind: type[R], parts: dict[str, Any], path: str) -> R:
    try:
        return kind.model_validate(parts)
    except ValidationError as error:
        faults = field_faults(error, path)
        raise InvalidInputError(listed(faults), faults=faults) from None


def _total(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


@dataclass(frozen=True, slots=True)
class Judged:
    """A tick as its episode sees it: why it is over (None if it goes on), and what the tick counts for."""

    reason: Literal["terminal", "condition"] | None
    tick_return: float | None


@dataclass(frozen=True, slots=True)
class EpisodeRules:
    """When an episode is over, beside its number of ticks, and what it returns.

    It is over as soon as any active entity has the component `terminal`, or the condition holds.
    """

    terminal: str | None = None
    condition: Condition | None = None
    returns: Return | None = None

    def judge(self, state: WorldState) -> Judged:
        """Judge the state after a tick."""
        return Judged(self._reason(state), None if self.returns is None else self.returns.of_tick(state))

    def _reason(self, state: WorldState) -> Literal["terminal", "condition"] | None:
        if any(self.terminal in table.archetype.components for table in state):
            return "terminal"
        return "condition" if self.condition is not None and self.condition.holds(state) else None

    def returned(self, tick_returns: Sequence[float | None]) -> float | None:
        """Return what an episode of these ticks returned, None if nothing was asked for."""
        return None if self.returns is None else self.returns.of_ticks(tick_returns)

    def checked(self) -> EpisodeRules:
        """Return the rules with plain names; `InvalidInputError` names what is not loaded, with its field."""
        return EpisodeRules(
            self.terminal and _component(self.terminal, "terminal").__name__,
            self.condition and self.condition.checked(),
            self.returns and self.returns.checked(),
        )


def _column(table: ArchetypeTable, component: str, field: str) -> pa.Array | None:
    """Give a component's column, None where a table has no such component or field."""
    name = f"{component.lower()}__{field}"
    is_there = component in table.archetype.components and name in table.rows.column_names
    return table.array(name) if is_there else None


def _component(name: str, path: str) -> type[Component]:
    found = Component.find_type(name)
    if found is None:
        msg = f"component type {name!r} is not loaded here; load its module, or write another name"
        raise InvalidInputError(f"{path}: {msg}", faults=[FieldFault(path, msg)])
    return found


def _field(component: type[Component], name: str, path: str) -> pa.Field:
    schema = component.get_prefixed_schema()
    column = f"{component.get_prefix()}{name}"
    if column not in schema.names:
        known = ", ".join(each.removeprefix(component.get_prefix()) for each in schema.names)
        msg = f"{component.__name__} has no field {name!r}; it has {known or 'none'}"
        raise InvalidInputError(f"{path}: {msg}", faults=[FieldFault(path, msg)])
    return schema.field(column)


def derived_seed(seed: int, index: int) -> int:
    """Give the seed of a rollout's episode; neighbouring seeds of rollouts share none."""
    digest = hashlib.sha256(f"episode {seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def spelled_number(value: float | None) -> float | str | None:
    """Spell a tick's return for the log, whose JSON has no word for what is not finite."""
    return "NaN" if value is not None and not math.isfinite(value) else value


def recorded_number(value: Any) -> float | None:
    """Read a tick's return from the log."""
    return None if value is None else float(value)
