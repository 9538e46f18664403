"""What every call is made of: a path, a request that is sent until it is answered, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from archetype.client.transport import Transport
from archetype.clock import new_id
from archetype.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    import httpx

__all__ = ["ARROW_STREAM", "Calls", "if_match", "json_of", "part_of", "path_of", "present"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"


class Calls:
    """The base of the client's parts, each of which has the calls of one noun."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _read(self, path: str, **params: object) -> Any:
        return json_of(self._transport.send("GET", path, params=params))

    def _read_all(self, path: str, **params: object) -> Iterator[Any]:
        """Give the entries of a listing, from as many pages as it takes."""
        response = self._transport.send("GET", path, params=params)
        yield from json_of(response)
        while (following := response.links.get("next", {}).get("url")) is not None:
            response = self._transport.send("GET", following)
            yield from json_of(response)

    def _change(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        return json_of(self._send_change(method, path, json=body, **options))

    def _send_change(
        self,
        method: str,
        path: str,
        *,
        expected_version: int | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        own = {"Idempotency-Key": str(new_id())} | if_match(expected_version)
        return self._transport.send(method, path, headers=own | dict(headers or {}), **options)


def if_match(expected_version: int | None) -> dict[str, str]:
    """Return the header that lets a request pass only at a world's version."""
    return {} if expected_version is None else {"If-Match": f'"{expected_version}"'}


def path_of(world: str, *rest: object) -> str:
    """Return the path of a world, or of something in it; see `part_of`."""
    return "/".join(("/worlds", *map(part_of, (world, *rest))))


def part_of(name: object) -> str:
    """Spell a name as one part of a path; it may hold anything.

    Raises `InvalidInputError` for an empty one. Dots alone are escaped too: on its way a path loses `..` with
    the part before it, and would be that of something else.
    """
    text = str(name)
    if not text:
        raise InvalidInputError("a name is empty; give one")
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)


def present(**fields: object) -> dict[str, Any]:
    """Return the fields that are given: what is left out is the server's to choose."""
    return {name: value for name, value in fields.items() if value is not None}


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of an answer; another server than ours may have none."""
    try:
        return response.json()
    except ValueError:
        msg = f"{response.url} did not answer with JSON; is it an archetype server?"
        raise UnavailableError(msg, url=str(response.url)) from None
