"""Who a process is, and whether another one still runs: never wrongly dead, and dead as soon as it is."""

import os
import subprocess
import sys
import uuid

import pytest

from archetype.clock import is_alive, process_identity

NAMED = "from archetype.clock import process_identity; print(process_identity(), flush=True); input()"


@pytest.fixture
def other():
    """Another process, and the identity that it gave itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def elsewhere(identity):
    """Spell the identity that this process would have in another container of the same host name."""
    named, _, space = identity.rpartition(":")
    assert len(space) == 12
    return f"{named}:{uuid.uuid4().hex[:12]}"


def test_a_process_knows_itself_and_is_no_other(other):
    assert is_alive(process_identity())
    assert process_identity() != other[1]
    assert process_identity() == process_identity()


def test_one_that_was_killed_is_dead_before_its_parent_takes_note(other):
    process, identity = other
    assert is_alive(identity)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
    process.wait()
    assert not is_alive(identity)


def test_a_process_that_got_the_id_of_a_dead_one_is_another(other):
    host, pid, started, space = other[1].split(":")
    assert not is_alive(f"{host}:{pid}:{int(started) + 1}:{space}")


@pytest.mark.parametrize("is_killed", [False, True], ids=["same id here", "no such id here"])
def test_of_another_container_with_this_name_nobody_here_can_tell(other, is_killed):
    """Its process ids mean others there: it must not be robbed of its worlds while it lives."""
    process, identity = other
    if is_killed:
        process.kill()
        process.wait()
    assert is_alive(elsewhere(identity))
    assert is_alive("elsewhere:1:1")
