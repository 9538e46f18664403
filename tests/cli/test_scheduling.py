"""`archetype world … --scheduler`, `plan`, `executions` and `conflicts` against a real server."""

from __future__ import annotations

import csv
import io
import json
from uuid import uuid4

import pytest

from archetype.cli.arguments import SCHEDULER_NAMES, complete_scheduler
from archetype.core.scheduling.settings import BUILT_IN_BUILDERS


@pytest.fixture
def world(archetype) -> str:
    """A new world's name; two systems of a group write its only score."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name, "--scheduler", "frequency").code == 0
    for processor in ("served_home", "served_guest", "served_referee"):
        assert archetype("processor", "add", name, processor).code == 0
    assert archetype("entity", "spawn", name, "-c", "ServedScore").code == 0
    return name


def builder_of(shown) -> str | None:
    return shown["scheduler"] and shown["scheduler"]["group_builder"]["name"]


def test_a_scheduler_is_named_or_spelled(archetype, world, tmp_path, monkeypatch):
    """A plain name, JSON, a file, standard input, and `default`; snapshots stay beside it."""
    assert builder_of(archetype("world", "inspect", world).json) == "frequency"
    configure = ("world", "configure", world, "--scheduler")
    assert builder_of(archetype(*configure, "dependency", "--snapshots", 5).json) == "dependency"
    spelled = archetype(*configure, '{"conflicts": "warn", "retry_policy": {"max_attempts": 3}}').json
    assert (builder_of(spelled), spelled["snapshots"]) == ("priority", 5)
    assert spelled["scheduler"]["retry_policy"]["max_attempts"] == 3
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"group_builder": {"name": "condition", "parameters": {"inner": "single"}}}))
    assert builder_of(archetype(*configure, f"@{path}").json) == "condition"
    monkeypatch.setattr("sys.stdin", io.StringIO("single\n"))
    assert builder_of(archetype(*configure, "-").json) == "single"
    assert archetype("world", "configure", world, "--snapshots", 2).json["scheduler"] is not None
    assert archetype(*configure, "default").json["scheduler"] is None
    plain = archetype("world", "create", f"{world}-plain", "--scheduler", "default").json
    assert plain["scheduler"] is None


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "singel",
            "error: scheduler.group_builder: names singel, which is no builder: choose one of priority",
        ),
        ("my_sim.Builder", "error: scheduler.group_builder: names my_sim.Builder, which is no builder"),
        ('{"conflicts": "maybe"}', "error: scheduler.conflicts: "),
        ('{"retry_policy": {"max_attempts": 0}}', "error: scheduler.retry_policy.max_attempts: "),
        ('{"conflicts"', "error: --scheduler: '{\"conflicts\"' is not JSON"),
        ("[]", "error: --scheduler: must be a JSON object such as {}, not []"),
        ("@none.json", "error: --scheduler: none.json cannot be read"),
    ],
    ids=["name", "class", "conflicts", "attempts", "no-json", "no-object", "no-file"],
)
def test_a_bad_scheduler_is_refused_by_its_field(archetype, world, given, line):
    """A usage error, whether a world is made or changed."""
    for arguments in (("create", f"{world}-other"), ("configure", world)):
        failed = archetype("world", *arguments, "--scheduler", given)
        assert (failed.code, failed.out) == (2, "")
        assert failed.err.startswith(line), failed.err
    assert archetype("world", "inspect", f"{world}-other").code == 4


def test_a_change_names_a_setting(archetype, world):
    """Without one there is nothing to do."""
    failed = archetype("world", "configure", world)
    assert (failed.code, failed.err) == (
        2,
        "error: nothing to change; give --snapshots, --scheduler or both\n",
    )


def test_names_of_schedulers_complete():
    """Those that every server knows."""
    assert set(SCHEDULER_NAMES) == {"default", *BUILT_IN_BUILDERS}
    assert complete_scheduler("s") == ["single", "sequential"]
    assert complete_scheduler("@") == []


def test_the_plan_of_the_next_tick(archetype, world):
    """A line each processor, then what overlaps and who is not due; JSON has all."""
    archetype("step", world)
    plan = ("world", "plan", world)
    header, *lines = archetype(*plan, "-o", "table").out.splitlines()
    assert header.split()[:4] == ["group", "name", "kind", "priority"]
    assert [line.split()[:6] for line in lines[:2]] == [
        ["0", "served_home", "system", "10", "ServedScore", "ServedScore"],
        ["0", "served_guest", "system", "10", "ServedScore", "ServedScore"],
    ]
    assert lines[2:] == [
        "group 0: served_home and served_guest both write ServedScore: points sum, winner last",
        "not due at tick 1: served_referee",
    ]
    found = archetype(*plan).json
    assert (found["tick"], found["not_due"]) == (1, ["served_referee"])
    rows = list(csv.DictReader(io.StringIO(archetype(*plan, "-o", "csv").out)))
    assert [(row["group"], row["name"], row["writes"]) for row in rows] == [
        ("0", "served_home", '["ServedScore"]'),
        ("0", "served_guest", '["ServedScore"]'),
    ]


def test_rights_are_spelled_for_people(archetype, world):
    """All, some or none."""
    archetype("processor", "add", world, "MovementProcessor")
    table = archetype("world", "plan", world, "-o", "table", "--columns", "name,reads,writes").out
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["MovementProcessor"] == ["everything", "everything"]
    assert rows["served_referee"] == ["ServedScore", "nothing"]


def test_a_plan_that_is_refused(archetype, world):
    """A line that names the processor and the remedy, and 1 as for a step."""
    archetype("world", "configure", world, "--scheduler", "single")
    for arguments in (("world", "plan", world), ("step", world)):
        failed = archetype(*arguments)
        assert (failed.code, failed.out) == (1, "")
        assert failed.err.startswith("error: Processor served_referee declares every=2")
    assert archetype("world", "plan", "nowhere").code == 4
    assert archetype("world", "plan", f"{world}@0").code == 2


def test_what_ran_is_told(archetype, world):
    """A line each execution, of all ticks or a range."""
    archetype("run", world, "--steps", 3)
    executions = ("world", "executions", world)
    rows = list(csv.DictReader(io.StringIO(archetype(*executions, "-o", "csv").out)))
    assert [row["tick"] for row in rows] == ["0"] * 3 + ["1"] * 2 + ["2"] * 3
    assert (rows[0]["processor"], rows[0]["status"], rows[0]["rows"]) == ("served_home", "done", "1")
    header, first, *_ = archetype(*executions, "-o", "table").out.splitlines()
    assert header.split()[:4] == ["tick", "group", "processor", "status"]
    assert first.split()[:6] == ["0", "0", "served_home", "done", "1", "1"]
    assert [each["tick"] for each in archetype(*executions, "--from", 1, "--to", 2).json] == [1]
    assert [each["tick"] for each in archetype("world", "executions", f"{world}@1").json] == [0, 1]
    assert archetype(*executions, "--to", 4).code == 4


def test_conflicts_are_listed(archetype, world):
    """Who wrote what, by tick; none where nothing was contested."""
    archetype("run", world, "--steps", 2)
    conflicts = ("world", "conflicts", world)
    found = archetype(*conflicts).json
    assert [(each["tick"], each["field"], each["resolution"]) for each in found] == [
        (0, "points", "sum"),
        (0, "winner", "last"),
        (1, "points", "sum"),
        (1, "winner", "last"),
    ]
    assert found[1]["winners"] == ["served_guest"]
    assert len(archetype(*conflicts, "--from", 1).json) == 2
    archetype(
        "world", "configure", world, "--scheduler", '{"group_builder": "frequency", "conflicts": "error"}'
    )
    assert archetype("step", world).code == 1
    archetype("processor", "remove", world, "served_referee")
    archetype("world", "configure", world, "--scheduler", "sequential")
    archetype("step", world)
    assert archetype(*conflicts, "--from", 2).json == []


def test_processors_show_what_they_declare(archetype, world):
    """Their kind and rights stand in the table."""
    header, *_ = archetype("processors", world, "-o", "table").out.splitlines()
    assert {"kind", "reads", "writes"} <= set(header.split())
    kinds = {each["name"]: each["kind"] for each in archetype("processors", world).json}
    assert kinds["served_home"] == "system"
