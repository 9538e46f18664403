from dataclasses import dataclass

import pytest

from archetype.core.scheduling.builders import (
    ConditionGroupBuilder,
    ExecutionGroupBuilder,
    FrequencyGroupBuilder,
    PriorityGroupBuilder,
    SequentialGroupBuilder,
    SingleGroupBuilder,
    honours_of,
    kept_parameters,
    plan_of,
)
from archetype.core.scheduling.dependencies import DependencyGroupBuilder
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, describe
from archetype.core.scheduling.scheduler import SimpleScheduler, scheduler_from, settings_of
from archetype.errors import InvalidInputError, PlanError


@dataclass(frozen=True)
class Declared:
    name: str
    priority: int = 10
    every: int = 1
    offset: int = 0
    runs_alone: bool = False

    def processor_name(self):
        return self.name


MIXED = describe(
    [
        Declared("a", 20),
        Declared("dev", 10, runs_alone=True),
        Declared("b", 5),
        Declared("a", 10),
        Declared("late", 20, runs_alone=True),
        Declared("c", 10),
    ]
)


def context(tick=0, systems=MIXED):
    return PlanContext(tick, None, systems)


def names(plan):
    return [" ".join(system.name for system in group.systems) for group in plan.groups]


@pytest.mark.parametrize(
    ("builder", "groups"),
    [
        (SequentialGroupBuilder(), ["b", "dev", "a#2", "c", "a", "late"]),
        (SingleGroupBuilder(), ["dev", "late", "a b a#2 c"]),
        (PriorityGroupBuilder(), ["b", "dev", "a#2 c", "late", "a"]),
        (FrequencyGroupBuilder(), ["b", "dev", "a#2 c", "late", "a"]),
        (ConditionGroupBuilder(SingleGroupBuilder()), ["dev", "late", "a b a#2 c"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_groups(builder, groups):
    plan = builder.build(MIXED, context())
    assert names(plan) == groups
    assert all(group.checks_conditions == isinstance(builder, ConditionGroupBuilder) for group in plan.groups)
    assert plan.not_due == ()


def test_nothing_is_no_group():
    for builder in (SequentialGroupBuilder(), SingleGroupBuilder(), PriorityGroupBuilder()):
        assert list(builder.build((), context(systems=())).groups) == []


def test_who_is_not_due_is_left_out():
    systems = describe([Declared("even", every=2), Declared("odd", every=2, offset=1), Declared("all")])
    builder = FrequencyGroupBuilder(FrequencyGroupBuilder(SingleGroupBuilder()))
    for tick, left_out in enumerate(["odd", "even", "odd"]):
        plan = builder.build(systems, context(tick, systems))
        assert [system.name for system in plan.not_due] == [left_out]
        assert left_out not in names(plan)[0].split()
        assert len(names(plan)[0].split()) == 2


@pytest.mark.parametrize(("every", "offset"), [(0, 0), (-1, 0), (2, 2), (1, 1), (3, -1)])
def test_who_is_never_due_is_refused(every, offset):
    systems = describe([Declared("never", every=every, offset=offset)])
    with pytest.raises(PlanError, match="never has every") as caught:
        FrequencyGroupBuilder().build(systems, context(0, systems))
    assert caught.value.details["processors"] == ["never"]


@pytest.mark.parametrize("inner", ["single", SingleGroupBuilder, object()], ids=["name", "class", "object"])
@pytest.mark.parametrize("wrapper", [FrequencyGroupBuilder, ConditionGroupBuilder])
def test_what_is_no_inner_builder_is_refused(wrapper, inner):
    with pytest.raises(InvalidInputError, match=f"inner builder of {wrapper.__name__}"):
        wrapper(inner)


def test_what_builders_look_at():
    class Trusted:
        def build(self, systems, context):
            return []

    everything = {"every", "condition", "depends_on"}
    assert honours_of(Trusted()) == everything
    assert honours_of(SingleGroupBuilder()) == set()
    assert honours_of(FrequencyGroupBuilder(Trusted())) == everything
    assert honours_of(ConditionGroupBuilder()) == {"condition"}
    assert honours_of(ConditionGroupBuilder(FrequencyGroupBuilder(DependencyGroupBuilder()))) == everything


def test_a_class_that_inherits_keeps_its_arguments():
    class Keeps(ExecutionGroupBuilder):
        def __init__(self, size, *, order="up"):
            self.size = size

        def build(self, systems, context):
            return []

    assert kept_parameters(Keeps(3)) == {"size": 3, "order": "up"}
    assert kept_parameters(FrequencyGroupBuilder()) == {"inner": None}
    assert kept_parameters(object()) is None


class Gives:
    def __init__(self, built):
        self.built = built

    def build(self, systems, context):
        if isinstance(self.built, Exception):
            raise self.built
        return self.built


class BuilderOfSystems:
    """Has no use for the context, nor an argument of its own."""

    def build(self, systems):
        return [ExecutionGroup([system]) for system in systems]


class BuilderThatInherits(ExecutionGroupBuilder):
    def build(self, systems, context):
        return [ExecutionGroup([system]) for system in systems]


@pytest.mark.parametrize("kind", [BuilderOfSystems, BuilderThatInherits])
def test_a_builder_needs_neither_the_context_nor_a_constructor(kind):
    scheduler = SimpleScheduler(group_builder=kind())
    again = scheduler_from(settings_of(scheduler))
    plan = plan_of(again.group_builder, MIXED, context())
    assert [list(group.systems) for group in plan.groups] == [[each] for each in MIXED]


def test_a_list_is_taken_for_groups():
    groups = [ExecutionGroup(MIXED)]
    assert plan_of(Gives(groups), MIXED, context()) == ExecutionPlan(groups)


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (None, "gave NoneType"),
        ("groups", "gave str"),
        (ExecutionPlan([], not_due=None), "gave ExecutionPlan"),
        (ExecutionPlan(7), "gave ExecutionPlan"),
        ([MIXED], "for a group"),
        ([ExecutionGroup(None)], "for a group"),
        (KeyError("x"), "failed at tick 4: KeyError"),
    ],
    ids=["none", "text", "no left out", "no groups", "no group", "no systems", "raises"],
)
@pytest.mark.parametrize("wrapper", [None, FrequencyGroupBuilder, ConditionGroupBuilder])
def test_what_is_no_plan_is_refused_wherever_it_is_built(built, message, wrapper):
    builder = Gives(built) if wrapper is None else wrapper(Gives(built))
    with pytest.raises(PlanError, match=message) as caught:
        plan_of(builder, MIXED, context(4))
    assert caught.value.details["builder"] == "Gives"


def test_a_plan_error_of_a_builder_is_its_own():
    error = PlanError("mine")
    with pytest.raises(PlanError) as caught:
        plan_of(Gives(error), MIXED, context())
    assert caught.value is error
