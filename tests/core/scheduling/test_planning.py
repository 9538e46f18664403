from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.scheduling.builders import (
    ConditionGroupBuilder,
    FrequencyGroupBuilder,
    PriorityGroupBuilder,
    SequentialGroupBuilder,
    SingleGroupBuilder,
    honours_of,
)
from archetype.core.scheduling.dependencies import DependencyGroupBuilder
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, describe
from archetype.core.scheduling.planning import make_plan
from archetype.errors import PlanError


def holds(world):
    return True


@dataclass(frozen=True)
class Planned:
    name: str
    priority: int = 10
    every: int = 1
    offset: int = 0
    condition: Callable | None = None
    depends_on: tuple = ()
    runs_alone: bool = False

    def processor_name(self):
        return self.name


class Builds:
    def __init__(self, build):
        self._build = build

    def build(self, systems, context):
        return self._build(systems)


def plan(builder, systems, tick=0):
    return make_plan(builder, systems, PlanContext(tick, None, systems))


ORDERS = {
    "sequential": SequentialGroupBuilder,
    "single": SingleGroupBuilder,
    "priority": PriorityGroupBuilder,
    "dependency": DependencyGroupBuilder,
}
NAMES = "abcdef"


@st.composite
def worlds(draw):
    """An order, wrappers around it, and processors that declare what these look at."""
    order = draw(st.sampled_from(sorted(ORDERS)))
    wrappers = draw(st.lists(st.sampled_from([FrequencyGroupBuilder, ConditionGroupBuilder]), max_size=3))
    builder = ORDERS[order]()
    for wrapper in wrappers:
        builder = wrapper(builder)
    chosen = draw(st.lists(st.sampled_from(NAMES), max_size=9))
    processors = []
    for name in chosen:
        every = draw(st.integers(1, 3))
        earlier = sorted(each for each in set(chosen) if each < name)  # so that there is no cycle
        processors.append(
            Planned(
                name,
                draw(st.integers(-2, 2)),
                every,
                draw(st.integers(0, every - 1)),
                draw(st.sampled_from([None, holds])),
                tuple(draw(st.lists(st.sampled_from(earlier), max_size=3))) if earlier else (),
                draw(st.booleans()),
            )
        )
    heard = honours_of(builder)
    unheard = {
        "every": {"every": 1, "offset": 0},
        "condition": {"condition": None},
        "depends_on": {"depends_on": ()},
    }
    silent = {
        key: value for name, fields in unheard.items() if name not in heard for key, value in fields.items()
    }
    return order, wrappers, builder, [replace(each, **silent) for each in processors]


def depth(system, due):
    """The length of the longest chain of due processors that it depends on."""
    needed = [each for each in due if each.processor.name in system.processor.depends_on]
    return 1 + max((depth(each, due) for each in needed), default=0)


def rank(order, system, due):
    return {
        "sequential": (system.priority, system.index),
        "single": (),
        "priority": (system.priority,),
        "dependency": (depth(system, due),),
    }[order]


@given(worlds(), st.integers(0, 6))
def test_any_builder_gives_a_partition_in_its_order(world, tick):
    order, wrappers, builder, processors = world
    systems = describe(processors)
    due = [each for each in systems if tick % each.processor.every == each.processor.offset]
    made = plan(builder, systems, tick)
    assert list(made.not_due) == [each for each in systems if each not in due]
    assert sorted(each.index for group in made.groups for each in group.systems) == [e.index for e in due]
    assert all(group.checks_conditions == (ConditionGroupBuilder in wrappers) for group in made.groups)
    for group in made.groups:
        assert list(group.systems) == sorted(group.systems, key=lambda each: each.index)
        assert len(group.systems) == 1 or not any(each.runs_alone for each in group.systems)
        assert len({rank(order, each, due) for each in group.systems}) == 1
    for before, after in pairwise(made.groups):
        one, other = before.systems[0], after.systems[0]
        ranks = [rank(order, each, due) for each in (one, other)]
        assert ranks == sorted(ranks)
        if ranks[0] == ranks[1]:  # one rank is split only for those that run alone, which come first
            assert one.runs_alone
            assert not other.runs_alone or one.index < other.index


TWO = describe([Planned("a"), Planned("b"), Planned("c", runs_alone=True)])


def test_groups_are_put_in_order_of_registration_and_empty_ones_dropped():
    a, b, c = TWO
    made = plan(
        Builds(
            lambda _: [
                ExecutionGroup([]),
                ExecutionGroup([b, a], checks_conditions=True),
                ExecutionGroup([c]),
            ]
        ),
        TWO,
    )
    assert made == ExecutionPlan((ExecutionGroup((a, b), checks_conditions=True), ExecutionGroup((c,))))
    left_out = plan(Builds(lambda _: ExecutionPlan([], (c, a, b))), TWO)
    assert left_out == ExecutionPlan((), TWO)


@pytest.mark.parametrize(
    ("indices", "message", "named"),
    [
        ([[0], [2]], "drops b", ["b"]),
        ([], "drops a, b, c", ["a", "b", "c"]),
        ([[0, 1], [2], [1]], "repeats b", ["b"]),
        ([[0, 0], [2]], "repeats a", ["a"]),
        ([[0, 2], [1]], "mixes with others what runs alone, c", ["c"]),
    ],
)
def test_a_plan_of_other_processors_is_refused(indices, message, named):
    builder = Builds(lambda systems: [ExecutionGroup([systems[i] for i in group]) for group in indices])
    with pytest.raises(PlanError, match=f"The plan of Builds {message}: ") as caught:
        plan(builder, TWO)
    assert caught.value.details == {"builder": "Builds", "processors": named}


def test_who_is_both_planned_and_left_out_is_refused():
    a, b, c = TWO
    with pytest.raises(PlanError, match="repeats a"):
        plan(Builds(lambda _: ExecutionPlan([ExecutionGroup([a, b]), ExecutionGroup([c])], [a])), TWO)


def test_what_was_not_given_is_refused():
    stranger = describe([Planned("stranger")])
    with pytest.raises(PlanError, match=r"not given, stranger, \[\]"):
        plan(Builds(lambda systems: [ExecutionGroup([*systems, *stranger, []])]), TWO)


@pytest.mark.parametrize(
    ("declared", "remedy"),
    [
        ({"every": 2}, "every=2, offset=0, .* FrequencyGroupBuilder"),
        ({"offset": 1}, "every=1, offset=1, .* FrequencyGroupBuilder"),
        ({"condition": holds}, "a condition, .* ConditionGroupBuilder"),
        ({"depends_on": ("b",)}, "depends_on=b, .* DependencyGroupBuilder"),
    ],
    ids=["every", "offset", "condition", "depends_on"],
)
def test_declarations_that_nothing_looks_at_are_refused(declared, remedy):
    systems = describe([Planned("b"), Planned("a", **declared)])
    with pytest.raises(PlanError, match=f"Processor a declares {remedy}") as caught:
        plan(SequentialGroupBuilder(), systems)
    assert caught.value.details["processors"] == ["a"]
    assert plan(Builds(lambda systems: [ExecutionGroup(systems)]), systems).groups[0].systems == systems
