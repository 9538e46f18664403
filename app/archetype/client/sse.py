"""Reading server-sent events, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx

__all__ = ["ServerEvent", "server_events"]


class ServerEvent(NamedTuple):
    """One block of a stream: its id, if it has one, its type, and its data, None for a mere sign of life."""

    id: str | None
    type: str
    data: str | None


def server_events(response: httpx.Response) -> Iterator[ServerEvent]:
    """Read the whole blocks of a stream until it ends, or breaks: whoever reads asks again either way."""
    fields: dict[str, str] = {}
    for line in _lines(response):
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield ServerEvent(fields.get("id"), fields.get("event", "message"), fields.get("data"))
            fields = {}


def _lines(response: httpx.Response) -> Iterator[str]:
    try:
        # Not `iter_lines`, which also splits at characters that JSON leaves as they are.
        pieces: list[bytes] = []
        for part in response.iter_bytes():
            *ends, rest = part.split(b"\n")
            for end in ends:
                yield b"".join([*pieces, end]).decode().removesuffix("\r")
                pieces.clear()
            pieces.append(rest)
    except httpx.HTTPError:
        return
