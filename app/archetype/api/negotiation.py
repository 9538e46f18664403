"""Reads in the form that the caller accepts: JSON, or flat rows as NDJSON, CSV, Arrow or Parquet.

Bodies are taken as they are: nothing here decodes one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat
from litestar.openapi.spec.response import OpenAPIResponse
from litestar.response import Stream
from litestar.serialization import encode_json

from archetype.api.encodings import ENCODERS, MediaType
from archetype.errors import UnavailableError

__all__ = [
    "ArrowBody",
    "TableAnswer",
    "accepted_media_type",
    "json_answer",
    "require_identity",
    "table_answer",
]

_BINARY = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)


@dataclass
class TableAnswer(Operation):
    """An operation whose answer comes in all media types, for the API document."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            content = cast("dict[str, OpenAPIMediaType]", answer.content)
            content.update({kind.value: OpenAPIMediaType(schema=_BINARY) for kind in ENCODERS})


@dataclass
class ArrowBody(Operation):
    """An operation that reads an Arrow stream, for the API document."""

    def __post_init__(self) -> None:
        described = Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.BINARY,
            description="An Arrow IPC stream with columns such as position__x; an update has entity_id too.",
            examples=["<Arrow IPC stream: position__x double, position__y double>"],
        )
        self.request_body = RequestBody(
            {MediaType.ARROW.value: OpenAPIMediaType(schema=described)}, required=True
        )


def accepted_media_type(request: Request[Any, Any, Any]) -> MediaType:
    """Return the media type to answer in; a request that accepts none of them is answered 406."""
    known = [kind.value for kind in MediaType]
    chosen = request.accept.best_match(known)
    if chosen is None:
        raise HTTPException(status_code=406, detail=f"this can be given as {', '.join(known)}")
    return MediaType(chosen)


def require_identity(request: Request[Any, Any, Any]) -> None:
    """Answer 415 to a body that says it is encoded: gzip would be read as if it were the JSON itself."""
    given = request.headers.get("content-encoding", "")
    if any(each.strip().lower() not in {"", "identity"} for each in given.split(",")):
        detail = f"send the body as it is, without Content-Encoding: {given}"
        raise HTTPException(status_code=415, detail=detail, headers={"Accept-Encoding": "identity"})


async def json_answer(content: object, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Encode a large JSON answer beside the event loop."""
    body = await asyncio.to_thread(encode_json, content)
    return Response(body, media_type=MediaType.JSON.value, headers={"Vary": "Accept"} | dict(headers or {}))


def table_answer(table: pa.Table, kind: MediaType, stopping: asyncio.Event) -> Response[Any]:
    """Stream a table; a server that stops ends the stream as broken, never as if it were whole."""
    return Stream(_chunks(table, kind, stopping), media_type=kind.value, headers={"Vary": "Accept"})


async def _chunks(table: pa.Table, kind: MediaType, stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
    chunks = ENCODERS[kind](table)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        if stopping.is_set():
            msg = "the server is stopping"
            raise UnavailableError(msg, retry_after_s=1)
        if chunk:
            yield chunk
