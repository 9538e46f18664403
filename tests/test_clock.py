"""Who a process is, and whether another one still runs: never wrongly dead, and dead as soon as it is."""

import os
import subprocess
import sys
import uuid

import pytest

from archetype.clock import is_alive, new_owner, process_identity

NAMED = "from archetype.clock import {0}; print({0}(), flush=True); input()"


@pytest.fixture(params=["process_identity", "new_owner"])
def other(request):
    """Another process, and the identity that it gave itself, or an owner of leases in it."""
    process = subprocess.Popen(
        [sys.executable, "-c", NAMED.format(request.param)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def elsewhere(identity):
    """Spell the identity that this process would have in another container of the same host name."""
    host, pid, started, space, *owner = identity.split(":")
    assert len(space) == 12
    return ":".join([host, pid, started, uuid.uuid4().hex[:12], *owner])


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
    host, pid, started, *rest = other[1].split(":")
    assert not is_alive(":".join([host, pid, str(int(started) + 1), *rest]))


def test_owners_in_one_process_are_many_and_live_as_long_as_it_does():
    owners = {new_owner() for _ in range(100)}
    assert len(owners) == 100
    assert all(is_alive(owner) and owner.startswith(f"{process_identity()}:") for owner in owners)


@pytest.mark.parametrize("is_killed", [False, True], ids=["same id here", "no such id here"])
def test_of_another_container_with_this_name_nobody_here_can_tell(other, is_killed):
    """Its process ids mean others there: it must not be robbed of its worlds while it lives."""
    process, identity = other
    if is_killed:
        process.kill()
        process.wait()
    assert is_alive(elsewhere(identity))
    assert is_alive("elsewhere:1:1")
