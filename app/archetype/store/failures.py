"""What a database says when it cannot do its work, in errors of our own kind that name the remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from archetype.errors import CorruptionError, InvalidInputError, UnavailableError

__all__ = ["is_beyond_asking", "is_lost", "translated"]

_STATES = {
    "08": "the connection broke",
    "25006": "it takes no writes: is it a standby, or set read-only?",
    "25P03": "this server was silent in the middle of a transaction, so the database ended it",
    "28": "it refuses this user: are the name and the password in the URL right?",
    "3D": "there is no such database: create it, or mend the URL",
    "40": "it chose this transaction to give way to another",
    "42501": "this user lacks a privilege there",
    "53100": "its disk is full: free some space",
    "53200": "it is out of memory",
    "53300": "it has no connection left: raise max_connections, or run fewer servers",
    "53": "it lacks a resource",
    "55P03": "another session holds a lock for too long; `pg_stat_activity` and `pg_locks` show which",
    "57014": "a statement took too long, or was cancelled",
    "57": "it is stopping, starting or recovering",
    "58": "its system failed: its log says where",
}
"""What states of PostgreSQL mean that pass, by SQLSTATE or its class; the longest match counts."""

_MESSAGES = {
    "database is locked": "another process holds the file's write lock; end it if it does not let go",
    "disk is full": "free some space",
    "readonly": "let this process write the file and its folder",
    "disk I/O error": "the system's log says what is wrong with the disk",
    "unable to open": "let this process read and write the file and its folder",
    "another operation": "the connection broke in the middle of it",
    "cached statement plan": "the schema was changed meanwhile; the next try sees the new one",
}
"""What SQLite and the drivers say, and what helps."""

_NOT_TEXT = "22021"
_OUTAGES = (OperationalError, InterfaceError, sqlite3.OperationalError)


@asynccontextmanager
async def translated(name: str) -> AsyncGenerator[None]:
    """Let only errors of our own kind out when a database is unreachable, has no room, or is damaged.

    What may pass is `UnavailableError`, which is worth another try: what was under way is in the log whole,
    or not at all, and the same command ids tell which. Damage is `CorruptionError`, and a text that the
    database cannot hold `InvalidInputError`.
    """
    try:
        yield
    except PoolTimeoutError as error:
        msg = f"{name}: every connection is in use, and none became free in time"
        raise UnavailableError(msg, retry_after_s=1) from error
    except TimeoutError as error:
        msg = f"{name} did not answer in time"
        raise UnavailableError(msg, retry_after_s=1) from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        msg = f"{name} cannot be reached: {error}"
        raise UnavailableError(msg, retry_after_s=1) from error
    except (DBAPIError, asyncpg.PostgresError, sqlite3.Error) as error:
        # What a cursor meets on its way, and an append on SQLite, comes as the driver's own error.
        cause = error.orig if isinstance(error, DBAPIError) else error
        remedy = _remedy(cause)
        if remedy is not None or isinstance(error, _OUTAGES):
            msg = f"{name} does not answer as it should: {_said(cause, error)}"
            raise UnavailableError(msg if remedy is None else f"{msg}; {remedy}", retry_after_s=1) from error
        if _state(cause) == _NOT_TEXT:
            msg = "a text holds a NUL character, which PostgreSQL cannot hold; remove it"
            raise InvalidInputError(msg) from error
        if not _is_damage(cause):
            raise
        msg = f"{name} is damaged: {cause}; restore it from a backup or another copy"
        raise CorruptionError(msg) from error


def is_lost(error: BaseException) -> bool:
    """Tell whether an error of PostgreSQL's driver says that a connection is of no use any more."""
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return True
    return isinstance(error, asyncpg.PostgresError) and _state(error)[:2] in {"08", "57"}


def is_beyond_asking(error: BaseException) -> bool:
    """Tell whether a connection must be thrown away without a farewell, which would hang or fail as well.

    It did not answer in time, or broke in such a way that the driver does not know where it stands.
    """
    return any(
        isinstance(each, (TimeoutError, asyncpg.InternalClientError)) for each in (error, error.__cause__)
    )


def _remedy(cause: BaseException | None) -> str | None:
    """Say what a state that passes means, or what helps; None where it is no such state."""
    state = _state(cause)
    matches = [known for known in _STATES if state.startswith(known)]
    if matches:
        return _STATES[max(matches, key=len)]
    return next((remedy for said, remedy in _MESSAGES.items() if said in str(cause)), None)


def _said(cause: BaseException | None, error: BaseException) -> str:
    return next(iter(str(cause or error).strip().splitlines()), repr(error))


def _state(cause: BaseException | None) -> str:
    return str(getattr(cause, "sqlstate", None) or "")


def _is_damage(cause: BaseException | None) -> bool:
    """Tell whether the database says that its own files are broken."""
    state = _state(cause)
    if state:
        return state.startswith("XX")
    return "malformed" in str(cause) or "not a database" in str(cause)
