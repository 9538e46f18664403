"""The runbook: its steps are followed, and its tables and alerts name what there is."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from archetype.api.application import create_app
from archetype.cli.exit_codes import EXIT_CODES
from archetype.cli.main import run
from archetype.service.container import ServiceContainer

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from running_server import RunningServer

RUNBOOK = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
STEPS = re.findall(r"<!-- run -->\n```console\n(.*?)```", RUNBOOK, re.DOTALL)


def test_the_steps_of_the_runbook_lead_where_it_says(tmp_path, monkeypatch, capsys):
    """In order, beside one server that is started behind the first key."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'worlds.db'}"
    monkeypatch.setenv("ARCHETYPE_DATABASE_URL", url)
    key_id = do(STEPS[0].splitlines(), {}, capsys, monkeypatch)
    first_key = os.environ["ARCHETYPE_API_KEY"]
    with RunningServer(tmp_path, url) as server:
        monkeypatch.setenv("ARCHETYPE_URL", server.url)
        assert httpx.get(f"{server.url}/worlds").status_code == 401
        for block in STEPS[1:]:
            do(block.splitlines(), {"KEY_ID": key_id}, capsys, monkeypatch)
    assert len(STEPS) == 9
    assert run(["query", "demo", "--database-url", "sqlite:///restored.db"]) == 2  # queries ask a server
    with RunningServer(tmp_path, f"sqlite:///{tmp_path / 'restored.db'}") as server:
        monkeypatch.setenv("ARCHETYPE_URL", server.url)
        assert run(["step", "demo"]) == 3  # the key that was made behind the backup
        monkeypatch.setenv("ARCHETYPE_API_KEY", first_key)
        capsys.readouterr()
        assert run(["step", "demo"]) == 0
        assert json.loads(capsys.readouterr().out)["tick"] == 21


def do(lines, words, capsys, monkeypatch):
    """Run commands as a person would, keeping the key that one prints; return that key's id."""
    key_id = None
    for line in lines:
        name, *arguments = [words.get(each, each) for each in shlex.split(line)]
        if name == "cp":
            shutil.copy(*arguments)
            continue
        assert name == "archetype", line
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        assert code == 0, f"{line}: {captured.err}{captured.out}"
        if arguments[:2] == ["key", "create"]:
            made = json.loads(captured.out)
            key_id = made["key_id"]
            monkeypatch.setenv("ARCHETYPE_API_KEY", made["key"])
    return key_id


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """The names that a server exposes, families and their samples."""
    url = f"sqlite:///{tmp_path_factory.mktemp('figures') / 'worlds.db'}"
    app = create_app(ServiceContainer(url), is_loopback=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.post("/worlds", json={"name": "demo"})
        text = client.get("/metrics").text
    return [each for each in text_string_to_metric_families(text) if each.name.startswith("archetype_")]


def test_the_table_of_figures_is_that_of_the_server(exposed):
    rows = re.findall(r"^\| `(archetype_\w+)` \| (\w+) \|", RUNBOOK, re.MULTILINE)
    there = {(each.name + ("_total" if each.type == "counter" else ""), each.type) for each in exposed}
    assert set(rows) == there
    assert len(rows) == len(there)


def test_figures_end_with_their_units(exposed):
    for each in exposed:
        unit = each.name.rsplit("_", 1)[1]
        assert each.type != "histogram" or unit in {"seconds", "commands"}, each.name
        assert each.documentation.endswith("."), each.name


def test_the_alerts_ask_for_figures_that_there_are(exposed):
    (block,) = re.findall(r"```yaml\n(.*?)```", RUNBOOK, re.DOTALL)
    rules = [rule for group in yaml.safe_load(block)["groups"] for rule in group["rules"]]
    known = {sample.name for each in exposed for sample in each.samples}
    known |= {f"{each.name}_bucket" for each in exposed if each.type == "histogram"}
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        asked = set(re.findall(r"archetype_\w+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= known, rule["alert"]
        assert rule["annotations"]["summary"]


def test_every_exit_code_is_explained():
    told = {int(code) for code in re.findall(r"^\| (\d) \|", RUNBOOK, re.MULTILINE)}
    assert told == {0, 1, *EXIT_CODES.values()}


def test_the_commands_of_the_other_blocks_exist():
    """What is not run, such as a restore on PostgreSQL, names commands and options that there are."""
    blocks = re.findall(r"(?<!<!-- run -->\n)```console\n(.*?)```", RUNBOOK, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("archetype ")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("#")[0])[1:]
        verbs = [each for each in words[:2] if each.isalpha()]
        done = subprocess.run(
            [sys.executable, "-m", "archetype", *verbs[: 2 if verbs[0] == "db" else 1], "--help"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, line
        options = [each for each in words if each.startswith("--")]
        assert [each for each in options if each not in done.stdout] == [], line
