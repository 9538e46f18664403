"""`archetype actor`, `key` and `whoami`: on the database, and through a server that has keys."""

import asyncio

import pytest

from archetype.errors import AuthenticationError
from archetype.service.container import ServiceContainer
from archetype.settings import Settings


@pytest.fixture
def on_file(command, sqlite_url, monkeypatch):
    """Run commands with a database named and no server."""
    monkeypatch.delenv("ARCHETYPE_URL", raising=False)
    return lambda *arguments: command(*arguments, "--database-url", sqlite_url)


def test_the_first_key_is_made_on_the_database(on_file, sqlite_url, command, monkeypatch):
    """By an option, or where the environment alone names the database."""
    actor = on_file("actor", "create", "root", "--role", "admin").json
    assert (actor["name"], actor["roles"]) == ("root", ["admin"])
    issued = on_file("key", "create", "root", "--expires", "30d").json
    assert issued["key"].startswith(f"arct_{issued['key_id']}_")
    monkeypatch.setenv("ARCHETYPE_DATABASE_URL", sqlite_url)
    listed = command("key", "list", "--actor", "root")
    assert [key["key_id"] for key in listed.json] == [issued["key_id"]]
    assert issued["key"].split("_", 2)[2] not in listed.out
    assert on_file("key", "revoke", issued["key_id"], "--yes").json["revoked_at"]
    assert on_file("key", "rotate", issued["key_id"]).code == 5
    assert on_file("actor", "disable", "root", "--reason", "over", "--yes").json["reason"] == "over"
    assert on_file("actor", "list", "-o", "csv", "--columns", "name,reason").out == "name,reason\nroot,over\n"


def test_reasons_and_denials_are_listed(on_file, sqlite_url):
    """On the database itself, where nobody is denied anything but by a server that was stopped since."""
    on_file("actor", "create", "root", "--role", "admin", "--reason", "the first one")
    key_id = on_file("key", "create", "root", "--reason", "to begin").json["key_id"]
    key_id = on_file("key", "rotate", key_id, "--reason", "shown to others").json["key_id"]
    on_file("key", "revoke", key_id, "--reason", "lost", "--yes")
    on_file("gc", "--reason", "tidy", "--yes")
    acts = on_file("audit", "list", "--outcome", "done").json
    assert [(act["act"], act["reason"], act["address"]) for act in acts[1:]] == [
        ("create_actor", "the first one", "local"),
        ("create_key", "to begin", "local"),
        ("rotate_key", "shown to others", "local"),
        ("revoke_key", "lost", "local"),
    ]

    async def knock():
        async with ServiceContainer(sqlite_url) as services:
            with pytest.raises(AuthenticationError):
                await services.gate.authenticate("nonsense", address="192.0.2.1")

    asyncio.run(knock())
    denied = on_file("audit", "list", "--columns", "reason,address,count", "-o", "csv").out
    assert denied == "reason,address,count\nmalformed,192.0.2.1,1\n"
    assert on_file("audit", "list", "--outcome", "odd").code == 2
    assert on_file("db", "grant-auditor").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("actor", "create", "ann", "--role", "coder"), 2, "viewer, player, operator, admin"),
        (("actor", "create", "ann", "--world-role", "demo"), 2, "demo=operator"),
        (("actor", "create", "ann"), 2, "at least one"),
        (("actor", "disable", "nobody", "--yes"), 4, "actor list"),
        (("key", "create", "nobody"), 4, "actor list"),
        (("key", "create", "nobody", "--expires", "soon"), 2, "30d"),
        (("key", "revoke", "nothing", "--yes"), 4, "key list"),
    ],
)
def test_what_cannot_be_says_why(on_file, arguments, code, words):
    done = on_file(*arguments)
    assert (done.code, words in done.err) == (code, True), done.err


def test_through_a_server(archetype, monkeypatch):
    """Single user first; from the first key on the key decides, and an error never shows it."""
    assert archetype("whoami").json["name"] == "local"
    archetype("world", "create", "demo")
    archetype("actor", "create", "root", "--role", "admin")
    root = archetype("key", "create", "root").json["key"]
    refused = archetype("world", "list")
    assert (refused.code, "ARCHETYPE_API_KEY" in refused.err) == (3, True)
    assert archetype("status").json["world_count"] is None
    monkeypatch.setenv("ARCHETYPE_API_KEY", root)
    assert archetype("status").json["world_count"] == 1
    archetype("actor", "create", "ann", "--world-role", "demo=player")
    ann = archetype("key", "create", "ann", "--world", "demo").json
    assert archetype("whoami", "--api-key", ann["key"]).json["key_id"] == ann["key_id"]
    spawned = archetype("--api-key", ann["key"], "entity", "spawn", "demo", "-c", "Position={}")
    assert spawned.code == 0, spawned.err
    assert archetype("history", "demo").json[-1]["actor_id"] == ann["actor_id"]
    denied = archetype("step", "demo", "--api-key", ann["key"])
    assert (denied.code, "may not step" in denied.err) == (3, True)
    rotated = archetype("key", "rotate", ann["key_id"], "--grace", "1h").json
    assert rotated["worlds"] == ann["worlds"]
    for wrong in (f"{root}x", f"{root}\n\u00e9"):
        done = archetype("whoami", "--api-key", wrong)
        assert done.code in {2, 3}
        assert root.split("_", 2)[2] not in done.err


def test_the_settings_do_not_show_the_key():
    settings = Settings.from_environment({"ARCHETYPE_API_KEY": " arct_a_b "})
    assert settings.api_key == "arct_a_b"
    assert "arct" not in repr(settings)
