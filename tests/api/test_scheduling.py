"""Scheduling over HTTP: a world's scheduler, its plan, what ran, and what is refused."""

from __future__ import annotations

from typing import Annotated, Self

import pytest

from archetype import AsyncProcessor, Component
from archetype.api.schemas.scheduling import PlanResponse, TickExecutionsResponse
from archetype.core.registry import type_path
from archetype.core.scheduling.settings import BUILT_IN_BUILDERS
from archetype.scheduling import Combine, ExecutionGroup, ExecutionGroupBuilder, RetryPolicy, system


class FaceTally(Component):
    total: Annotated[int, Combine("sum")] = 0
    note: str = ""


class FaceMood(Component):
    level: int = 0

    def __combine__(self, other: Self) -> Self:
        return type(self)(level=max(self.level, other.level))


class FaceMark(Component):
    by: str = ""


@system(reads=(FaceTally,), writes=(FaceTally, FaceMood, FaceMark))
def face_one(access):
    for entity_id, tally, mood, _ in access(FaceTally, FaceMood, FaceMark):
        access[entity_id, FaceTally] = FaceTally(total=1, note=tally.note)
        access[entity_id, FaceMood] = FaceMood(level=mood.level + 1)
        access[entity_id, FaceMark] = FaceMark(by="one")


@system(writes=(FaceTally, FaceMood, FaceMark))
def face_two(access):
    for entity_id, tally, _, _ in access(FaceTally, FaceMood, FaceMark):
        access[entity_id, FaceTally] = FaceTally(total=10, note=tally.note)
        access[entity_id, FaceMood] = FaceMood(level=7)
        access[entity_id, FaceMark] = FaceMark(by="two")


@system.readonly(every=2, offset=1, depends_on=("face_one",), condition=lambda access: access.tick > 3)
def face_look(access):
    """Looks every other tick."""


@system.dev(retry_policy=RetryPolicy(max_attempts=3))
def face_alone(access):
    """Does nothing, by itself."""


@system(reads=(FaceMark,))
def face_trespasser(access):
    for entity_id, _ in access(FaceMark):
        access[entity_id, FaceMark] = FaceMark(by="nobody")


@system(retry_policy=RetryPolicy(max_attempts=2))
def face_broken(access):
    message = "no luck"
    raise ValueError(message)


@system(retry_policy=RetryPolicy(max_attempts=2, on_exhausted="skip"))
def face_unlucky(access):
    message = "no luck"
    raise ValueError(message)


@system(writes=(FaceMark,))
def face_mother(access):
    for _ in range(3):
        access.spawn(FaceMark(by="mother"))


class FaceFrame(AsyncProcessor):
    components = (FaceTally,)
    writes = (FaceTally,)
    every = 3

    async def process(self, df, **kwargs):
        return df


class FaceBuilder(ExecutionGroupBuilder):
    """Deals the processors out to so many groups."""

    def __init__(self, step: int = 2) -> None:
        self.step = step

    def build(self, systems, context):
        return [ExecutionGroup(systems[start :: self.step]) for start in range(self.step)]


async def make(client, *names: str, **scheduler) -> str:
    """Make the world `demo` of one entity, with these processors."""
    world = (await client.post("/worlds", json={"name": "demo", "scheduler": scheduler})).json()["world_id"]
    for name in names:
        command = {"type": "add_processor", "payload": {"processor": name}}
        assert (await client.post("/worlds/demo/commands", json=command)).status_code == 202
    kinds = [{"type": name} for name in ("FaceTally", "FaceMood", "FaceMark")]
    assert (await client.post("/worlds/demo/entities", json={"components": kinds})).status_code == 202
    return world


SETTINGS = {
    "max_concurrent": 4,
    "retry_policy": {
        "max_attempts": 2,
        "backoff": "linear",
        "base_delay": 0.0,
        "max_delay": None,
        "jitter": 0.0,
        "timeout": 5.0,
        "on_exhausted": "skip",
    },
    "conflicts": "warn",
    "group_builder": {
        "name": "frequency",
        "parameters": {"inner": {"name": "dependency"}},
        "fingerprint": None,
    },
}


