"""One connection pool: sends a request until it is answered, or until it makes no sense any more."""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx

from archetype.client.problems import error_from_problem
from archetype.client.sse import server_events
from archetype.clock import monotonic_s
from archetype.errors import ArchetypeError, InvalidInputError, SchemaOutdatedError, UnavailableError

__all__ = ["Transport"]

_BUSY_STATUSES = frozenset({429, 503})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class Transport:
    """Sends requests to one server, over connections that are used again.

    A request goes out again when the connection breaks or the server answers that it is busy, with the
    pause that the server asks for, as long as all of it stays within `retry_s`. Requests that change
    something must carry an Idempotency-Key, so that a second copy does no harm.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        retry_s: float,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = _checked(base_url)
        self._origin = _origin(url)
        self._api_key = None if api_key is None else _checked_key(api_key)
        self.url = str(url).rstrip("/")
        self.timeout_s = timeout_s
        self._retry_s = retry_s
        self._has_answered = False
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            transport=transport or httpx.HTTPTransport(verify=_tls(url), socket_options=_KEEP_ALIVE),
        )

    def close(self) -> None:
        """End every connection."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        waits_long: bool = False,
    ) -> httpx.Response:
        """Return the server's answer to a request; `waits_long` means that it may take any time to come.

        Raises the error that the answer describes, and `UnavailableError` when there is none.
        """
        timeout = httpx.Timeout(self.timeout_s, read=None) if waits_long else httpx.Timeout(self.timeout_s)
        try:
            request = self._http.build_request(
                method,
                path,
                params=_given(params),
                json=json,
                content=content,
                headers=headers,
                timeout=timeout,
            )
        except (TypeError, ValueError) as error:
            msg = f"the request cannot be written as JSON: {error}"
            raise InvalidInputError(msg) from error
        return self._accepted(self._answer(request))

    def open(
        self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str], silence_s: float | None
    ) -> httpx.Response:
        """Return an answer whose body is still to come, in parts with no more than `silence_s` between them.

        Without one (None) it may be silent for any time. The caller closes it. Raises as `send` does.
        """
        timeout = httpx.Timeout(self.timeout_s, read=silence_s)
        request = self._http.build_request(
            "GET", path, params=_given(params), headers=headers, timeout=timeout
        )
        return self._accepted(self._answer(request, is_stream=True))

    def pause(self, turn: int) -> None:
        """Wait before asking again, longer with each turn that was in vain, but never long."""
        time.sleep(min(_FIRST_PAUSE_S * 2**turn, _LONGEST_PAUSE_S) * _spread())

    def _accepted(self, response: httpx.Response) -> httpx.Response:
        if not response.is_success:
            raise self._problem(response)
        return response

    def events(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
        """Give the events of a stream as type and data, until it ends or breaks; that one asks again for it.

        Raises the error that the answer describes, and `UnavailableError` where nobody answers in time.
        """
        accept = {"Accept": "text/event-stream"} | dict(headers or {})
        with closing(self.open(path, params={}, headers=accept, silence_s=None)) as response:
            for event in server_events(response):
                if event.data is not None:
                    yield event.type, event.data

    def probe(self, path: str) -> int | None:
        """Ask once, without a second try; return the status, or None where nobody answers."""
        try:
            return self._http.get(path).status_code
        except httpx.HTTPError:
            return None

    def _answer(self, request: httpx.Request, *, is_stream: bool = False) -> httpx.Response:
        if self._api_key is not None and _origin(request.url) == self._origin:
            # A link that leads elsewhere must not take the key along.
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        deadline = monotonic_s() + self._retry_s
        pause_s = _FIRST_PAUSE_S
        while True:
            asked_pause_s = None
            try:
                response = self._http.send(request, stream=is_stream)
                if not response.is_success:
                    response.read()
            except httpx.HTTPError as error:
                failure, may_retry = self._unanswered(error), self._may_come_back(error)
            else:
                self._has_answered = True
                if response.status_code not in _BUSY_STATUSES and "Retry-After" not in response.headers:
                    return response
                failure = self._problem(response)
                may_retry = not isinstance(failure, SchemaOutdatedError)
                asked_pause_s = _retry_after_s(response)
            wait_s = asked_pause_s if asked_pause_s is not None else pause_s * _spread()
            if not may_retry or monotonic_s() + wait_s > deadline:
                raise failure
            time.sleep(wait_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _may_come_back(self, error: httpx.HTTPError) -> bool:
        """Say whether a server is worth waiting for: one that never answered is simply not there."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return self._has_answered
        self._has_answered = True
        return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.TimeoutException)

    def _unanswered(self, error: httpx.HTTPError) -> UnavailableError:
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            msg = f"the server at {self.url} did not answer within {self.timeout_s:g} s"
        elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            msg = (
                f"no server answers at {self.url} ({_reason(error)}); "
                "start one with `archetype serve`, or set ARCHETYPE_URL"
            )
        else:
            msg = f"the connection to {self.url} broke before the answer came ({_reason(error)})"
        return UnavailableError(msg, url=self.url)

    def _problem(self, response: httpx.Response) -> ArchetypeError:
        try:
            body: object = response.json()
        except ValueError:
            body = None
        error = error_from_problem(response.status_code, body, self.url)
        if (pause_s := _retry_after_s(response)) is not None:
            error.details.setdefault("retry_after_s", pause_s)
        return error


def _given(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the parameters that are not None, or None: an empty mapping would cut off those of the path."""
    return {name: value for name, value in (params or {}).items() if value is not None} or None


def _spread() -> float:
    """Draw what a pause is multiplied by: clients that were refused together must not return together."""
    return random.uniform(0.5, 1.0)  # noqa: S311


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/"))
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        msg = f"{base_url!r} is no server URL; write http://127.0.0.1:8000"
        raise InvalidInputError(msg, url=base_url)
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _checked_key(key: str) -> str:
    key = key.strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        msg = "the API key holds characters that no key has; copy it again, as arct_…"
        raise InvalidInputError(msg)
    return key


def _tls(url: httpx.URL) -> ssl.SSLContext | bool:
    """Load the trusted certificates only where TLS is spoken: it takes longer than a small request."""
    return True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _retry_after_s(response: httpx.Response) -> float | None:
    try:
        return max(float(response.headers["Retry-After"]), 0.0)
    except (KeyError, ValueError):
        return None


def _reason(error: httpx.HTTPError) -> str:
    return str(error).partition("] ")[2] or str(error) or type(error).__name__
