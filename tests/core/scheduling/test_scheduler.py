import sys
from dataclasses import dataclass

import pytest

from archetype.core.recorded import class_fingerprint
from archetype.core.registry import type_path
from archetype.core.scheduling.builders import (
    ConditionGroupBuilder,
    ExecutionGroupBuilder,
    FrequencyGroupBuilder,
    PriorityGroupBuilder,
    SequentialGroupBuilder,
    SingleGroupBuilder,
)
from archetype.core.scheduling.policy import RetryPolicy, SchedulerConfig
from archetype.core.scheduling.scheduler import (
    SequentialScheduler,
    SimpleScheduler,
    scheduler_from,
    settings_of,
)
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import CodeChangedError, CodeNotLoadedError, InvalidInputError


class SchedulerKeeps(ExecutionGroupBuilder):
    def __init__(self, size, *, inner=None):
        self.size, self.inner = size, inner

    def build(self, systems, context):
        return []


class SchedulerBare:
    def build(self, systems, context):
        return []


@dataclass
class SchedulerData:
    size: int
    inner: object = None

    def build(self, systems, context):
        return []


class SchedulerSecretive(SchedulerBare):
    def __init__(self, size=1):
        self.hidden = size


class SchedulerOwnSingle(SingleGroupBuilder):
    pass


class SchedulerNoBuilder:
    def build(self):
        return []


def test_defaults():
    assert SimpleScheduler().config == SchedulerConfig()
    assert SimpleScheduler().group_builder == PriorityGroupBuilder()
    assert settings_of(SimpleScheduler()) == SchedulerSettings()
    assert scheduler_from(SchedulerSettings()) == SimpleScheduler()


def test_the_sequential_scheduler_runs_one_at_a_time():
    assert SequentialScheduler() == SimpleScheduler(SchedulerConfig(max_concurrent=1))
    assert hash(SequentialScheduler()) == hash(SimpleScheduler(SchedulerConfig(max_concurrent=1)))
    assert SequentialScheduler(SingleGroupBuilder()).group_builder == SingleGroupBuilder()
    assert SequentialScheduler() != SimpleScheduler()
    assert SimpleScheduler() != SchedulerConfig()


def test_two_are_equal_that_are_recorded_in_the_same_way():
    assert SimpleScheduler(group_builder=FrequencyGroupBuilder()) == SimpleScheduler(
        group_builder=FrequencyGroupBuilder(PriorityGroupBuilder())
    )
    assert SimpleScheduler(group_builder=SchedulerKeeps(1)) == SimpleScheduler(
        group_builder=SchedulerKeeps(1)
    )
    assert SimpleScheduler(group_builder=SchedulerKeeps(1)) != SimpleScheduler(
        group_builder=SchedulerKeeps(2)
    )
    assert SimpleScheduler(group_builder=SchedulerBare()) != SimpleScheduler(
        group_builder=SchedulerOwnSingle()
    )


def test_it_does_not_change():
    with pytest.raises(AttributeError):
        SimpleScheduler().config = SchedulerConfig(max_concurrent=2)


@pytest.mark.parametrize(
    "spelled",
    [
        "SimpleScheduler()",
        "SimpleScheduler(config=SchedulerConfig(max_concurrent=9, retry_policy=RetryPolicy(jitter=1.0)))",
        "SimpleScheduler(group_builder=ConditionGroupBuilder(inner=SequentialGroupBuilder()))",
    ],
)
def test_its_repr_makes_it_again(spelled):
    names = [SimpleScheduler, SchedulerConfig, RetryPolicy, ConditionGroupBuilder, SequentialGroupBuilder]
    assert repr(eval(spelled, {each.__name__: each for each in names})) == spelled