async def test_a_world_s_scheduler_is_given_shown_and_changed(http) -> None:
    """As it was given, in full; null is the default one; what is not named stays, and a fork has it."""
    made = await http.post("/worlds", json={"name": "demo", "scheduler": SETTINGS})
    assert (made.status_code, made.json()["scheduler"]) == (201, SETTINGS)
    assert (await http.get("/worlds/demo")).json()["scheduler"] == SETTINGS
    assert (await http.get("/worlds")).json()[0]["scheduler"] == SETTINGS
    kept = (await http.patch("/worlds/demo", json={"snapshots": 3})).json()
    assert (kept["snapshots"], kept["scheduler"]) == (3, SETTINGS)
    assert (await http.post("/worlds/demo/fork", json={"name": "alike"})).json()["scheduler"] == SETTINGS
    short = (await http.patch("/worlds/demo", json={"scheduler": {"group_builder": "single"}})).json()
    assert (short["snapshots"], short["scheduler"]["conflicts"]) == (3, "resolve")
    assert short["scheduler"]["group_builder"] == {"name": "single", "parameters": {}, "fingerprint": None}
    assert (await http.patch("/worlds/demo", json={"scheduler": None})).json()["scheduler"] is None
    assert (await http.post("/worlds", json={"name": "plain", "scheduler": None})).json()["scheduler"] is None
    newest = (await http.get("/worlds/demo/history")).json()[-1]
    assert (newest["type"], newest["payload"]) == ("configure_world", {"config": {"scheduler": None}})


@pytest.mark.parametrize(
    ("scheduler", "path", "words"),
    [
        ({"max_concurrent": 0}, "scheduler.max_concurrent", "greater than or equal to 1"),
        ({"conflicts": "ignore"}, "scheduler.conflicts", "'resolve', 'warn' or 'error'"),
        ({"retry_policy": {"tries": 2}}, "scheduler.retry_policy.tries", "not permitted"),
        ({"retry_policy": {"backoff": "slow"}}, "scheduler.retry_policy.backoff", "'linear'"),
        ({"group_builder": "singel"}, "scheduler.group_builder", ", ".join(BUILT_IN_BUILDERS)),
        (
            {"group_builder": {"name": "condition", "parameters": {"inner": "no"}}},
            "scheduler.group_builder.parameters.inner",
            "no builder",
        ),
        ("single", "scheduler", "dictionary"),
    ],
    ids=["concurrency", "conflicts", "unknown", "backoff", "builder", "inner", "no-object"],
)  # fmt: skip
async def test_a_bad_scheduler_is_refused_by_its_field(lite, problem, scheduler, path, words) -> None:
    """422 with the path of the field, whether a world is made or changed; nothing is written."""
    await lite.post("/worlds", json={"name": "demo"})
    for response in (
        await lite.post("/worlds", json={"name": "other", "scheduler": scheduler}),
        await lite.patch("/worlds/demo", json={"scheduler": scheduler}),
    ):
        (fault,) = problem(response, 422, "invalid_input")["errors"]
        assert fault["path"] == path
        assert words in fault["message"]
    (world,) = (await lite.get("/worlds")).json()
    assert (world["version"], world["scheduler"]) == (1, None)


