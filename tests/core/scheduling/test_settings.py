import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from archetype.core.recorded import class_fingerprint
from archetype.core.registry import type_path
from archetype.core.scheduling.builders import ExecutionGroupBuilder
from archetype.core.scheduling.policy import RetryPolicy, SchedulerConfig
from archetype.core.scheduling.scheduler import SimpleScheduler, scheduler_from, settings_of
from archetype.core.scheduling.settings import BUILT_IN_BUILDERS, BuilderSettings, SchedulerSettings


class SettingsKeeps(ExecutionGroupBuilder):
    def __init__(self, size=1, *, inner=None, parts=()):
        self.size, self.inner, self.parts = size, inner, parts

    def build(self, systems, context):
        return []


@dataclass(frozen=True)
class SettingsDuck:
    size: int = 1

    def build(self, systems, context):
        return []


class SettingsNoBuilder:
    def build(self):
        return []


KEEPS, DUCK = type_path(SettingsKeeps), type_path(SettingsDuck)


def faults(written):
    with pytest.raises(ValidationError) as caught:
        SchedulerSettings.model_validate(written)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


def short(written):
    return SchedulerSettings.model_validate(written).model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ({}, {}),
        ({"group_builder": "priority"}, {}),
        ({"group_builder": {"name": "priority", "parameters": {}, "fingerprint": None}}, {}),
        ({"max_concurrent": None, "retry_policy": {"max_attempts": 1}, "conflicts": "resolve"}, {}),
        ({"retry_policy": {"max_attempts": 3}}, {"retry_policy": {"max_attempts": 3}}),
        ({"group_builder": "single"}, {"group_builder": {"name": "single"}}),
        (
            {"group_builder": {"name": "frequency", "parameters": {"inner": "dependency"}}},
            {"group_builder": {"name": "frequency", "parameters": {"inner": {"name": "dependency"}}}},
        ),
        (
            {"group_builder": {"name": "frequency", "parameters": {"inner": "priority"}}},
            {"group_builder": {"name": "frequency"}},
        ),
        (
            {"group_builder": {"name": "condition", "parameters": {"inner": None}}},
            {"group_builder": {"name": "condition"}},
        ),
        (
            {"group_builder": "archetype.core.scheduling.builders.SingleGroupBuilder"},
            {"group_builder": {"name": "single"}},
        ),
        (
            {"group_builder": DUCK},
            {"group_builder": {"name": DUCK, "fingerprint": class_fingerprint(SettingsDuck)}},
        ),
        (
            {"group_builder": {"name": "gone.Builder", "fingerprint": "0" * 64, "parameters": {"a": 1}}},
            {"group_builder": {"name": "gone.Builder", "fingerprint": "0" * 64, "parameters": {"a": 1}}},
        ),
    ],
    ids=json.dumps,
)
def test_what_people_write_is_kept_in_one_short_form(written, kept):
    assert short(written) == kept
    assert SchedulerSettings.model_validate(kept) == SchedulerSettings.model_validate(written)


def test_builders_inside_a_classes_parameters_are_told_apart():
    form = {"name": DUCK, "parameters": {"size": 2}}
    parameters = {"inner": {"name": "single"}, "parts": [form, "single", {"name": "x", "more": 1}]}
    recorded = short({"group_builder": {"name": KEEPS, "parameters": parameters}})["group_builder"][
        "parameters"
    ]
    assert recorded["parts"][0] == {**form, "fingerprint": class_fingerprint(SettingsDuck)}
    assert recorded["parts"][1:] == ["single", {"name": "x", "more": 1}]
    assert recorded["inner"] == {"name": "single"}


