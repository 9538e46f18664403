"""The commands against a real server: what they print, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from uuid import uuid4

import pytest

from archetype.clock import new_id

POSITION = 'Position={"x": 1, "y": 2}'
VELOCITY = 'Velocity={"dx": 0.5, "dy": 0.25}'


@pytest.fixture
def world(archetype) -> str:
    """A new world's name; its points move."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name, "--seed", 7).code == 0
    assert archetype("processor", "add", name, "MovementProcessor").code == 0
    return name


@pytest.fixture
def peopled(archetype, world) -> str:
    """A world of one moving point, three ticks old."""
    archetype("entity", "spawn", world, "-c", POSITION, "-c", VELOCITY)
    archetype("run", world, "--steps", 3)
    return world


def test_status(archetype, server):
    """The server's name, and that it is ready."""
    found = archetype("status").json
    assert (found["url"], found["is_ready"], found["name"]) == (server.url, True, "archetype-log")


def test_worlds_are_made_listed_inspected_forked_and_removed(archetype, peopled):
    """The life of a world."""
    assert archetype("world", "inspect", peopled).json["tick"] == 3
    fork = archetype("world", "fork", peopled, "--tick", 1, "--name", f"{peopled}-fork").json
    assert (fork["fork_tick"], fork["tick"]) == (1, 2)
    assert {peopled, fork["name"]} <= {each["name"] for each in archetype("world", "list").json}
    assert archetype("world", "remove", fork["name"], "--reason", "tested", "--yes").out == ""
    assert archetype("world", "inspect", fork["name"]).code == 4


def test_forks_begin_where_they_are_told_and_come_in_numbers(archetype, peopled):
    """At a reference's tick, with a seed, with what waits; many at once are a list."""
    archetype("entity", "spawn", peopled, "-c", POSITION)
    fork = archetype("world", "fork", f"{peopled}@-1", "--name", f"{peopled}-a", "--seed", 9).json
    assert (fork["fork_tick"], fork["seed"]) == (1, 9)
    archetype("world", "fork", peopled, "--name", f"{peopled}-b", "--include-pending")
    assert archetype("step", f"{peopled}-b").json["commands_applied"] == 1
    many = archetype("world", "fork", f"{peopled}@0", "--name", f"{peopled}-c", "--count", 3).json
    assert [(each["name"], each["fork_tick"]) for each in many] == [
        (f"{peopled}-c-{number}", 0) for number in (1, 2, 3)
    ]
    assert archetype("world", "fork", f"{peopled}@1", "--tick", 2).code == 2


def test_ticks_are_labelled(archetype, peopled):
    """A label stands for its tick until it is removed."""
    assert archetype("world", "label", f"{peopled}@1", "base").json["tick"] == 1
    assert archetype("world", "label", peopled, "first", "--tick", 0).json["tick"] == 0
    assert [each["name"] for each in archetype("world", "labels", peopled).json] == ["first", "base"]
    assert archetype("query", f"{peopled}@base").json["tick"] == 1
    assert archetype("world", "label", peopled, "base").code == 5
    assert archetype("world", "unlabel", peopled, "base").out == ""
    assert archetype("world", "unlabel", peopled, "base").code == 4
    assert archetype("query", f"{peopled}@base").code == 4