async def test_the_plan_of_the_next_tick(http) -> None:
    """Groups with their processors, what overlaps and how it combines; nothing is run, nothing written."""
    world = await make(
        http, "face_one", "face_two", "FaceFrame", "face_alone", group_builder="frequency", max_concurrent=2
    )
    await http.post("/worlds/demo/step")
    version = (await http.get("/worlds/demo")).json()["version"]
    answer = await http.get("/worlds/demo/plan")
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert PlanResponse(**plan).model_dump(mode="json") == plan
    assert (plan["world_id"], plan["tick"], plan["not_due"]) == (world, 1, ["FaceFrame"])
    assert plan["scheduler"]["group_builder"]["name"] == "frequency"
    alone, both = plan["groups"]
    assert [each["name"] for each in alone["processors"]] == ["face_alone"]
    assert alone["overlaps"] == []
    (dev,) = alone["processors"]
    assert (dev["reads"], dev["writes"], dev["retry_policy"]["max_attempts"]) == (None, None, 3)
    assert both["number"] == 1
    assert [(each["index"], each["name"], each["kind"]) for each in both["processors"]] == [
        (0, "face_one", "system"),
        (1, "face_two", "system"),
    ]
    assert both["processors"][0]["reads"] == ["FaceMark", "FaceMood", "FaceTally"], "a write implies the read"
    assert both["processors"][1]["writes"] == ["FaceMark", "FaceMood", "FaceTally"]
    pair = ["face_one", "face_two"]
    assert both["overlaps"] == [
        {"component": "FaceMark", "processors": pair, "resolution": "last"},
        {"component": "FaceMood", "processors": pair, "resolution": "combine"},
        {"component": "FaceTally", "processors": pair, "resolution": {"total": "sum", "note": "last"}},
    ]
    assert (await http.get("/worlds/demo")).json()["version"] == version
    assert (await http.get("/worlds/demo/plan")).json() == plan


async def test_the_plan_before_the_first_tick_has_what_waits(lite) -> None:
    """The processors of the next tick, as the default scheduler runs them: a group each."""
    await lite.post("/worlds", json={"name": "demo"})
    empty = (await lite.get("/worlds/demo/plan")).json()
    assert (empty["tick"], empty["groups"]) == (0, [])
    assert empty["scheduler"]["group_builder"]["name"] == "sequential"
    for name in ("face_two", "face_one"):
        command = {"type": "add_processor", "payload": {"processor": name}}
        await lite.post("/worlds/demo/commands", json=command)
    groups = (await lite.get("/worlds/demo/plan")).json()["groups"]
    assert [[each["name"] for each in group["processors"]] for group in groups] == [
        ["face_two"],
        ["face_one"],
    ]


async def test_a_plan_that_is_refused(lite, problem) -> None:
    """409 that names the processors, for the plan and for the step; another scheduler lets them run."""
    await make(lite, "face_one", "face_look", group_builder="single")
    for response in (await lite.get("/worlds/demo/plan"), await lite.post("/worlds/demo/step")):
        document = problem(response, 409, "plan_refused")
        assert document["processors"] == ["face_look"]
        assert "FrequencyGroupBuilder" in document["detail"]
    nested = {"name": "condition", "parameters": {"inner": "dependency"}}
    scheduler = {"group_builder": {"name": "frequency", "parameters": {"inner": nested}}}
    assert (await lite.patch("/worlds/demo", json={"scheduler": scheduler})).status_code == 200
    assert (await lite.get("/worlds/demo/plan")).json()["not_due"] == ["face_look"]
    assert (await lite.post("/worlds/demo/step")).status_code == 200


async def test_a_builder_of_one_s_own(http, problem) -> None:
    """Named by its class, recorded with its fingerprint; other code under that name is 409."""
    builder = {"name": type_path(FaceBuilder), "parameters": {"step": 3}}
    await make(http, "face_one", "face_two", "face_alone", "face_mother", group_builder=builder)
    shown = (await http.get("/worlds/demo")).json()["scheduler"]["group_builder"]
    assert (shown["name"], shown["parameters"]) == (builder["name"], {"step": 3})
    assert len(shown["fingerprint"]) == 64
    groups = (await http.get("/worlds/demo/plan")).json()["groups"]
    assert [[each["name"] for each in group["processors"]] for group in groups] == [
        ["face_one", "face_mother"],
        ["face_two"],
        ["face_alone"],
    ]
    other = {"group_builder": shown | {"fingerprint": "0" * 64}}
    assert (await http.patch("/worlds/demo", json={"scheduler": other})).status_code == 200
    for response in (await http.get("/worlds/demo/plan"), await http.post("/worlds/demo/step")):
        document = problem(response, 409, "code_changed")
        assert (document["name"], document["recorded"]) == (builder["name"], "0" * 64)
        assert document["loaded"] == shown["fingerprint"]
    gone = {"group_builder": {"name": "gone.Builder", "fingerprint": "0" * 64}}
    await http.patch("/worlds/demo", json={"scheduler": gone})
    document = problem(await http.get("/worlds/demo/plan"), 409, "code_not_loaded")
    assert (document["name"], document["module"]) == ("gone.Builder", "gone")