@pytest.mark.parametrize(
    ("builder", "path", "message"),
    [
        ("nope", "", "choose one of priority, single, sequential, dependency, frequency, condition, or"),
        ("gone.Builder", "", "names gone.Builder"),
        (type_path(SettingsNoBuilder), "", "build(systems, context)"),
        ("subprocess.Popen", "", "no builder"),
        (7, "", "name"),
        ({}, ".name", "required"),
        ({"name": 7}, ".name", "string"),
        ({"name": "single", "size": 1}, ".size", "not permitted"),
        ({"name": "single", "parameters": {"inner": "priority"}}, ".parameters", "no parameter inner"),
        ({"name": "frequency", "parameters": {"other": 1, "inner": "single"}}, ".parameters", "other"),
        ({"name": "frequency", "parameters": {"inner": "nope"}}, ".parameters.inner", "choose one of"),
        ({"name": "frequency", "parameters": {"inner": {"name": "x.Y"}}}, ".parameters.inner", "x.Y"),
        ({"name": "frequency", "parameters": {"inner": [1]}}, ".parameters", "inner must be a builder"),
        ({"name": "single", "fingerprint": "0" * 64}, ".fingerprint", "leave it away"),
        ({"name": "gone.Builder", "fingerprint": "zz"}, ".fingerprint", "pattern"),
        ({"name": DUCK, "parameters": {"size": float("nan")}}, ".parameters.size", "must be JSON"),
        ({"name": DUCK, "parameters": {"size": {1, 2}}}, ".parameters.size", "must be JSON"),
    ],
)
def test_faults_name_their_place_and_the_remedy(builder, path, message):
    found = faults({"group_builder": builder})
    assert list(found) == [f"group_builder{path}"]
    assert message in found[f"group_builder{path}"]


def test_endless_nesting_is_refused():
    form = {"name": "single"}
    for _ in range(2000):
        form = {"name": "frequency", "parameters": {"inner": form}}
    (message,) = faults({"group_builder": form}).values()
    assert message == "is nested too deeply"


@pytest.mark.parametrize(
    "fields",
    [
        {"max_concurrent": 0},
        {"max_concurrent": 1.0},
        {"max_concurrent": True},
        {"conflicts": "ignore"},
        {"workers": 3},
        {"retry_policy": {"max_attempts": 0}},
        {"retry_policy": {"backoff": "cubic"}},
        {"retry_policy": {"base_delay": -1}},
        {"retry_policy": {"jitter": float("inf")}},
        {"retry_policy": {"timeout": 0}},
        {"retry_policy": {"on_exhausted": "retry"}},
        {"retry_policy": {"retries": 3}},
    ],
    ids=repr,
)
def test_nonsense_is_refused(fields):
    found = faults(fields)
    (name,) = fields
    assert len(found) == 1
    assert next(iter(found)).startswith(name)


def test_settings_do_not_change():
    settings = BuilderSettings(name="single")
    with pytest.raises(ValidationError, match="frozen"):
        settings.name = "priority"


seconds = st.one_of(st.integers(0, 100), st.floats(0, 100))
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff=st.sampled_from(["none", "linear", "exponential"]),
    base_delay=seconds,
    max_delay=st.none() | seconds,
    jitter=seconds,
    timeout=st.none() | st.floats(0, 100, exclude_min=True),
    on_exhausted=st.sampled_from(["fail", "skip"]),
)
configs = st.builds(
    SchedulerConfig,
    max_concurrent=st.none() | st.integers(1, 10_000),
    retry_policy=policies,
    conflicts=st.sampled_from(["resolve", "warn", "error"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: "name" not in json.dumps(value))
builders = st.recursive(
    st.sampled_from(sorted(BUILT_IN_BUILDERS)).map(lambda name: BUILT_IN_BUILDERS[name]())
    | st.builds(SettingsDuck, json_values),
    lambda inner: st.one_of(
        st.builds(BUILT_IN_BUILDERS["frequency"], inner),
        st.builds(BUILT_IN_BUILDERS["condition"], inner),
        st.builds(SettingsKeeps, json_values, inner=st.none() | inner, parts=st.lists(inner, max_size=2)),
    ),
    max_leaves=4,
)


@given(configs, builders)
def test_what_is_recorded_is_built_again(config, builder):
    scheduler = SimpleScheduler(config, builder)
    spelled = json.dumps(settings_of(scheduler).model_dump(exclude_defaults=True), allow_nan=False)
    again = SchedulerSettings.model_validate(json.loads(spelled))
    assert again == settings_of(scheduler)
    assert json.dumps(again.model_dump(exclude_defaults=True)) == spelled
    built = scheduler_from(again)
    assert built == scheduler
    assert hash(built) == hash(scheduler)
    assert built.config == config
    assert type(built.group_builder) is type(builder)
