"""Conditions and returns as plain Python says them, on any rows in any order."""

import math
import operator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.archetype import Archetype
from archetype.core.component import Component
from archetype.core.episodes import (
    Condition,
    EpisodeRules,
    Return,
    derived_seed,
    recorded_number,
    spelled_number,
)
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import InvalidInputError


class Meter(Component):
    """What is measured."""

    level: float = 0.0
    note: str | None = None


class Sealed(Component):
    """Sets some entities apart in an archetype of their own."""


LEVELS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=6)
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def a_state(*groups):
    """Meters with these levels; the second group's are sealed too."""
    tables, next_id = [], 1
    for levels, types in zip(groups, ([Meter], [Meter, Sealed]), strict=False):
        archetype = Archetype.of(types)
        ids = list(range(next_id, next_id + len(levels)))
        next_id += len(levels)
        values = {"entity_id": ids, "meter__level": levels, "meter__note": [None] * len(levels)}
        rows = pa.table({name: values[name] for name in archetype.table_schema.names}, archetype.table_schema)
        tables.append(ArchetypeTable.of(archetype, rows))
    return WorldState.of(tables)


@given(LEVELS, LEVELS, st.sampled_from(list(OPERATORS)), st.integers(-3, 3), st.integers(0, 4))
def test_a_condition_holds_as_python_compares(first, second, comparison, value, limit):
    state = a_state(first, second)
    matching = [OPERATORS[comparison](each, value) for each in (*first, *second)]
    parts = {"component": "Meter", "field": "level", "comparison": comparison, "value": value}
    assert Condition(**parts).holds(state) == any(matching)
    assert Condition(**parts, entities="all").holds(state) == (all(matching) and bool(matching))
    most = Condition(**parts, entities="count", at_most=limit)
    least = Condition(**parts, entities="count", at_least=limit)
    assert most.holds(state) == (sum(matching) <= limit)
    assert least.holds(state) == (sum(matching) >= limit)


@given(LEVELS, LEVELS)
def test_what_a_tick_counts_for_does_not_depend_on_the_order_of_its_rows(first, second):
    spec = Return(column="Meter.level")
    values = [*first, *second]
    forth, back = (
        spec.of_tick(a_state(*groups)) for groups in ((first, second), (second[::-1], first[::-1]))
    )
    assert forth == back == (math.fsum(values) if values else None)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=8))
def test_the_return_of_ticks_is_that_of_a_plain_model(values):
    present = [each for each in values if each is not None]
    assert Return(column="Meter.level").of_ticks(values) == math.fsum(present)
    mean = math.fsum(present) / len(present) if present else None
    assert Return(column="Meter.level", reducer="mean").of_ticks(values) == mean
    assert Return(column="Meter.level", reducer="last").of_ticks(values) == (values[-1] if values else None)


@pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf])
def test_a_return_that_is_no_finite_number_is_none(worst):
    spec = Return(column="Meter.level")
    tick = recorded_number(spelled_number(spec.of_tick(a_state([1.0, worst]))))
    assert not math.isfinite(tick)
    assert spec.of_ticks([1.0, tick, 2.0]) is None


def test_a_missing_value_compares_with_nothing():
    state = a_state([1.0])
    for comparison in OPERATORS:
        condition = Condition(component="Meter", field="note", comparison=comparison, value="x")
        assert not condition.checked().holds(state)


TEXTS = {
    "Meter": Condition(component="Meter"),
    "all Meter.level<=0": Condition(
        component="Meter", field="level", comparison="<=", value=0, entities="all"
    ),
    "Meter.note == high tide": Condition(component="Meter", field="note", comparison="==", value="high tide"),
    "count>=2 Meter": Condition(component="Meter", entities="count", at_least=2),
    "count == 2 Meter.level != 0.5": Condition(
        component="Meter", field="level", comparison="!=", value=0.5, entities="count", at_least=2, at_most=2
    ),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_condition_is_read_from_its_text(text):
    assert Condition.parse(text) == TEXTS[text]


@pytest.mark.parametrize(
    "text", ["", "Meter.level", "all", "some Meter", "Meter.level =< 3", "count>=x Meter"]
)
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(InvalidInputError):
        Condition.parse(text).checked()


@pytest.mark.parametrize("text", ["Meter", "Meter.level:most", "Meter.level:sum:x", "Meter.note", "Meter.x"])
def test_what_is_no_return_is_refused(text):
    with pytest.raises(InvalidInputError):
        Return.parse(text).checked()


def test_a_terminal_component_comes_before_the_condition():
    rules = EpisodeRules(terminal="Sealed", condition=Condition(component="Meter"))
    assert rules.judge(a_state([1.0])).reason == "condition"
    assert rules.judge(a_state([1.0], [2.0])).reason == "terminal"
    assert rules.judge(a_state([])).reason is None


def test_seeds_of_neighbouring_rollouts_differ():
    seeds = {derived_seed(seed, index) for seed in range(20) for index in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(7, 0) == 614507528099845636
