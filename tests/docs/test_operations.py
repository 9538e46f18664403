"""The runbook: its steps are followed, and its tables and alerts name what there is."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import yaml
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from archetype.api.application import create_app
from archetype.cli.exit_codes import EXIT_CODES
from archetype.cli.main import app, run
from archetype.service.container import ServiceContainer
from links import leads_somewhere
from migrated import run_on
from postgres import find_binaries

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from running_server import RunningServer

PATH = Path(__file__).parents[2] / "docs" / "operations.md"
RUNBOOK = PATH.read_text(encoding="utf-8")
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
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", RUNBOOK, re.DOTALL)
    rules = [rule for group in yaml.safe_load(block)["groups"] for rule in group["rules"]]
    known = {sample.name for each in exposed for sample in each.samples}
    known |= {f"{each.name}_bucket" for each in exposed if each.type == "histogram"}
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        asked = set(re.findall(r"archetype_\w+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= known, rule["alert"]
        assert rule["annotations"]["summary"]
        assert leads_somewhere(PATH, rule["annotations"]["section"]), rule["alert"]


def test_every_exit_code_is_explained():
    told = {int(code) for code in re.findall(r"^\| (\d) \|", RUNBOOK, re.MULTILINE)}
    assert told == {0, 1, *EXIT_CODES.values()}


def command_of(line):
    """Return what a line asks of archetype, here or in a container, without that name, or None."""
    line = line.partition("#")[0]
    if re.match("docker compose (run|exec) .*server-a ", line):
        return line.partition(" server-a ")[2].removeprefix("archetype ")
    return line.removeprefix("archetype ") if line.startswith("archetype ") else None


def test_the_commands_of_the_other_blocks_exist():
    """What is not run, such as a restore on PostgreSQL, names commands and options that there are."""
    blocks = re.findall(r"(?<!<!-- run -->\n)```console\n(.*?)```", RUNBOOK, re.DOTALL)
    commands = [each for block in blocks for line in block.splitlines() if (each := command_of(line))]
    assert len(commands) > 5
    for command in commands:
        words = shlex.split(command)
        verbs = [each for each in words[:2] if re.fullmatch(r"[a-z]+(-[a-z]+)*", each)]
        shown = verbs[: 2 if verbs[0] in {"db", "actor", "key"} else 1]
        done = CliRunner().invoke(app, [*shown, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0, command
        options = [each for each in words if each.startswith("--")]
        assert [each for each in options if each not in done.output] == [], command


@pytest.mark.postgres_only
def test_the_restore_of_the_runbook_gives_auditors_their_rights(
    postgres_database_url, tmp_path, monkeypatch, capsys
):
    """A dump holds no privileges: its steps, in order, end in a database that an auditor can read."""
    server = urlsplit(postgres_database_url)
    monkeypatch.setenv("PATH", f"{find_binaries()}{os.pathsep}{os.environ['PATH']}")
    for name, value in (("HOST", server.hostname), ("PORT", str(server.port)), ("USER", server.username)):
        monkeypatch.setenv(f"PG{name}", value)
    name = f"restored_{uuid.uuid4().hex}"
    restored = postgres_database_url.replace(server.path, f"/{name}")
    dump = str(tmp_path / "worlds.dump")
    assert run(["backup", dump, "--database-url", postgres_database_url]) == 0
    words = {"restored": name, "worlds.dump": dump, "postgresql:///restored": restored}
    (block,) = re.findall(r"```console\n(createdb restored\n.*?)```", RUNBOOK, re.DOTALL)
    try:
        for line in block.splitlines():
            program, *arguments = [words.get(each, each) for each in shlex.split(line)]
            if program == "archetype":
                assert run(arguments) == 0, line
            else:
                subprocess.run([program, *arguments], check=True)
        assert asyncio.run(asked_by_an_auditor(restored, "SELECT type FROM audit_trail")) == "migrate"
    finally:
        asyncio.run(run_on(postgres_database_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def asked_by_an_auditor(url, statement):
    """Ask as a member of the role would, and return the one value of the answer."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET ROLE archetype_auditor")
        return await connection.fetchval(statement)
    finally:
        await connection.close()
