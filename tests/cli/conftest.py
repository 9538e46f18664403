"""One server for the tests of a module, and commands run in this process against it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archetype.cli.main import run

sys.path.insert(0, str(Path(__file__).parent.parent / "client"))

from running_server import RunningServer


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Archetype = Callable[..., Done]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with RunningServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Archetype:
    """Run `archetype …` without a server of its own."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def archetype(server: RunningServer, command: Archetype, monkeypatch: pytest.MonkeyPatch) -> Archetype:
    """Run `archetype …` against the module's server."""
    monkeypatch.setenv("ARCHETYPE_URL", server.url)
    monkeypatch.setenv("ARCHETYPE_DATABASE_URL", server.database_url)
    return command