async def test_a_plan_is_of_the_world_itself_and_of_its_own_code(
    http, world, define, restarted, problem
) -> None:
    """422 for a tick, 404 for no world, 409 where the recorded code is another."""
    kept = [define(1.0)]
    await http.post("/worlds/demo/commands", json={"type": "add_processor", "payload": {"processor": "Push"}})
    await http.post("/worlds/demo/step")
    assert (
        problem(await http.get("/worlds/demo@0/plan"), 422, "invalid_input")["errors"][0]["path"] == "world"
    )
    problem(await http.get("/worlds/nowhere/plan"), 404, "world_not_found")
    kept.append(define(3.0))
    async with restarted() as server:
        assert problem(await server.get("/worlds/demo/plan"), 409, "code_changed")["name"] == "Push"


async def test_what_ran_is_told_by_tick(http, problem) -> None:
    """Executions, conflicts with what became of them, and the ids of what was spawned."""
    await make(http, "face_one", "face_two", "face_mother", "face_unlucky", group_builder="single")
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    answer = await http.get("/worlds/demo/executions")
    assert answer.status_code == 200, answer.text
    ticks = answer.json()
    assert [TickExecutionsResponse(**each).model_dump(mode="json") for each in ticks] == ticks
    assert [each["tick"] for each in ticks] == [0, 1, 2]
    first = ticks[0]
    assert first["compute_ms"] > 0
    assert [(each["processor"], each["status"], each["attempts"]) for each in first["executions"]] == [
        ("face_one", "done", 1),
        ("face_two", "done", 1),
        ("face_mother", "done", 1),
        ("face_unlucky", "skipped", 2),
    ]
    one, _, mother, unlucky = first["executions"]
    assert (one["group"], one["index"], one["archetypes"], one["rows"]) == (0, 0, 1, 1)
    assert (one["spawned"], one["failures"]) == (0, [])
    assert (mother["spawned"], mother["cells"]) == (3, 0)
    assert ["ValueError: no luck" in each["error"] for each in unlucky["failures"]] == [True, True]
    assert first["spawned"] == [{"first_entity_id": 2, "entity_count": 3}]
    assert [each["first_entity_id"] for tick in ticks for each in tick["spawned"]] == [2, 5, 8]
    by_field = {(each["component"], each["field"]): each for each in first["conflicts"]}
    assert {key: each["resolution"] for key, each in by_field.items()} == {
        ("FaceMark", None): "last",
        ("FaceMood", None): "combine",
        ("FaceTally", "note"): "last",
        ("FaceTally", "total"): "sum",
    }
    mark = by_field["FaceMark", None]
    assert mark == {
        "group": 0,
        "component": "FaceMark",
        "field": None,
        "writers": ["face_one", "face_two"],
        "resolution": "last",
        "winners": ["face_two"],
        "entity_count": 1,
        "entity_ids": [1],
    }
    assert by_field["FaceTally", "total"]["winners"] == ["face_one", "face_two"]


async def test_executions_come_for_a_range_and_up_to_a_reference(lite, problem, monkeypatch) -> None:
    """Half-open; what lies outside is 404, what ends before it begins 422, too many ticks 413."""
    await make(lite, "face_two")
    await lite.post("/worlds/demo/run", json={"num_steps": 4})

    async def ticks(path: str) -> list[int]:
        return [each["tick"] for each in (await lite.get(path)).json()]

    assert await ticks("/worlds/demo/executions?from_tick=1&to_tick=3") == [1, 2]
    assert await ticks("/worlds/demo@1/executions") == [0, 1]
    await lite.post("/worlds/demo@1/fork", json={"name": "what-if"})
    await lite.post("/worlds/what-if/step")
    assert await ticks("/worlds/what-if/executions") == [0, 1, 2]
    problem(await lite.get("/worlds/demo/executions?to_tick=5"), 404, "tick_not_found")
    problem(await lite.get("/worlds/demo/executions?from_tick=3&to_tick=1"), 422, "invalid_input")
    problem(await lite.get("/worlds/nowhere/executions"), 404, "world_not_found")
    monkeypatch.setattr("archetype.service.ranges.RANGE_TICKS_MAX", 3)
    problem(await lite.get("/worlds/demo/executions"), 413, "limit_exceeded")


