"""What `--help` says, where it was wrong or is all that somebody has at hand."""

import re

import pytest
from typer.testing import CliRunner

from archetype.cli.exit_codes import EXIT_CODES
from archetype.cli.main import app


def help_of(*command):
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "1000", "NO_COLOR": "1"})
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("command", ["step", "run", "episode", "rollout"])
def test_debug_is_said_to_reach_the_processors_that_name_it(command):
    assert "Pass debug=True to processors that name `debug`." in help_of(command)


def test_the_help_tells_every_exit_code():
    (told,) = re.findall(r"Exit codes: (.*)", help_of())
    assert {int(code) for code in re.findall(r"\d", told)} == {0, 1, *EXIT_CODES.values()}