@pytest.mark.parametrize(
    ("builder", "parameters"),
    [
        (SchedulerKeeps(3, inner=SingleGroupBuilder()), {"size": 3, "inner": {"name": "single"}}),
        (SchedulerData(3), {"size": 3, "inner": None}),
        (SchedulerBare(), {}),
        (SchedulerOwnSingle(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_builder_of_ones_own_is_recorded_and_built_again(builder, parameters):
    scheduler = SimpleScheduler(group_builder=builder)
    recorded = settings_of(scheduler).group_builder
    assert recorded.name == type_path(type(builder))
    assert recorded.parameters == parameters
    assert recorded.fingerprint == class_fingerprint(type(builder))
    built = scheduler_from(settings_of(scheduler)).group_builder
    assert type(built) is type(builder)
    assert vars(built) == vars(builder)


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (SchedulerSecretive(), "inherit from ExecutionGroupBuilder, or make it a dataclass"),
        (SchedulerNoBuilder(), "must have build"),
        (object(), "must have build"),
        (SingleGroupBuilder, "pass an instance"),
        (SchedulerKeeps({1, 2}), "parameters.size: must be JSON"),
        (FrequencyGroupBuilder(SchedulerSecretive()), "SchedulerSecretive was made with"),
    ],
    ids=["secretive", "old form", "none", "class", "no JSON", "inside"],
)
def test_what_cannot_be_recorded_is_refused_when_it_is_made(builder, message):
    with pytest.raises(InvalidInputError, match=message):
        SimpleScheduler(group_builder=builder)


def test_a_class_that_is_not_found_by_its_name_is_refused():
    class Local:
        def build(self, systems, context):
            return []

    with pytest.raises(InvalidInputError, match="top level of a module"):
        SimpleScheduler(group_builder=Local())
    with pytest.raises(InvalidInputError, match="SchedulerConfig"):
        SimpleScheduler(config={"max_concurrent": 1})


def recorded(**builder):
    return SchedulerSettings.model_validate({"group_builder": builder})


def test_code_that_is_not_loaded_or_changed_is_told():
    settings = recorded(name="gone.for.Good", fingerprint="0" * 64)
    with pytest.raises(CodeNotLoadedError, match=r"'gone\.for\.Good'") as caught:
        scheduler_from(settings)
    assert caught.value.details == {"name": "gone.for.Good", "module": "gone.for"}
    name = type_path(SchedulerBare)
    with pytest.raises(CodeChangedError, match="not the recorded one") as caught:
        scheduler_from(
            recorded(name="frequency", parameters={"inner": {"name": name, "fingerprint": "0" * 64}})
        )
    loaded = class_fingerprint(SchedulerBare)
    assert caught.value.details == {"name": name, "recorded": "0" * 64, "loaded": loaded}


def test_a_class_that_is_gone_is_told(monkeypatch):
    settings = settings_of(SimpleScheduler(group_builder=SchedulerBare()))
    monkeypatch.delattr(sys.modules[__name__], "SchedulerBare")
    with pytest.raises(CodeNotLoadedError):
        scheduler_from(settings)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({"name": type_path(SchedulerKeeps), "parameters": {"wrong": 1}}, "group_builder.parameters"),
        ({"name": type_path(SchedulerKeeps)}, "group_builder.parameters"),
        (
            {"name": "frequency", "parameters": {"inner": {"name": type_path(SchedulerKeeps)}}},
            "group_builder.parameters.inner.parameters",
        ),
    ],
    ids=["unknown", "missing", "inside"],
)
def test_parameters_that_do_not_fit_are_told_with_their_place(form, path):
    with pytest.raises(InvalidInputError, match=r"SchedulerKeeps") as caught:
        scheduler_from(recorded(**form))
    assert [fault["path"] for fault in caught.value.faults] == [path]


def test_the_fingerprint_is_of_the_class_and_its_bases():
    assert class_fingerprint(SchedulerSecretive) != class_fingerprint(SchedulerBare)
    assert class_fingerprint(type("SchedulerHeir", (SchedulerBare,), {})) != class_fingerprint(
        type("SchedulerHeir", (SchedulerNoBuilder,), {})
    )