def test_when_states_are_stored_is_set(archetype):
    """At birth and later: a number or `needed`; the server says what is neither."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name, "--snapshots", 10).json["snapshots"] == 10
    assert archetype("world", "configure", name, "--snapshots", "needed").json["snapshots"] == "needed"
    assert archetype("world", "configure", name, "--snapshots", "often").code == 2
    assert archetype("world", "configure", name).code == 2


def test_seed_era_options_are_accepted(archetype):
    """--uri and --namespace say nothing to a database, and break no script."""
    name = f"w-{uuid4().hex[:8]}"
    assert archetype("world", "create", name, "--uri", "./data", "--namespace", "a").json["name"] == name


def test_every_form_of_output(archetype, peopled):
    """-o stands before or behind the command, and the later one wins."""
    row = ("world", "list", "--columns", "name,tick")
    assert {"name": peopled, "tick": 3} in archetype(*row, "-o", "json").json
    assert f'{{"name": "{peopled}", "tick": 3}}' in archetype("-o", "ndjson", *row).out.splitlines()
    assert f"{peopled},3" in archetype("-o", "json", *row, "-o", "csv").out.splitlines()
    table = archetype(*row, "-o", "table").out.splitlines()
    assert table[0].split() == ["name", "tick"]
    assert [peopled, "3"] in [line.split() for line in table]
    assert archetype("--no-header", *row, "-o", "table").out.splitlines()[0].split() != ["name", "tick"]


def test_a_step_and_its_inputs(archetype, world):
    """Inputs are JSON; what is none is a usage error that says how to write a text."""
    assert (
        archetype("step", world, "--input", "wind=0.5", "--input", 'from="north"', "--debug").json["tick"]
        == 1
    )
    failed = archetype("step", world, "--input", "from=north")
    assert failed.code == 2
    assert failed.err.startswith("error: --input: 'north' is not JSON")
    assert archetype("step", world, "--input", "wind").code == 2


def test_a_run_reports(archetype, world):
    """Progress is for terminals: nothing is on stderr here."""
    done = archetype("run", world, "-n", 5)
    assert (done.json["ticks_completed"], done.json["final_tick"], done.err) == (5, 5, "")


def test_state_and_components_are_queried(archetype, peopled):
    """State by default, values with --types, at any tick."""
    assert archetype("query", peopled).json["entities"] == {"1": ["Position", "Velocity"]}
    assert archetype("query", peopled, "--entity", 9).json["entities"] == {}
    rows = archetype("query", peopled, "--types", "Position,Velocity", "--tick", 0, "--entity", 1).json[
        "rows"
    ]
    assert rows == [
        {"entity_id": 1, "tick": 0, "Position": {"x": 1.5, "y": 2.25}, "Velocity": {"dx": 0.5, "dy": 0.25}}
    ]
    text = archetype("query", peopled, "--types", "Position", "-o", "csv").out
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"entity_id": "1", "tick": "2", "position__x": "2.5", "position__y": "2.75"}
    ]
    assert archetype("query", peopled, "--tick", 99).code == 4


def test_a_reference_names_a_tick(archetype, peopled):
    """Wherever something is read; the past takes no commands."""
    assert archetype("query", f"{peopled}@0").json == archetype("query", peopled, "--tick", 0).json
    then = archetype("entity", "inspect", f"{peopled}@-2", 1).json
    assert then == archetype("entity", "inspect", peopled, 1, "--tick", 0).json
    failed = archetype("step", f"{peopled}@0")
    assert (failed.code, failed.err.count("\n")) == (2, 1)
    assert "names a tick" in failed.err
    assert archetype("query", f"{peopled}@0", "--tick", 1).code == 2


def test_ranges_are_queried_and_counted(archetype, peopled):
    """Rows of each tick, half-open; bounds beyond the world's are refused."""
    ranged = ("query", peopled, "--from", 1, "--to", 3)
    found = archetype(*ranged, "--types", "Position").json
    assert (found["from_tick"], found["to_tick"]) == (1, 3)
    assert [(row["tick"], row["Position"]["x"]) for row in found["rows"]] == [(1, 2.0), (2, 2.5)]
    text = archetype(*ranged, "-o", "csv").out
    assert [row["tick"] for row in csv.DictReader(io.StringIO(text))] == ["1", "2"]
    assert [each["tick"] for each in archetype(*ranged, "--entity", 9).json["states"]] == [1, 2]
    assert archetype("query", peopled, "--to", 1).json["states"][0]["entities"] == {
        "1": ["Position", "Velocity"]
    }
    assert archetype(*ranged, "--tick", 1).code == 2
    assert archetype("query", peopled, "--from", 9).code == 4
    counts = archetype("world", "counts", peopled).json
    assert [(each["tick"], each["entity_count"]) for each in counts] == [(0, 1), (1, 1), (2, 1)]
    assert len(archetype("world", "counts", peopled, "--from", 1, "--to", 2).json) == 1
    assert archetype("world", "counts", peopled, "--to", 4).code == 4


def test_history_tells_the_commands(archetype, peopled):
    """The newest last, whole in JSON, a choice for people."""
    types = [each["type"] for each in archetype("history", peopled).json]
    assert types == ["create_world", "add_processor", "spawn", "run"]
    assert [each["type"] for each in archetype("history", peopled, "-n", 1).json] == ["run"]
    assert "actor_id" not in archetype("history", peopled, "-o", "table").out


def test_history_goes_through_pages(archetype, world, monkeypatch):
    """A limit beyond one page is filled from several, in order."""
    from archetype.client import ArchetypeClient

    whole = ArchetypeClient.history
    monkeypatch.setattr(
        ArchetypeClient,
        "history",
        lambda self, name, *, limit, **wanted: whole(self, name, limit=min(limit, 2), **wanted),
    )
    for _ in range(3):
        archetype("step", world)
    entries = archetype("history", world).json
    assert [each["type"] for each in entries] == ["create_world", "add_processor", "step", "step", "step"]
    assert len(archetype("history", world, "-n", 3).json) == 3


