"""Around every request: an id, a duration, a line in the log, a count."""

from __future__ import annotations

import itertools
import re
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from archetype.api.metrics import Metrics
from archetype.clock import monotonic_s, new_id

__all__ = ["Observed"]

UNMATCHED = "(none)"
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Observed:
    """Wraps the whole application, so that requests which match no route are seen as well.

    Bodies, queries and headers are never logged. A caller's X-Request-ID is kept and sent back.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log: Any = structlog.get_logger("archetype.api")
        # An id for each request would cost a system call; one for the process and a number do as well.
        self._prefix = new_id().hex
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = monotonic_s()
        request_id = _given_id(scope["headers"]) or f"{self._prefix}-{next(self._numbers)}"
        scope["state"]["request_id"] = request_id
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            self._record(scope, request_id, status, monotonic_s() - start)

    def _record(self, scope: Any, request_id: str, status: int, duration_s: float) -> None:
        path = scope.get("path_template") or UNMATCHED
        self._metrics.count_request(scope["method"], path, status, duration_s)
        if not structlog.is_configured():
            return
        world = scope.get("path_params", {}).get("world")
        self._log.info(
            "request",
            request_id=request_id,
            method=scope["method"],
            path=path,
            status=status,
            duration_ms=round(duration_s * 1000, 2),
            **({"world": world} if world is not None else {}),
        )


def _given_id(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return None
