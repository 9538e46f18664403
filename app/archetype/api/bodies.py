"""How much of bodies one server holds, and of what they are parsed into: or uploads would end it."""

from __future__ import annotations

from typing import Any, cast

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, ReceiveMessage, Scope, Send

from archetype.errors import LimitExceededError, UnavailableError
from archetype.limits import BODY_BYTES_MAX, BULK_HELD_BYTES_MAX, JSON_HELD_BYTES_MAX, JSON_VALUES_MAX

__all__ = ["Bodies", "require_few_values", "value_count"]

_MARKS = b"[{,"
_OTHERS = bytes(set(range(256)) - {*_MARKS, *b'"'})
_WINDOW_BYTES = 1 << 20


class _Held:
    """The bytes of one kind of bodies, over all requests under way."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.size_bytes = 0


class _Body:
    """What one request holds of its body."""

    def __init__(self, held: _Held) -> None:
        self._held = held
        self._size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold so many bytes more; where that goes beyond the limit, hold none and raise."""
        held = self._held
        if held.size_bytes + size_bytes > held.bytes_max:
            self.release()
            msg = f"bodies of {held.size_bytes} bytes are being worked on already; try again in a second"
            raise UnavailableError(msg, retry_after_s=1.0, limit=held.bytes_max)
        held.size_bytes += size_bytes
        self._size_bytes += size_bytes

    def release(self) -> None:
        self._held.size_bytes -= self._size_bytes
        self._size_bytes = 0


class Bodies:
    """Wraps the application: a body counts from when it is read until its request is answered.

    A request whose next piece goes beyond the limit is answered 503; what its client goes on to send is read
    and forgotten. Routes that take bodies larger than `json_bytes_max` are those of tables.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        json_bytes_max: int,
        json_held_bytes_max: int = JSON_HELD_BYTES_MAX,
        bulk_held_bytes_max: int = BULK_HELD_BYTES_MAX,
    ) -> None:
        self._app = app
        self._json_bytes_max = json_bytes_max
        self._json = _Held(json_held_bytes_max)
        self._bulk = _Held(bulk_held_bytes_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body: _Body | None = None

        async def receive_on() -> ReceiveMessage:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request" and message["body"]:
                body = body or _Body(self._kind(scope))
                body.take(len(message["body"]))
            return message

        try:
            await self._app(scope, receive_on, send)
        finally:
            if body is not None:
                body.release()

    def _kind(self, scope: HTTPScope) -> _Held:
        # Where the framework asks for a body, it has found the route.
        return self._bulk if _body_bytes_max(scope) > self._json_bytes_max else self._json


def _body_bytes_max(scope: HTTPScope) -> int:
    route = cast("HTTPRouteHandler", scope["route_handler"])
    return route.resolve_request_max_body_size() or 0


async def require_few_values(request: Request[Any, Any, Any]) -> None:
    """Refuse a JSON body of too many values before it is parsed: each takes more memory than its bytes."""
    if request.method == "GET" or _body_bytes_max(request.scope) > BODY_BYTES_MAX:
        return
    body = await request.body()
    if len(body) <= JSON_VALUES_MAX or (count := value_count(body)) <= JSON_VALUES_MAX:
        return
    msg = f"the body has {count} values, {JSON_VALUES_MAX} are allowed: send several, or bulk data as Arrow"
    raise LimitExceededError(msg, limit=JSON_VALUES_MAX, actual=count)


def value_count(body: bytes) -> int:
    """Count what makes a JSON text's values many: its lists, its objects, and the commas between values."""
    count = sum(body.count(mark) for mark in _MARKS)
    if count <= JSON_VALUES_MAX:
        return count
    # Those within strings do not count. Without escapes, every other quote ends one.
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    count, is_inside = 0, False
    for start in range(0, len(bare), _WINDOW_BYTES):
        pieces = bare[start : start + _WINDOW_BYTES].split(b'"')
        count += sum(map(len, pieces[int(is_inside) :: 2]))
        is_inside ^= len(pieces) % 2 == 0
    return count