async def test_a_trespass_names_processor_component_and_access(lite, problem) -> None:
    """500, tried once whatever the policy says; nothing of the tick is kept."""
    policy = {"max_attempts": 5, "on_exhausted": "skip"}
    await make(lite, "face_trespasser", retry_policy=policy)
    document = problem(await lite.post("/worlds/demo/step"), 500, "access_violation")
    facts = [document[name] for name in ("processor", "component", "access")]
    assert facts == ["face_trespasser", "FaceMark", "write"]
    assert len(document["attempts"]) == 1
    assert (await lite.get("/worlds/demo")).json()["tick"] == 0


async def test_a_processor_that_fails_tells_its_attempts(lite, problem) -> None:
    """500 with what each raised, and how long it took."""
    await make(lite, "face_broken")
    document = problem(await lite.post("/worlds/demo/step"), 500, "processor_failed")
    assert (document["processor"], document["tick"]) == ("face_broken", 0)
    assert [list(each) for each in document["attempts"]] == [["ms", "error"]] * 2
    assert all("no luck" in each["error"] for each in document["attempts"])


async def test_conflicts_that_the_world_refuses(lite, problem) -> None:
    """409 with each that no rule combines; the world's setting, or another plan, lets them pass."""
    await make(lite, "face_one", "face_two", conflicts="error")
    document = problem(await lite.post("/worlds/demo/step"), 409, "write_conflict")
    assert document["tick"] == 0
    lost = {(each["component"], each["field"]): each for each in document["conflicts"]}
    assert list(lost) == [("FaceMark", None), ("FaceTally", "note")]
    conflict = lost["FaceMark", None]
    assert (conflict["writers"], conflict["entity_ids"]) == (["face_one", "face_two"], [1])
    await lite.patch("/worlds/demo", json={"scheduler": {"conflicts": "resolve"}})
    assert (await lite.post("/worlds/demo/step")).status_code == 200
    components = (await lite.get("/worlds/demo/entities/1")).json()["components"]
    assert components["FaceTally"] == {"total": 11, "note": ""}
    assert (components["FaceMood"], components["FaceMark"]) == ({"level": 7}, {"by": "two"})


DECLARED = {
    "face_one": {"kind": "system", "reads": ["FaceTally"], "writes": ["FaceMark", "FaceMood", "FaceTally"]},
    "face_look": {
        "kind": "system",
        "reads": ["Component"],
        "writes": [],
        "depends_on": ["face_one"],
        "every": 2,
        "offset": 1,
        "has_condition": True,
    },
    "FaceFrame": {"kind": "frame", "components": ["FaceTally"], "writes": ["FaceTally"], "every": 3},
}
PLAIN = {
    "reads": None,
    "depends_on": [],
    "every": 1,
    "offset": 0,
    "runs_alone": False,
    "has_condition": False,
    "retry_policy": None,
}


@pytest.mark.parametrize("name", DECLARED)
async def test_processors_show_what_they_declare(lite, name) -> None:
    """Those that are loaded, and those of a world as they are recorded."""
    await make(lite, name)
    await lite.post("/worlds", json={"name": "other"})
    expected = PLAIN | DECLARED[name]
    (own,) = (await lite.get("/worlds/demo/processors")).json()
    loaded = {each["name"]: each for each in (await lite.get("/processors")).json()}
    for shown in (own, loaded[name]):
        assert {key: shown[key] for key in expected} == expected
    assert loaded["face_alone"]["runs_alone"] is True
    assert loaded["face_alone"]["retry_policy"]["max_attempts"] == 3
