"""Servers that share one database: the real services over the real store, behind faults that a seed draws."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from archetype.errors import UnavailableError
from archetype.service.container import ServiceContainer
from archetype.store.database import Database, Mapper, T
from simulated.loop import PROCESS, Condition, Process, SimulatedLoop
from simulated.witness import Witness

__all__ = ["ConnectionLostError", "Faults", "Server"]

_COMPILED: dict[Any, Any] = {}
"""Statements that were compiled, for all servers: to compile them takes longer than to run them."""

Work = Callable[[ServiceContainer], Awaitable[Any]]


class ConnectionLostError(Exception):
    """Whoever was asked does not answer: its process died, or the network did."""


@dataclass
class Faults:
    """How likely each access to the database fails, and how: a part of one for each way.

    Before its statements, between them and the commit, or behind the commit, so that the answer is lost.
    """

    loop: SimulatedLoop
    rate: float = 0.0
    delay_s: float = 0.01
    is_over: bool = False

    async def meet(self, moment: str, *, is_fatal: bool = True) -> None:
        """Take a while, and then fail or not."""
        await asyncio.sleep(self.loop.rng.expovariate(1 / self.delay_s))
        self.require_database()
        if is_fatal:
            self.strike(moment)

    def strike(self, moment: str) -> None:
        """Fail or not."""
        if self.loop.rng.random() < self.rate:
            message = f"a fault {moment}"
            raise UnavailableError(message, retry_after_s=1)

    def require_database(self) -> None:
        """Keep those who are only tidied up away from the database."""
        if self.is_over:
            raise UnavailableError("the simulation is over")


class SimulatedDatabase(Database):
    """The SQLite store as it is, but for connections that other threads would serve, and for faults."""

    def __init__(self, path: Path, faults: Faults, witness: Witness) -> None:
        super().__init__(f"sqlite:///{path}")
        self._faults = faults
        self._witness = witness
        self._sync_reader = sa.create_engine(f"sqlite:///{path}", poolclass=StaticPool)
        self._sync_reader.update_execution_options(compiled_cache=_COMPILED)

    async def read(self, use: Mapper[T]) -> T:
        """Run a read at one moment, as a transaction does."""
        await self._faults.meet("of a read")
        with self._sync_reader.connect() as connection:
            result = use(connection)
        await self._faults.meet("behind a read", is_fatal=False)
        return result

    async def _write(self, use: Mapper[T]) -> T:
        await self._faults.meet("before a write")
        result = await super()._write(partial(self._watched, use))
        await self._faults.meet("behind a commit")
        return result

    def _watched(self, use: Mapper[T], connection: Connection) -> T:
        self._faults.require_database()
        result = use(connection)
        self._faults.strike("before a commit")
        self._witness.look(connection)
        return result

    def _sqlite_writer(self) -> Any:
        is_new = self._writer is None
        writer = super()._sqlite_writer()
        if is_new:
            event.listen(writer._engine, "connect", _never_sync)
            writer._engine.update_execution_options(compiled_cache=_COMPILED)
        return writer

    async def close(self) -> None:
        """End every connection."""
        self._sync_reader.dispose()
        await super().close()


def _never_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")  # no crash of a machine is simulated


class Server:
    """One process that serves: its services live in its context, and die or pause with it."""

    def __init__(self, process: Process, path: Path, faults: Faults, witness: Witness) -> None:
        self.process = process
        self.is_stopping = False
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, process)
        # In order, or who hears of its death first would differ from run to run.
        self._replies: dict[asyncio.Future[Any], None] = {}
        self.services = self._context.run(ServiceContainer, SimulatedDatabase(path, faults, witness))
        self._context.run(self.services.run_service.watch)

    @property
    def can_answer(self) -> bool:
        """Whether requests may be sent to it; one that is paused takes them too, and answers late."""
        return not self.process.is_dead and not self.is_stopping

    async def call(self, work: Work, *, is_cancelled_with_caller: bool = False) -> Any:
        """Have a request served and return the answer; ConnectionLostError if the process dies before.

        A caller that gives up leaves the request to the server, unless it is cancelled with it.
        """
        loop = asyncio.get_running_loop()
        if not self.can_answer:
            raise ConnectionLostError
        reply = loop.create_future()
        task = loop.create_task(work(self.services), context=self._context.copy())
        self._replies[reply] = None
        task.add_done_callback(partial(self._answer, reply))
        try:
            return await reply
        except asyncio.CancelledError:
            if is_cancelled_with_caller and self.process.condition is Condition.RUNNING:
                task.cancel()
            raise
        finally:
            self._replies.pop(reply, None)
            if reply.done() and not reply.cancelled():
                reply.exception()  # whoever gave up in this very moment does not hear of it

    def _answer(self, reply: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        error = ConnectionLostError() if task.cancelled() else task.exception()
        if reply.done():
            return
        if error is None:
            reply.set_result(task.result())
        else:
            reply.set_exception(error)

    def kill(self) -> None:
        """End the process between two steps, whatever it is doing."""
        self.process.condition = Condition.DEAD
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(ConnectionLostError())

    async def stop(self) -> None:
        """End the process as its services end it."""
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        await loop.create_task(self.services.shutdown(), context=self._context.copy())
        self.kill()
