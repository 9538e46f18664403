"""What the documents say is run: the README's script, the cookbook's queries, the files that they name."""

import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from pydantic import BaseModel

import archetype
from archetype import ArchetypeRuntime, AsyncProcessor, Component, RuntimeWorld, system
from archetype.api.application import create_app
from archetype.core import config, hooks
from archetype.core.config import WorldConfig
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import AuthenticationError, PermissionDeniedError
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.program import ProcessorRecord, Program
from archetype.service.resource_records import ResourceRecord
from archetype.service.runs import RunRequest
from archetype.store import auditors
from archetype.store.database import Database
from archetype.store.schema import metadata
from links import leads_somewhere

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from running_server import RunningServer

ROOT = Path(__file__).parents[2]


def snippets(document):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(r"```sql\n(.*?)```", text, re.DOTALL)


QUERIES = snippets("sql-cookbook.md")
TAMPERINGS = {
    "events": "UPDATE events SET payload = '{}' WHERE position = 2",
    "pages": "UPDATE pages SET data = data || '\\x00'",
    "commits": "UPDATE ticks SET state_hash = sha256(state_hash) WHERE tick = 1",
    "parents": "UPDATE ticks SET commit_hash = sha256(commit_hash) WHERE tick = 1",
}


class Remark(Component):
    """What two processors write at once."""

    text: str = ""


@system(writes=(Remark,))
async def remarks_first(access):
    return {entity_id: Remark(text="first") for entity_id in access.entities()}


@system(writes=(Remark,))
async def remarks_last(access):
    return {entity_id: Remark(text="last") for entity_id in access.entities()}


@system()
async def remarks_nothing(access):
    raise OSError("no answer")


README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"<!-- run -->\n```python\n(.*?)```", README, re.DOTALL)
(CLIENT_SCRIPT,) = re.findall(r"<!-- client -->\n```python\n(.*?)```", README, re.DOTALL)
(BUILDER,) = re.findall(r"<!-- builder -->\n```python\n(.*?)```", README, re.DOTALL)