def test_entities_are_changed(archetype, peopled):
    """Each verb answers with its receipt, and acts in the next tick."""
    assert (
        archetype("entity", "update", peopled, 1, "-c", 'Velocity={"dx": 0}', "-c", 'Velocity={"dx": 1}').code
        == 2
    )
    assert archetype("entity", "update", peopled, 1, "-c", 'Velocity={"dx": 0}').json["type"] == "update"
    assert archetype("entity", "remove-components", peopled, 1, "--types", "Velocity").json["tick"] == 3
    archetype("step", peopled)
    assert archetype("entity", "inspect", peopled, 1).json["components"] == {
        "Position": {"x": 2.5, "y": 2.75}
    }
    assert "Velocity" in archetype("entity", "inspect", peopled, 1, "--tick", 2).json["components"]
    archetype("entity", "add-components", peopled, 1, "-c", "Velocity")
    archetype("step", peopled)
    assert archetype("query", peopled).json["entities"] == {"1": ["Position", "Velocity"]}
    archetype("entity", "despawn", peopled, 1)
    archetype("step", peopled)
    assert archetype("entity", "inspect", peopled, 1).code == 4


@pytest.mark.parametrize("ending", ["json", "ndjson", "csv"])
def test_a_file_of_rows_is_one_command(archetype, world, tmp_path, ending):
    """Rows of any file become entities with ids that follow each other."""
    path = tmp_path / f"rows.{ending}"
    rows = [{"position__x": 1.0, "position__y": 2.0}, {"position__x": 3.0, "position__y": 4.0}]
    match ending:
        case "json":
            path.write_text(json.dumps(rows))
        case "ndjson":
            path.write_text("\n".join(map(json.dumps, rows)))
        case _:
            path.write_text("position__x,position__y\n1,2\n3,4\n")
    receipt = archetype("entity", "spawn", world, "--file", path).json
    assert (receipt["first_entity_id"], receipt["entity_count"]) == (1, 2)
    archetype("step", world)
    found = archetype("query", world, "--types", "Position").json["rows"]
    assert [row["Position"] for row in found] == [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}]
    assert [each["type"] for each in archetype("history", world).json].count("spawn") == 1


def test_a_bad_file_lists_its_columns(archetype, world, tmp_path):
    """One line for the whole, one for each bad column that it does not name."""
    path = tmp_path / "rows.csv"
    path.write_text("position__x,place,time\n1,2,3\n")
    failed = archetype("entity", "spawn", world, "--file", path)
    assert failed.code == 2
    first, *rest = failed.err.splitlines()
    assert first.startswith("error: ")
    assert [line.split(":")[0] for line in rest] == ["  place", "  time"]
    both = archetype("entity", "spawn", world, "--file", path, "-c", "Position")
    assert (both.code, both.err) == (2, "error: give either --component or --file, not both\n")


def test_commands_are_submitted(archetype, world, tmp_path, monkeypatch):
    """The payload as text, from a file, and from standard input; an id makes it once."""
    command_id = new_id()
    message = ("command", "submit", world, "message", "--payload")
    first = archetype(*message, '{"content": "hi"}', "--tick", 5, "--priority", 1, "--id", command_id).json
    assert (first["id"], first["tick"], first["is_duplicate"]) == (str(command_id), 5, False)
    again = archetype(*message, '{"content": "hi"}', "--tick", 5, "--priority", 1, "--id", command_id).json
    assert again == {**first, "is_duplicate": True}
    other = archetype(*message, '{"content": "ho"}', "--id", command_id)
    assert (other.code, other.err.count("\n")) == (5, 1)
    path = tmp_path / "payload.json"
    path.write_text('{"content": "from a file"}')
    assert archetype(*message, f"@{path}").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO('{"content": "from a pipe"}'))
    assert archetype(*message, "-").code == 0
    contents = [each["payload"].get("content") for each in archetype("history", world, "-n", 3).json]
    assert contents == ["hi", "from a file", "from a pipe"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("command", "submit", "{world}", "dance"), 2, "error: unknown command type 'dance'"),
        (("command", "submit", "{world}", "despawn"), 2, "error: the payload does not fit despawn"),
        (
            ("command", "submit", "{world}", "message", "-p", "[]"),
            2,
            "error: --payload: must be a JSON object",
        ),
        (
            ("command", "submit", "{world}", "message", "-p", "@none.json"),
            2,
            "error: --payload: none.json cannot",
        ),
        (("entity", "spawn", "{world}", "-c", "Positon={}"), 2, "error: "),
        (("processor", "add", "{world}", "Dance"), 2, "error: "),
        (("world", "inspect", "nowhere"), 4, "error: world 'nowhere' does not exist"),
        (("world", "create", "{world}"), 5, "error: "),
        (("world", "create", "a@b"), 2, "error: "),
        (("world", "list", "--columns", "nam"), 2, "error: no column 'nam' here"),
        (("run", "{world}", "--steps", "-1"), 2, "error: Invalid value for '--steps'"),
        (("dance",), 2, "error: No such command 'dance'"),
    ],
)
def test_refusals_are_a_line_and_a_code(archetype, world, arguments, code, line):
    """No traceback, nothing on stdout, the first line says what is wrong."""
    failed = archetype(*(each.replace("{world}", world) for each in arguments))
    assert failed.code == code, failed.err
    assert failed.err.startswith(line), failed.err
    assert failed.out == ""
    assert "Traceback" not in failed.err


