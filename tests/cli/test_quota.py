"""`archetype quota`: on the database, and through a server that has keys."""

import pytest


@pytest.fixture
def on_file(command, sqlite_url, monkeypatch):
    """Run commands with a database named and no server."""
    monkeypatch.delenv("ARCHETYPE_URL", raising=False)
    return lambda *arguments: command(*arguments, "--database-url", sqlite_url)


def test_on_a_database(on_file):
    on_file("actor", "create", "ann", "--role", "player")
    shown = on_file("quota", "show", "ann").json
    assert (shown["commands_per_tick"], shown["tokens_per_day"], shown["is_default"]) == (500, 200_000, True)
    changed = on_file("quota", "set", "ann", "--tokens-per-day", "unlimited", "--reason", "the sweep").json
    assert (changed["commands_per_tick"], changed["tokens_per_day"]) == (500, None)
    listed = on_file("quota", "show", "--all", "-o", "csv", "--columns", "actor,tokens_per_day,reason")
    assert listed.out == "actor,tokens_per_day,reason\nann,,the sweep\n"
    back = on_file("quota", "set", "ann", "--tokens-per-day", "200000").json
    assert back["is_default"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("quota", "show", "nobody"), 4, "actor list"),
        (("quota", "show"), 2, "--all"),
        (("quota", "set", "nobody", "--tokens-per-day", "5"), 4, "actor list"),
        (("quota", "set", "nobody"), 2, "--commands-per-tick"),
        (("quota", "set", "nobody", "--tokens-per-day", "-5"), 2, "unlimited"),
        (("quota", "set", "nobody", "--tokens-per-day", "many"), 2, "unlimited"),
    ],
)
def test_what_cannot_be_says_why(on_file, arguments, code, words):
    done = on_file(*arguments)
    assert (done.code, words in done.err) == (code, True), done.err


def test_through_a_server(archetype, monkeypatch):
    archetype("world", "create", "demo")
    archetype("actor", "create", "root", "--role", "admin")
    monkeypatch.setenv("ARCHETYPE_API_KEY", archetype("key", "create", "root").json["key"])
    archetype("actor", "create", "ann", "--role", "player")
    archetype("quota", "set", "ann", "--commands-per-tick", "0")
    ann = archetype("key", "create", "ann").json["key"]
    assert archetype("quota", "show").json["actor"] == "root"
    assert [each["actor"] for each in archetype("quota", "show", "--all").json] == ["root", "ann"]
    monkeypatch.setenv("ARCHETYPE_API_KEY", ann)
    assert archetype("quota", "show").json["commands_per_tick"] == 0
    refused = archetype("entity", "spawn", "demo", "--component", "Position={}")
    assert (refused.code, "commands for this tick" in refused.err) == (7, True), refused.err
