"""Around every request: an id, a duration, a line in the log, a count, a span."""

from __future__ import annotations

import itertools
import re
from contextlib import nullcontext
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from archetype.api.metrics import Metrics
from archetype.api.tracing import Tracing
from archetype.clock import monotonic_s, new_id
from archetype.limits import REQUEST_ID_CHARACTERS_MAX

__all__ = ["Observed"]

UNMATCHED = "(none)"
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % REQUEST_ID_CHARACTERS_MAX)


class Observed:
    """Wraps the whole application, so that requests which match no route are seen as well.

    Bodies, queries and headers are never logged. A caller's X-Request-ID is kept and sent back; every line
    that is logged meanwhile carries it, also by what the request started in the background.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
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

        tracing = self._tracing
        traced = nullcontext() if tracing is None else tracing.request(scope["method"], scope["headers"])
        with structlog.contextvars.bound_contextvars(request_id=request_id), traced as span:
            try:
                await self._app(scope, receive, send_on)
            finally:
                self._record(scope, status, monotonic_s() - start, span)

    def _record(self, scope: Any, status: int, duration_s: float, span: Any) -> None:
        path = scope.get("path_template") or UNMATCHED
        self._metrics.count_request(scope["method"], path, status, duration_s)
        if span is not None:
            _describe(span, scope["method"], path, status)
        if not structlog.is_configured():
            return
        self._log.info(
            "request",
            method=scope["method"],
            path=path,
            status=status,
            duration_ms=round(duration_s * 1000, 2),
            **_concerned(scope),
        )


def _concerned(scope: Any) -> dict[str, str]:
    """Return what a request was about, as far as it came: the world, who asked, and the command."""
    state = scope["state"]
    world = scope.get("path_params", {}).get("world")
    principal = state.get("principal")
    actor_id = None if principal is None else principal.actor_id
    found = {"world": world, "actor_id": actor_id, "command_id": state.get("command_id")}
    return {name: str(value) for name, value in found.items() if value is not None}


def _describe(span: Any, method: str, path: str, status: int) -> None:
    span.update_name(f"{method} {path}")
    span.set_attribute("http.route", path)
    span.set_attribute("http.response.status_code", status)


def _given_id(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return None
