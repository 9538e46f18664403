"""`archetype log` and `archetype world log --follow`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid

import pytest

from archetype.client import ArchetypeClient


@pytest.fixture
def followed(server):
    name = f"followed-{uuid.uuid4().hex[:8]}"
    with ArchetypeClient(server.url) as client:
        client.create_world(name)
        client.submit(name, "custom", {"number": 1})
    return name


@pytest.mark.parametrize("form", ["json", "ndjson", "table", "csv"])
def test_following_prints_a_line_for_each_event_until_it_is_interrupted(server, followed, form):
    """Ctrl-C is how it ends, and no failure."""
    process = subprocess.Popen(
        [sys.executable, "-m", "archetype", "world", "log", followed, "-f", "--after", "0", "-o", form],
        env=os.environ | {"ARCHETYPE_URL": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    header = [process.stdout.readline()] if form == "csv" else []
    lines = [process.stdout.readline() for _ in range(2)]
    with ArchetypeClient(server.url) as client:
        client.submit(followed, "custom", {"number": 2})
    lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (0, "", "")
    if form.endswith("json"):
        assert [json.loads(line)["type"] for line in lines] == ["create_world", "custom", "custom"]
        assert json.loads(lines[2])["payload"] == {"number": 2}
    else:
        separator = "," if form == "csv" else "  "
        assert all(f"command{separator}custom{separator}0" in line for line in lines[1:])
        assert all(line.startswith("position,recorded_at,") for line in header)


def test_the_whole_log_is_printed_up_to_its_end(archetype, followed):
    done = archetype("log", "-o", "ndjson")
    assert done.code == 0, done.err
    positions = [json.loads(line)["position"] for line in done.out.splitlines()]
    assert positions == list(range(1, len(positions) + 1))
    done = archetype("log", "--after", positions[-1] - 1, "--types", "custom", "-o", "ndjson")
    assert [json.loads(line)["position"] for line in done.out.splitlines()] == positions[-1:]
    assert (
        archetype("log", "--types", "custom", "-o", "csv", "--columns", "type").out.splitlines()[0] == "type"
    )


def test_what_cannot_be_is_refused(archetype, followed):
    done = archetype("world", "log", followed, "--after", 3)
    assert (done.code, "--after goes with --follow" in done.err) == (2, True)
    assert archetype("world", "log", "none", "-f").code == 4
    assert archetype("log", "--types", "spawned").code == 2