def test_processors_are_added_listed_and_removed(archetype, world):
    """With a world, its own; without one, all that the server has."""
    assert [each["name"] for each in archetype("processors", world).json] == ["MovementProcessor"]
    assert "MovementProcessor" in [each["name"] for each in archetype("processors").json]
    archetype("processor", "remove", world, "MovementProcessor")
    archetype("step", world)
    assert archetype("processors", world).json == []
    assert "MovementProcessor" in archetype("processors", "-o", "table").out


def test_a_processor_is_replaced(archetype, world):
    """Its code is the loaded one from the next tick on; what is not given stays as it is."""
    receipt = archetype("processor", "replace", world, "MovementProcessor", "--priority", 3).json
    assert (receipt["type"], receipt["tick"]) == ("replace_processor", 0)
    archetype("step", world)
    (processor,) = archetype("processors", world).json
    assert (processor["priority"], processor["parameters"], processor["is_current"]) == (3, {}, True)
    assert "is_current" in archetype("processors", world, "-o", "table").out
    wrong = archetype("processor", "replace", world, "MovementProcessor", "--parameters", '{"speed": 2}')
    assert (wrong.code, "speed" in wrong.err) == (2, True)
    assert archetype("processor", "replace", world, "Dance").code == 2


def test_components_are_listed_with_their_fields(archetype):
    """For people a line each, for programs the fields as they are."""
    found = {each["name"]: each for each in archetype("components").json}
    assert [field["name"] for field in found["Velocity"]["fields"]] == ["dx", "dy"]
    assert "dx: " in archetype("components", "-o", "table").out


def test_world_names_complete(archetype, world):
    """A shell asks for names that begin so."""
    from archetype.cli.arguments import complete_world

    assert complete_world(world[:-1]) == [world]


def test_references_complete(archetype, peopled):
    """Worlds before the @, labels behind it; nothing where there is no such world."""
    from archetype.cli.arguments import complete_reference

    archetype("world", "label", peopled, "base")
    archetype("world", "label", peopled, "other")
    assert complete_reference(peopled[:-1]) == [peopled]
    assert complete_reference(f"{peopled}@ba") == [f"{peopled}@base"]
    assert complete_reference("nowhere@ba") == []


def test_removing_asks_whoever_sits_at_a_terminal(archetype, world, monkeypatch):
    """No is no; --yes is not asked, and where nobody is there it has to be given."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    unasked = archetype("world", "remove", world)
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    refused = archetype("world", "remove", world)
    assert refused.code == 1
    assert refused.err.endswith("error: nothing was done\n")
    assert archetype("world", "inspect", world).code == 0
    assert archetype("world", "remove", world, "--yes").code == 0
    assert archetype("world", "inspect", world).code == 4


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_terminal_sees_the_progress_of_a_run(server, world, quiet):
    """On stderr alone, unless it is told to be quiet; stdout is the report."""
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "archetype", "run", world, "--steps", "200", *quiet],
        env=os.environ | {"ARCHETYPE_URL": server.url, "TERM": "xterm", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    seen = b"".join(iter(lambda: read_terminal(reader), b""))
    out, _ = process.communicate(timeout=60)
    os.close(reader)
    assert process.returncode == 0, seen
    assert json.loads(out)["ticks_completed"] == 200
    assert (b"/200" in seen) is (quiet == ())


def read_terminal(descriptor: int) -> bytes:
    """Read what there is; the other side's end is an error on Linux."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