def printed(script, folder, **variables):
    """Run a script as its reader would, and return what it prints."""
    (folder / "script.py").write_text(script, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHETYPE_")}
    environment["PYTHONPATH"] = str(ROOT / "app")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def promised(script):
    return re.findall(r"# (\[[0-9.]+\])", script)


@pytest.mark.parametrize("script", SCRIPTS, ids=["first", "scheduling", "episodes"])
def test_a_script_in_the_readme_prints_what_its_comments_say(script, tmp_path):
    assert printed(script, tmp_path) == promised(script)


def test_the_first_script_continues_where_it_stopped(tmp_path):
    assert printed(SCRIPTS[0], tmp_path) == ["[3.0]", "[1.0]", "[13.0]"]
    assert printed(SCRIPTS[0], tmp_path) == ["[6.0]", "[1.0]", "[16.0]"]
    assert "it prints 6.0, 1.0 and 16.0" in README


def test_the_script_of_the_client_prints_what_its_comments_say(tmp_path):
    """Beside a server with the example."""
    with RunningServer(tmp_path) as server:
        value, *events = printed(CLIENT_SCRIPT, tmp_path, ARCHETYPE_URL=server.url)
    assert [value] == promised(CLIENT_SCRIPT)
    assert [line.split()[1] for line in events] == ["tick_committed"] * 10


BUILT = """
from archetype import ArchetypeRuntime, SimpleScheduler, system


@system()
def rest(access):
    return {}


with ArchetypeRuntime.sync() as runtime:
    scheduler = SimpleScheduler(group_builder=Chunks(2))
    world = runtime.world("chunks", processors=[rest, rest, rest], scheduler=scheduler)
    world.step()
    (ran,) = world.executions()
    print([each["group"] for each in ran.executions])
"""


def test_the_builder_of_the_readme_builds_groups_that_run(tmp_path):
    assert printed(BUILDER + BUILT, tmp_path) == ["[0, 0, 1]"]


async def audited(services):
    """Let there be something to find for every question of an auditor."""
    together = {"group_builder": "single", "retry_policy": {"on_exhausted": "skip"}}
    info = await services.world_service.create_world(WorldConfig(name="demo", scheduler=together))
    identities = services.identity_service
    root = await identities.create_actor("root", roles=["admin"], reason="the first one")
    ann = await identities.create_actor("ann", roles=["player"])
    held = (await identities.create_key("ann")).key
    over = await identities.create_key("root", expires_in_s=60)
    await identities.revoke_key(over.listed.key_id, reason="lost")
    who = await services.gate.authenticate(held, address="192.0.2.1")
    await services.gate.require(who, CommandType.SPAWN, "demo")
    with pytest.raises(PermissionDeniedError):
        await services.gate.require(who, CommandType.DESTROY_WORLD, "demo")
    for key in (None, "nonsense", held + "x", over.key):
        with pytest.raises(AuthenticationError):
            await services.gate.authenticate(key, address="192.0.2.66")
    spawn = CommandRequest("spawn", {"components": [{"type": "Remark"}]})
    names = ("remarks_first", "remarks_last", "remarks_nothing")
    adding = [CommandRequest("add_processor", {"processor": name}) for name in names]
    gone = CommandRequest("despawn", {"entity_id": 99}, tick=1)
    requests = [spawn, spawn, *adding, gone]
    await services.command_service.submit_batch(info.world_id, requests, actor_id=ann.actor_id)
    await services.simulation_service.run(info.world_id, RunRequest(steps=2))
    world = await services.world_service.find("demo")
    await services.label_service.add(world, "start", 0)
    await services.world_service.configure_world(world, {"snapshots": 1})
    odd = {"text": "\u0001\U0001f600 ' \\", "number": 2**63, "small": 5e-324}
    await services.command_service.submit(info.world_id, CommandRequest("custom", odd, tick=5))
    await services.world_service.create_world(WorldConfig(name="spare"), actor_id=root.actor_id)
    await services.world_service.remove_world(await services.world_service.find("spare"), reason="over")
    await services.retention_service.collect_garbage()
    await identities.create_actor("idle", roles=["viewer"])
    await identities.disable_actor("ann", reason="left")
    await services.simulation_service.accept(info.world_id, RunRequest(steps=1))
    await services.denials.flush()


def is_check(query):
    """Tell whether a query finds something only where something is wrong."""
    return ("<>" in query and "parent_hash" in query) or ".position - 1" in query or ".number - 1" in query


async def test_the_questions_of_the_cookbook_find_what_there_is(services):
    await audited(services)
    assert len(QUERIES) >= 20
    for query in QUERIES:
        found = await services.database.read(
            lambda connection, query=query: connection.execute(sa.text(query)).all()
        )
        assert bool(found) != is_check(query), query


async def test_who_asks_from_two_addresses_of_this_machine_does_not_ask_from_elsewhere(services):
    await audited(services)
    identities = services.identity_service
    bob = await identities.create_actor("bob", roles=["player"])
    key = (await identities.create_key("bob")).key
    for address in ("127.0.0.1", "::1"):
        who = await services.gate.authenticate(key, address=address)
        await services.gate.require(who, CommandType.SPAWN, "demo")
    world = await services.world_service.find("demo")
    spawn = CommandRequest("spawn", {"components": []})
    await services.command_service.submit(world.world_id, spawn, actor_id=bob.actor_id)
    (query,) = [each for each in QUERIES if "NOT IN ('local', '127.0.0.1', '::1')" in each]
    found = await services.database.read(lambda connection: connection.execute(sa.text(query)).all())
    assert {row.actor for row in found} == {"ann"}


@pytest.mark.postgres_only
async def test_an_auditor_reads_all_of_it_but_secrets_and_changes_nothing(postgres_database_url):
    async with ServiceContainer(postgres_database_url) as services:
        await audited(services)
    owner = await asyncpg.connect(postgres_database_url)
    login = f"auditor_{uuid.uuid4().hex}"
    try:
        await owner.execute(f"CREATE ROLE {login} LOGIN IN ROLE archetype_auditor")
        auditor = await asyncpg.connect(postgres_database_url, user=login)
        try:
            for query in QUERIES:
                assert bool(await auditor.fetch(query)) != is_check(query), query
            for table in metadata.tables:
                if table != "keys":
                    await auditor.fetch(f"SELECT * FROM {table} LIMIT 1")
                column = next(iter(metadata.tables[table].columns)).name
                for statement in (
                    f"INSERT INTO {table} DEFAULT VALUES",
                    f"UPDATE {table} SET {column} = {column}",
                    f"DELETE FROM {table}",
                    f"TRUNCATE {table}",
                ):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await auditor.execute(statement)
            for secret in ("SELECT digest FROM keys", "SELECT * FROM keys", "SELECT k FROM keys k"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await auditor.fetch(secret)
        finally:
            await auditor.close()
        await owner.execute(f"DROP ROLE {login}")
    finally:
        await owner.close()


@pytest.mark.postgres_only
async def test_who_may_not_make_roles_is_told_so_and_stopped_by_nothing(postgres_database_url):
    """A role may be there, or be made, by many at once; without the right to make it nothing is granted."""
    login = f"plain_{uuid.uuid4().hex}"
    owner = await asyncpg.connect(postgres_database_url)
    try:
        await owner.execute(f"CREATE ROLE {login} LOGIN")
        plain = (
            postgres_database_url.replace("//", f"//{login}@", 1)
            if "@" not in postgres_database_url
            else (postgres_database_url.replace(postgres_database_url.split("//")[1].split("@")[0], login, 1))
        )
        database = Database(plain)
        missing = f"archetype_{uuid.uuid4().hex}"
        try:
            assert (
                await database.write(lambda connection: auditors.grant_to_auditors(connection, missing))
                is False
            )
        finally:
            await database.close()
        await owner.execute(f"DROP ROLE {login}")
    finally:
        await owner.close()


class Weather(BaseModel):
    """A resource that is recorded."""

    wind: float = 0.0


def test_the_document_says_what_the_code_hash_covers():
    processor = ProcessorRecord.of(remarks_nothing)
    spelled = replace(processor, code=replace(processor.code, is_deterministic=False, declared={"every": 2}))
    program = Program((spelled,), SchedulerSettings(), (ResourceRecord.of(Weather()),))
    hashed = json.loads(program.document)
    text = (ROOT / "docs" / "hashes.md").read_text(encoding="utf-8")
    said = text.partition("\n## The code\n")[2].partition("\n## ")[0]
    names = {*hashed, *hashed["processors"][0], *hashed["resources"][0]}
    assert [name for name in sorted(names - {"processor"}) if name not in said] == []


@pytest.mark.postgres_only
@pytest.mark.parametrize("number", range(len(TAMPERINGS)), ids=list(TAMPERINGS))
async def test_the_checks_of_the_hashes_find_what_was_tampered_with(postgres_database_url, number):
    async with ServiceContainer(postgres_database_url) as services:
        info = await services.world_service.create_world(WorldConfig(name="demo"))
        spawn = CommandRequest("spawn", {"components": []}, priority=3)
        await services.command_service.submit_batch(info.world_id, [spawn, CommandRequest("custom", {})])
        await services.simulation_service.run(info.world_id, RunRequest(steps=3))
        demo = await services.world_service.find("demo")
        for name, tick in (("fork", 1), ("early", -1)):
            fork = await services.world_service.fork_world(demo, name, tick=tick)
            await services.simulation_service.run(fork.world_id, RunRequest(steps=2))
    checks = snippets("hashes.md")
    assert len(checks) == len(TAMPERINGS)
    session = await asyncpg.connect(postgres_database_url)
    try:
        assert [await session.fetch(check) for check in checks] == [[]] * len(checks)
        await session.execute("SET session_replication_role = replica")
        await session.execute(list(TAMPERINGS.values())[number])
        assert await session.fetch(checks[number]) != []
    finally:
        await session.close()


@pytest.mark.parametrize(
    "document", [*sorted(path.name for path in (ROOT / "docs").glob("*.md")), "../README.md"]
)
def test_links_lead_somewhere(document):
    path = ROOT / "docs" / document
    links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not leads_somewhere(path, link)] == []


def test_the_api_takes_the_headers_and_gives_the_forms_that_the_readme_says(tmp_path):
    """What takes no Idempotency-Key or no If-Match, and what is a table, is in its sentences by name."""
    services = ServiceContainer(f"sqlite:///{tmp_path / 'worlds.db'}")
    paths = create_app(services, is_loopback=True).openapi_schema.to_schema()["paths"]
    operations = [(verb, path, each) for path, item in paths.items() for verb, each in item.items()]
    taken = {
        (verb, path): {parameter["name"] for parameter in each.get("parameters", [])}
        for verb, path, each in operations
        if verb != "get"
    }
    assert {path for (_, path), names in taken.items() if "Idempotency-Key" not in names} == {
        "/actors/{name}/keys",
        "/actors/{name}/disable",
        "/actors/{name}/quota",
        "/keys/{key_id}",
        "/keys/{key_id}/rotate",
    }
    retried = {path: names for (_, path), names in taken.items() if "Idempotency-Key" in names}
    assert [path for path, names in retried.items() if "If-Match" not in names] == ["/actors"]
    tables = {path for verb, path, each in operations if "text/csv" in str(each["responses"].get("200"))}
    assert tables == {"/worlds/{world}/state", "/worlds/{world}/components"}


def carried_over():
    """The names that docs/coming-from.md says are the same here, but for commands and paths."""
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| the same[;,.| ]", text, re.MULTILINE)
    quoted = [each for row in rows if "CLI" not in row for each in re.findall(r"`(.*?)`", row)]
    return {name for each in quoted for name in re.findall(r"\b[A-Za-z_]\w+", each.partition("(")[0])}


def test_the_names_that_are_said_to_carry_over_are_here():
    homes = (archetype, config, hooks, Component, AsyncProcessor, RuntimeWorld, ArchetypeRuntime, system)
    spoken = {"archetype", "core", "config", "hooks", "runtime", "access"}
    names = carried_over() - spoken
    assert {"RunConfig", "PostTick", "spawn", "sync", "get_prefixed_schema", "SchedulerConfig"} <= names
    assert [name for name in sorted(names) if not any(hasattr(home, name) for home in homes)] == []
    assert not hasattr(archetype, "StorageConfig")
    assert not hasattr(archetype, "AsyncWorld")


def test_every_runtime_dependency_is_constrained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=]", each)[0] for each in project["dependencies"]}
    constrained = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    }
    assert names <= constrained
