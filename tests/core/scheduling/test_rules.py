from typing import Annotated, Optional

import pyarrow as pa
import pytest

from archetype.core.arrow_types import Vector
from archetype.core.combine import Combine
from archetype.core.component import Component
from archetype.core.scheduling.rules import LAST_WRITER_WINS, rule_of
from archetype.errors import ComponentError


class RulesMarked(Component):
    plain: int
    total: Annotated[int, Combine("sum")]
    high: Annotated[float | None, Combine("max")]
    low: Annotated[float, Combine("min")] | None
    tags: Optional[Annotated[list[str], Combine("union")]] = None  # noqa: UP045


class RulesWhole(Component):
    merge_unit = "component"
    x: int


class RulesCombining(Component):
    x: int

    def __combine__(self, other: "RulesCombining") -> "RulesCombining":
        return RulesCombining(x=self.x + other.x)


def test_marks_are_found_on_fields_and_inside_of_optional_ones():
    rule = rule_of("RulesMarked")
    assert dict(rule.operations) == {
        "rulesmarked__total": "sum",
        "rulesmarked__high": "max",
        "rulesmarked__low": "min",
        "rulesmarked__tags": "union",
    }
    assert (rule.is_whole, rule.combining) == (False, None)


def test_the_component_is_the_unit_where_it_says_so_or_combines_itself():
    assert (rule_of("RulesWhole").is_whole, rule_of("RulesWhole").combining) == (True, None)
    assert (rule_of("RulesCombining").is_whole, rule_of("RulesCombining").combining) == (True, RulesCombining)


def test_the_last_writer_wins_without_one_class_of_these_columns():
    twins = [type("RulesTwin", (Component,), {"__module__": module}) for module in ("rules_a", "rules_b")]
    assert rule_of("RulesTwin") == LAST_WRITER_WINS, twins
    assert rule_of("RulesUnknown") == LAST_WRITER_WINS
    assert rule_of("RulesCombining", [pa.field("rulescombining__y", pa.int64())]) == LAST_WRITER_WINS
    assert rule_of("RulesCombining", list(RulesCombining.get_prefixed_schema())).is_whole


MISFITS = {
    "sum of text": (str, "sum"),
    "prod of bools": (bool, "prod"),
    "min of bools": (bool, "min"),
    "any of numbers": (int, "any"),
    "append of text": (str, "append"),
    "append of vectors": (Annotated[list[float], Vector(2)], "append"),
    "union of lists": (list[list[int]], "union"),
}


@pytest.mark.parametrize(("annotation", "operation"), MISFITS.values(), ids=MISFITS)
def test_an_operation_that_does_not_fit_is_refused_with_the_class(annotation, operation):
    with pytest.raises(ComponentError, match=rf"RulesMisfit\.bad is .* cannot be combined by '{operation}'"):
        type(
            "RulesMisfit",
            (Component,),
            {"__annotations__": {"bad": Annotated[annotation, Combine(operation)]}},
        )


def test_a_mark_beside_a_rule_for_the_whole_component_is_refused():
    with pytest.raises(
        ComponentError, match=r"RulesBoth\.x is marked 'sum', but RulesBoth defines __combine__"
    ):

        class RulesBoth(Component):
            x: Annotated[int, Combine("sum")]

            def __combine__(self, other):
                return self

    with pytest.raises(ComponentError, match=r"RulesUnit\.x is marked 'sum', but merge_unit = 'component'"):

        class RulesUnit(Component):
            merge_unit = "component"
            x: Annotated[int, Combine("sum")]


def test_an_unknown_unit_is_refused():
    with pytest.raises(ComponentError, match="merge_unit is 'field' or 'component', not 'row'"):

        class RulesRow(Component):
            merge_unit = "row"
            x: int
