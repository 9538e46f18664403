"""Running the application: one process, one event loop, and a clean end at a signal."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import structlog
import uvicorn

from archetype.api.application import create_app
from archetype.api.gate import is_loopback_host
from archetype.api.logging import configure_logging
from archetype.api.sending import STALLED
from archetype.api.tracing import tracing_from
from archetype.core.querying import warm_daft
from archetype.errors import InvalidInputError, UnavailableError
from archetype.service.container import ServiceContainer
from archetype.settings import LogFormat

__all__ = ["serve"]

KEYED = "by API key"
SINGLE_USER = (
    "single user: there is no API key yet, so whoever uses this machine is an administrator; "
    "`archetype actor create` and `archetype key create` end that"
)
COLLECTED_OBJECTS = (50_000, 20, 100)
"""When Python looks for cycles: by default every 700 objects, among them all of the commands that wait."""
STALLED_GRACE_S = 1.5
"""How long a client that neither reads nor writes may hold up the end."""


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    database_url: str | None = None,
    modules: Sequence[str] = (),
    log_format: LogFormat | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is told the URL, with the real port for port 0.

    A run under way ends behind the tick that it is computing. Raises `InvalidInputError` for a host that
    others can reach while there is no API key, and whatever opening the database raises.
    """
    is_loopback = is_loopback_host(host)
    if not is_loopback:
        asyncio.run(_require_key(host, ServiceContainer(database_url)))
    listener = _listen(host, port)
    configure_logging(log_format)
    tracing = tracing_from(os.environ)
    url = _url(host, listener)
    container = ServiceContainer(database_url)
    app = create_app(container, modules=modules, is_loopback=is_loopback, tracing=tracing)

    def ready() -> None:
        # What came of the question is known: the lifespan has asked it.
        access = KEYED if container.gate.knows_keys or not is_loopback else SINGLE_USER
        structlog.get_logger("archetype.api").info(
            "ready", url=url, database=container.database.name, access=access
        )
        if on_ready is not None:
            on_ready(url)

    def stop() -> None:
        container.simulation_service.stop()
        app.state.stopping.set()

    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, server_header=False, ws="none"
    )
    server = Server(config, on_started=ready, on_stop=stop)

    async def run() -> None:
        gc.set_threshold(*COLLECTED_OBJECTS)
        try:
            async with app.lifespan():
                await container.gate.has_keys()
                warming = asyncio.create_task(asyncio.to_thread(warm_daft))
                await server.serve([listener])
                await warming
        except BaseExceptionGroup as group:
            raise _innermost(group) from None
        finally:
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    with listener, asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())


class Server(uvicorn.Server):
    """A server that tells the application of its end before it waits for open requests."""

    def __init__(
        self, config: uvicorn.Config, *, on_started: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stop = on_stop
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; a second signal does not wait for open requests."""
        # The base class would raise the signal again behind the shutdown, and so end the process with it.
        self.force_exit = self.should_exit
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, without waiting for clients that stall."""
        cut = asyncio.get_running_loop().call_later(STALLED_GRACE_S, self._cut_stalled)
        try:
            await super().shutdown(sockets=sockets)
        finally:
            cut.cancel()

    async def on_tick(self, counter: int) -> bool:
        """Cut the connections of readers that were given up, about once a second."""
        if counter % 10 == 0:
            self._cut_given_up()
        return await super().on_tick(counter)

    def _cut_given_up(self) -> None:
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            cycle = connection.cycle
            if cycle is not None and cycle.scope["state"].get(STALLED):
                connection.transport.abort()

    def _cut_stalled(self) -> None:
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            cycle = connection.cycle
            if connection.flow.write_paused or (cycle is not None and cycle.more_body):
                connection.transport.abort()


def _innermost(error: BaseException) -> BaseException:
    """Unwrap what the lifespan's task group wraps, so that a caller sees why the start failed."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _require_key(host: str, container: ServiceContainer) -> None:
    """Refuse to let others in before there is a key that tells them apart; nothing is made to find out."""
    try:
        has_key = await container.database.revision() is not None and await container.gate.has_keys()
    finally:
        await container.database.close()
    if not has_key:
        option = f"--database-url {container.database.name}"
        msg = (
            f"{host} can be reached by others, and there is no API key yet: run `archetype actor create NAME "
            f"--role admin {option}` and `archetype key create NAME {option}` first, or serve on 127.0.0.1"
        )
        raise InvalidInputError(msg, host=host)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        msg = f"cannot listen on {host} port {port}: {error}"
        raise UnavailableError(msg, host=host, port=port) from error


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"
