"""Connections to PostgreSQL: a pool for transactions, and one that is kept for calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from archetype.clock import monotonic_s
from archetype.store.failures import is_beyond_asking, is_lost

__all__ = ["CALL_TIMEOUT_S", "LOCK_TIMEOUT_S", "POOL_SIZE", "SILENCE", "KeptConnection", "postgres_engine"]

POOL_SIZE = 10
SILENCE = "command_timeout"

REST_S = 1.0
"""A connection that went dead within it without a word is found out by its user, who is told to ask again."""

_RESTED_SINCE_S = "rested_since_s"

LOCK_TIMEOUT_S = 30
CALL_TIMEOUT_S = 45.0
"""How long an append waits for PostgreSQL's answer: longer than it may wait there for the log's lock."""


def postgres_engine(url: URL, *, silence_s: float | None) -> AsyncEngine:
    """Return an engine whose statements are given up after `silence_s` without an answer."""
    engine = create_async_engine(
        url.difference_update_query([SILENCE]),
        pool_size=POOL_SIZE,
        hide_parameters=True,  # what callers sent is not for logs
        max_overflow=POOL_SIZE,
        pool_use_lifo=True,  # the one used last knows its statements best
        isolation_level="READ COMMITTED",
        connect_args={
            "timeout": 10,
            SILENCE: silence_s,
            "server_settings": {
                "application_name": "archetype",
                "lock_timeout": f"{LOCK_TIMEOUT_S}s",
                "idle_in_transaction_session_timeout": "60s",
                # A host that vanished must not hold a lock until the system gives it up, hours later.
                "tcp_keepalives_idle": "10",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "3",
                "jit": "off",  # a plan for the append function is run too rarely to be worth compiling
            },
        },
    )
    event.listen(engine.sync_engine, "handle_error", _throw_away)
    _look_at_rested(engine)
    return engine


def _look_at_rested(engine: AsyncEngine) -> None:
    """Use no connection again that is known to be closed, or was not used just now and does not answer.

    The pool's own question, before each use, takes three round trips where transactions take three to ten.
    """
    dialect: Any = engine.dialect

    def rest(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_RESTED_SINCE_S] = monotonic_s()

    def look(connection: Any, record: ConnectionPoolEntry, _lent: Any) -> None:
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        since_s = record.info.get(_RESTED_SINCE_S)
        if since_s is None or monotonic_s() - since_s < REST_S:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", rest)
    event.listen(engine.sync_engine, "checkout", look)


class KeptConnection:
    """The driver's own connection that is kept for calls, one at a time: no pool, no ping, no BEGIN."""

    def __init__(self, engine: Callable[[], AsyncEngine], *, silence_s: float) -> None:
        self._engine = engine
        self._silence_s = silence_s
        self._held: AsyncConnection | None = None
        self._calling = asyncio.Lock()

    async def call(self, statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement that is a transaction by itself, in one round trip; return its rows.

        It must bear being run twice: after a lost connection it is tried once more.
        """
        async with self._calling:
            try:
                return await self._fetch(statement, parameters)
            except TimeoutError:
                raise  # whoever asks has waited long enough
            except Exception as error:
                if not is_lost(error):
                    raise
            return await self._fetch(statement, parameters)

    async def close(self) -> None:
        """Give the connection back."""
        held, self._held = self._held, None
        if held is not None:
            await held.close()

    async def _fetch(self, statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run a statement on the kept connection, which is dropped if it turns out to be of no more use."""
        try:
            driver = await self._driver()
            return await driver.fetch(statement, *parameters, timeout=min(CALL_TIMEOUT_S, self._silence_s))
        except Exception as error:
            if is_lost(error):
                await self._drop()
            raise

    async def _driver(self) -> Any:
        if self._held is None:
            self._held = await self._engine().connect()
        raw = await self._held.get_raw_connection()
        return raw.driver_connection

    async def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            driver: Any = (await held.get_raw_connection()).driver_connection
            driver.terminate()  # a farewell to one that is silent would only be waited for
            await held.invalidate()
            await held.close()


def _throw_away(context: ExceptionContext) -> None:
    if is_beyond_asking(context.original_exception):
        context.is_disconnect = True
