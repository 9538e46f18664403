"""How much of bodies one server holds, and of what they are parsed into: or uploads would end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from litestar import Request
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, ReceiveMessage, Scope, Send

from archetype.clock import monotonic_s
from archetype.errors import LimitExceededError, UnavailableError
from archetype.limits import BODY_BYTES_MAX, BULK_HELD_BYTES_MAX, JSON_HELD_BYTES_MAX, JSON_VALUES_MAX

__all__ = ["Bodies", "require_few_values", "value_count"]

PATIENCE_S = 5.0
BYTES_PER_S_MIN = 64 * 1024
"""How long a body may pause, and how fast it must come, where another needs its room."""

_WITH_BODY = {"POST", "PUT", "PATCH"}
_MARKS = b"[{,"
_OTHERS = bytes(set(range(256)) - {*_MARKS, *b'"'})
_WINDOW_BYTES = 1 << 20


class _Held:
    """The bytes of one kind of bodies, over all requests under way, and the bodies that are still coming."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.size_bytes = 0
        self.coming: set[_Body] = set()

    def has_room(self, size_bytes: int, now_s: float) -> bool:
        """Tell whether so many bytes more fit, if need be in the place of bodies that don't come on."""
        if self.size_bytes + size_bytes <= self.bytes_max:
            return True
        overdue = (body for body in self.coming if body.due_s <= now_s)
        for body in sorted(overdue, key=lambda body: body.due_s):
            body.give_up()
            if self.size_bytes + size_bytes <= self.bytes_max:
                return True
        return False


class _Body:
    """What one request holds of its body. More of it is due by `due_s`, or another may take its place."""

    def __init__(self, held: _Held, now_s: float) -> None:
        self._held = held
        self._size_bytes = 0
        self._given_up = asyncio.Event()
        self.due_s = now_s + PATIENCE_S
        held.coming.add(self)

    def take(self, size_bytes: int, now_s: float) -> None:
        """Hold so many bytes more; where that goes beyond the limit, hold none and raise."""
        held = self._held
        # What came in one piece is worth so much time, but no more than the patience with one that stopped.
        self.due_s = min(self.due_s + size_bytes / BYTES_PER_S_MIN, now_s + PATIENCE_S)
        if not held.has_room(size_bytes, now_s) or self._given_up.is_set():
            self.release()
            msg = f"bodies of {held.size_bytes} bytes are being worked on already; try again in a second"
            raise UnavailableError(msg, retry_after_s=1.0, limit=held.bytes_max)
        held.size_bytes += size_bytes
        self._size_bytes += size_bytes

    async def next(self, receive: Receive) -> ReceiveMessage:
        """Receive the next piece; `UnavailableError` once the body is given up."""
        receiving = asyncio.ensure_future(receive())
        giving_up = asyncio.ensure_future(self._given_up.wait())
        try:
            await asyncio.wait({receiving, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            if not giving_up.done():
                return receiving.result()
        finally:
            receiving.cancel()
            giving_up.cancel()
        msg = "the body came too slowly while others needed its room; send it again"
        raise UnavailableError(msg, retry_after_s=1.0, limit=self._held.bytes_max)

    def give_up(self) -> None:
        """Let go of it before it is whole."""
        self.release()
        self._given_up.set()

    def complete(self) -> None:
        """Take note that all of it is here."""
        self._held.coming.discard(self)

    def release(self) -> None:
        """Hold nothing any more."""
        self.complete()
        self._held.size_bytes -= self._size_bytes
        self._size_bytes = 0


class Bodies:
    """Wraps the application: a body counts from when it is read until its request is answered.

    A request whose next piece goes beyond the limit is answered 503, unless there are others whose clients
    stopped sending, or send hardly anything: then those are. What such a client goes on to send is read and
    forgotten. Routes that take bodies larger than `json_bytes_max` are those of tables.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        json_bytes_max: int,
        json_held_bytes_max: int = JSON_HELD_BYTES_MAX,
        bulk_held_bytes_max: int = BULK_HELD_BYTES_MAX,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._app = app
        self._json_bytes_max = json_bytes_max
        self._json = _Held(json_held_bytes_max)
        self._bulk = _Held(bulk_held_bytes_max)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body: _Body | None = None
        is_awaited = scope["method"] in _WITH_BODY

        async def receive_on() -> ReceiveMessage:
            nonlocal body, is_awaited
            message = await (body.next(receive) if body is not None and is_awaited else receive())
            if message["type"] != "http.request":
                if is_awaited:
                    raise ClientException("the client went away before its body was whole")
                return message
            if message["body"]:
                now_s = self._clock()
                body = body or _Body(self._kind(scope), now_s)
                body.take(len(message["body"]), now_s)
            if not message["more_body"]:
                is_awaited = False
                if body is not None:
                    body.complete()
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
