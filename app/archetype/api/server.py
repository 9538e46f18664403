"""Running the application: one process, one event loop, and a clean end at a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import structlog
import uvicorn

from archetype.api.application import create_app
from archetype.api.logging import configure_logging
from archetype.core.querying import warm_daft
from archetype.errors import InvalidInputError, UnavailableError
from archetype.service.container import ServiceContainer

__all__ = ["serve"]

STALLED_GRACE_S = 1.5
"""How long a client that neither reads nor writes may hold up the end."""


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    database_url: str | None = None,
    modules: Sequence[str] = (),
    allow_unauthenticated: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is told the URL, with the real port for port 0.

    A run under way ends behind the tick that it is computing. Raises `InvalidInputError` for a host that
    others can reach, since there is no authentication, and whatever opening the database raises.
    """
    _check_host(host, allow_unauthenticated=allow_unauthenticated)
    listener = _listen(host, port)
    configure_logging()
    url = _url(host, listener)
    container = ServiceContainer(database_url)
    app = create_app(container, modules=modules)

    def ready() -> None:
        structlog.get_logger("archetype.api").info("ready", url=url, database=container.database.name)
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
        try:
            async with app.lifespan():
                warming = asyncio.create_task(asyncio.to_thread(warm_daft))
                await server.serve([listener])
                await warming
        except BaseExceptionGroup as group:
            raise _innermost(group) from None

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


def _check_host(host: str, *, allow_unauthenticated: bool) -> None:
    if allow_unauthenticated or _is_loopback(host):
        return
    msg = (
        f"{host} can be reached by others and there is no authentication: serve on 127.0.0.1 behind a proxy "
        "that has one, or allow unauthenticated access explicitly"
    )
    raise InvalidInputError(msg, host=host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
