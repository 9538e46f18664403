"""The door of the HTTP face: every route declares its action, and the gate is asked before all else."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from archetype.errors import PermissionDeniedError, QuotaExceededError
from archetype.limits import ADDRESS_CHARACTERS_MAX
from archetype.log.permissions import Action
from archetype.service.gate import Gate, Principal

__all__ = ["ANYBODY_KNOWN", "DECLARATION", "OPEN", "Caller", "Door", "is_loopback_host", "needs"]

DECLARATION: Final = "actions"
OPEN: Final[Mapping[str, Any]] = {DECLARATION: "open"}
"""The declaration of a route that says no more than that the server is there."""
ANYBODY_KNOWN: Final[Mapping[str, Any]] = {DECLARATION: ()}
"""The declaration of a route for whoever is authenticated, with any role or none."""

_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def needs(*actions: Action) -> Mapping[str, Any]:
    """Declare that a route is for those who may do one of these, in the world that its path names."""
    return {DECLARATION: actions}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent this request, and the gate that decides what else they may."""

    gate: Gate
    principal: Principal

    @property
    def actor_id(self) -> UUID | None:
        """The actor that the log names; None is the single user of a database without keys."""
        return self.principal.actor_id

    async def may(self, action: Action, reference: str) -> str:
        """Let an action in a world pass, and return the reference as it is to be resolved.

        Raises `PermissionDeniedError` before anything about the world is looked up.
        """
        world, at, tick = reference.partition("@")
        return f"{await self.gate.require(self.principal, action, world)}{at}{tick}"

    async def still_may(self, action: Action, world_id: UUID | None = None) -> None:
        """Look again whether an action may go on that began a while ago.

        Raises `AuthenticationError` for a key that does not hold any more, and `PermissionDeniedError`.
        """
        await self.gate.require(await self.gate.renewed(self.principal), action, world_id)


class Door:
    """Lets a request in, or answers 401 or 403; a route that declares nothing is closed to everybody."""

    def __init__(self, gate: Gate, *, is_loopback: bool) -> None:
        self._gate = gate
        self._is_loopback = is_loopback

    def before(self, app: ASGIApp) -> ASGIApp:
        """Wrap what answers a route: nothing of a request is looked at before it is let in.

        This is a middleware, since the framework copies its description of a route for each call of a guard.
        """

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            _require_whole(scope["raw_path"])
            if scope["type"] == "http" and scope["method"] == "OPTIONS":
                await _tell_methods(scope, send)
                return
            await self._let_in(ASGIConnection(scope))
            await app(scope, receive, send)

        return guarded

    async def _let_in(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Authenticate and authorise a request, before its body is read and its parameters are looked at."""
        scope = connection.scope
        declared = scope["route_handler"].opt.get(DECLARATION)
        if declared == OPEN[DECLARATION]:
            return
        is_local = self._is_loopback and _comes_from_here(connection)
        address = None if connection.client is None else connection.client.host[:ADDRESS_CHARACTERS_MAX]
        principal = await self._gate.authenticate(_key_of(connection), is_local=is_local, address=address)
        scope["state"]["principal"] = principal
        if declared is None:
            msg = "this route declares no action, so it is closed"
            raise PermissionDeniedError(msg)
        if not declared:
            return
        parameters = connection.path_params
        world, at, tick = str(parameters.get("world", "")).partition("@")
        decided = await self._gate.require_any(principal, declared, world if "world" in parameters else None)
        if decided is not None:
            # The world that was decided on is the one that is read. The framework keeps the old mapping for
            # other requests with this path.
            scope["path_params"] = {**parameters, "world": f"{decided}{at}{tick}"}

    async def note_excess(self, error: Exception, scope: Scope) -> None:
        """Record that a caller was refused for going beyond a quota; anything else passes by."""
        principal = scope["state"].get("principal")
        if isinstance(error, QuotaExceededError) and principal is not None:
            world = scope["path_params"].get("world")
            self._gate.deny_excess(principal, error, world)

    def caller(self, request: Request[Any, Any, Any]) -> Caller:
        """Return who was let in."""
        return Caller(self._gate, request.scope["state"]["principal"])


def _require_whole(path: bytes) -> None:
    """Refuse a path with an empty part: the framework would drop it, and take the rest for another path.

    Clients make one of `labels/..`, on their own.
    """
    if b"//" in path or (path.endswith(b"/") and path != b"/"):
        raise NotFoundException("a part of the path is empty: names that are dots are sent as %2E")


async def _tell_methods(scope: Scope, send: Send) -> None:
    """Say which methods a route has, to anybody: the document that anybody may read has them too.

    The framework's own answer has those of the handler that came first alone.
    """
    template, routes = scope["path_template"], scope["litestar_app"].routes
    methods = {
        name
        for each in routes
        if isinstance(each, HTTPRoute) and each.path_format == template
        for name in each.methods
    }
    headers = [(b"allow", ", ".join(sorted(methods)).encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def is_loopback_host(host: str | None) -> bool:
    """Tell whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _key_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Return the API key of a request; what is sent as one and is none must not be taken for none."""
    authorization = connection.headers.get("authorization")
    if authorization is None:
        return connection.headers.get("x-api-key")
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _comes_from_here(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Tell whether a request is this machine's own: no proxy's, and no web page's of another site.

    A browser sends what any page tells it to, also to 127.0.0.1, but it names the page and the host it means.
    """
    headers = connection.headers
    if any(name in headers for name in _PROXIED):
        return False
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    places = [f"//{headers.get('host', '')}", *([headers["origin"]] if "origin" in headers else [])]
    return all(_is_loopback_place(place) for place in places)


@lru_cache(maxsize=64)
def _is_loopback_place(url: str) -> bool:
    return is_loopback_host(_host_of(url))


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
