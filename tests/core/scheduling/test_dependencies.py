from dataclasses import dataclass

import pytest

from archetype.core.processor import Processor
from archetype.core.scheduling.dependencies import DependencyGroupBuilder
from archetype.core.scheduling.plan import PlanContext, describe
from archetype.errors import PlanError


@dataclass(frozen=True)
class Needing:
    name: str
    depends_on: tuple = ()
    runs_alone: bool = False

    def processor_name(self):
        return self.name


def levels(*processors, left_out=()):
    systems = describe(processors)
    due = [system for system in systems if system.name not in left_out]
    plan = DependencyGroupBuilder().build(due, PlanContext(0, None, systems))
    return [" ".join(system.name for system in group.systems) for group in plan.groups]


def test_each_is_as_early_as_it_can_be_and_ties_go_by_registration():
    assert levels(
        Needing("d", ("b", "c")), Needing("c"), Needing("b", ("a",)), Needing("a"), Needing("e", ("a",))
    ) == ["c a", "b e", "d"]


def test_a_name_means_all_of_that_name():
    assert levels(Needing("b", ("a",)), Needing("a"), Needing("a", ("c",)), Needing("c")) == [
        "a c",
        "a#2",
        "b",
    ]


def test_of_a_level_those_that_run_alone_come_first():
    assert levels(
        Needing("a"),
        Needing("dev", runs_alone=True),
        Needing("b", ("a",)),
        Needing("log", ("a",), runs_alone=True),
    ) == ["dev", "a", "log", "b"]


def test_one_that_is_left_out_counts_as_done():
    chain = [Needing("c", ("b",)), Needing("b", ("a",)), Needing("a")]
    assert levels(*chain) == ["a", "b", "c"]
    assert levels(*chain, left_out="b") == ["c a"]
    assert levels(*chain, left_out="a") == ["b", "c"]


def test_classes_and_instances_name_themselves():
    class SchedNeeded(Processor):
        pass

    class SchedNeeding(Processor):
        depends_on = (SchedNeeded,)

    class SchedNeedingBoth(Processor):
        depends_on = (SchedNeeding(), "SchedNeeded")

    assert levels(SchedNeedingBoth(), SchedNeeding(), SchedNeeded()) == [
        "SchedNeeded",
        "SchedNeeding",
        "SchedNeedingBoth",
    ]


def test_unknown_names_are_refused():
    with pytest.raises(PlanError, match=r"b depends on moove, aim, which .* it has a, b\.") as caught:
        levels(Needing("a"), Needing("b", ("moove", "a", "aim")))
    assert caught.value.details == {"processors": ["b"], "unknown": ["moove", "aim"]}


@pytest.mark.parametrize(
    ("processors", "cycle"),
    [
        ([Needing("a", ("a",))], ["a"]),
        ([Needing("a"), Needing("a", ("a",))], ["a#2"]),
        (
            [Needing("x", ("b",)), Needing("c", ("a",)), Needing("b", ("c",)), Needing("a", ("b",))],
            ["c", "a", "b"],
        ),
    ],
    ids=["itself", "its own name", "three, and one behind them"],
)
def test_cycles_are_refused_and_named_in_order(processors, cycle):
    with pytest.raises(PlanError, match=" -> ".join([*cycle, cycle[0]])) as caught:
        levels(*processors)
    assert caught.value.details["processors"] == cycle


def test_a_cycle_is_refused_also_while_it_is_left_out():
    with pytest.raises(PlanError, match="a -> b -> a"):
        levels(Needing("a", ("b",)), Needing("b", ("a",)), left_out="ab")
