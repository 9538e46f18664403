"""What drivers raise, by hand: what may pass is told as such, with the remedy; the rest is not hidden."""

import asyncpg
import pytest
import sqlalchemy as sa

from archetype.errors import UnavailableError
from archetype.store.failures import is_beyond_asking, translated


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (sa.exc.TimeoutError("QueuePool limit"), "every connection is in use"),
        (TimeoutError(), "in time"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (asyncpg.InternalClientError("another operation is in progress"), "cannot be reached"),
        (asyncpg.AdminShutdownError("it is so"), "it is so; it is stopping"),
        (asyncpg.DiskFullError("it is so"), "free some space"),
        (asyncpg.LockNotAvailableError("it is so"), "pg_locks"),
        (asyncpg.DeadlockDetectedError(""), "give way"),
        (sa.exc.OperationalError("", {}, OSError("database is locked")), "write lock"),
        (sa.exc.OperationalError("", {}, OSError("disk I/O error")), "system's log"),
    ],
    ids=[
        "pool",
        "silent",
        "reset",
        "confused",
        "stopping",
        "disk",
        "lock",
        "deadlock",
        "locked file",
        "disk error",
    ],
)
async def test_what_may_pass_is_unavailable(error, said):
    with pytest.raises(UnavailableError, match=said) as caught:
        async with translated("the database"):
            raise error
    assert caught.value.details["retry_after_s"] == 1


@pytest.mark.parametrize(
    "error", [ValueError("ours"), asyncpg.UndefinedTableError("ours too")], ids=["no error of SQL", "a table"]
)
async def test_a_fault_of_the_program_is_not_called_an_outage(error):
    with pytest.raises(type(error)):
        async with translated("the database"):
            raise error


def test_a_connection_that_nobody_knows_the_state_of_is_thrown_away():
    wrapped = RuntimeError("as SQLAlchemy wraps it")
    wrapped.__cause__ = asyncpg.InternalClientError("another operation is in progress")
    assert is_beyond_asking(wrapped)
    assert is_beyond_asking(TimeoutError())
    assert not is_beyond_asking(asyncpg.UniqueViolationError("no"))
