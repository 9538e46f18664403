"""The command line as a process: help, version, errors, and a server that is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NOWHERE = "http://127.0.0.1:9"


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archetype", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_help_is_quick():
    """Neither the server, nor the database, nor the client is imported for a help text."""
    script = (
        "import sys; from archetype.cli.main import run; run(['--help']);"
        "heavy = {'httpx', 'pyarrow', 'sqlalchemy', 'litestar', 'daft', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "archetype serve" in done.stdout


COMMANDS = (
    "serve", "status", "world create", "world list", "world inspect", "world fork", "world configure",
    "world counts", "world plan", "world executions", "world conflicts",
    "world label", "world labels", "world unlabel", "world remove", "step",
    "run", "query", "history", "entity spawn", "entity despawn", "entity update", "entity add-components",
    "entity remove-components", "entity inspect", "command submit", "processors", "processor add",
    "processor replace", "processor remove", "components", "log", "sql", "db upgrade", "db downgrade",
    "db current", "db check",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_text_with_an_example(command, name, monkeypatch):
    """The example stands at the end, and shows this very command."""
    monkeypatch.setenv("COLUMNS", "200")
    done = command(*name.split(), "--help")
    assert done.code == 0
    assert f"Example: archetype {name}" in done.out


def test_the_version(command):
    """One line, for bug reports."""
    assert command("--version").out.startswith("archetype 0.")


def test_a_group_without_a_verb_shows_its_help(command):
    """It ends as a usage error, and says what there is."""
    done = command("world")
    assert done.code == 2
    assert "fork" in done.out
    assert "Traceback" not in done.err


def test_a_server_that_is_not_there():
    """One clear line that names the URL and how to start one, and 7."""
    done = process("world", "list", ARCHETYPE_URL=NOWHERE)
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr == (
        f"error: no server answers at {NOWHERE} (Connection refused); "
        "start one with `archetype serve`, or set ARCHETYPE_URL\n"
    )


def test_the_url_option_wins(command, monkeypatch):
    """--url stands above the environment, before or behind the command."""
    monkeypatch.setenv("ARCHETYPE_URL", "http://127.0.0.1:1")
    for arguments in (("--url", NOWHERE, "status"), ("status", "--url", NOWHERE)):
        assert NOWHERE in command(*arguments).err


def test_a_bad_url_is_a_usage_error(command):
    """It is the command that is wrong, not the server."""
    done = command("status", "--url", "localhost:8000")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no server URL" in done.err


def test_a_traceback_only_on_request():
    """ARCHETYPE_DEBUG=1 is for those who look for the fault."""
    done = process("status", ARCHETYPE_URL=NOWHERE, ARCHETYPE_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnavailableError" in done.stderr


def test_what_is_unexpected_is_a_line_too(command, monkeypatch):
    """A fault of ours names itself, and how to see more."""

    def broken(self: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("archetype.cli.session.Session.client", property(broken))
    done = command("status")
    assert (done.code, done.err) == (1, "error: KeyError: 'x' (a traceback comes with ARCHETYPE_DEBUG=1)\n")


def test_a_reader_that_has_seen_enough(tmp_path):
    """A pipe that is closed early is no error worth a word."""
    done = subprocess.run(
        f"{sys.executable} -m archetype --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--host", "0.0.0.0"), 2, "archetype key create"),
        (("--module", "no_such_module"), 2, "no_such_module"),
        (("--database-url", "mysql://host/name"), 2, "not supported"),
        (("--database-url", "postgresql://nobody@127.0.0.1:9/none"), 7, "cannot be reached"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, arguments, code, words):
    """One line, and the code of its kind."""
    database_url = f"sqlite:///{tmp_path / 'a.db'}"
    done = process("serve", "--port", "0", *arguments, ARCHETYPE_DATABASE_URL=database_url)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in done.stderr


def test_a_module_that_ends_the_program_is_named(tmp_path):
    """Many a script ends with sys.exit(main())."""
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    done = process(
        *("serve", "--port", "0", "--module", "leaving"),
        ARCHETYPE_DATABASE_URL=f"sqlite:///{tmp_path / 'a.db'}",
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: module 'leaving' ends the program")
