"""Errors as problem documents (RFC 9457): one map from error class to status, one form for all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from archetype.api.schemas.system import Problem
from archetype.errors import (
    ArchetypeError,
    AuthenticationError,
    CodeChangedError,
    CodeNotLoadedError,
    ConflictError,
    CorruptionError,
    FieldFault,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PlanError,
    SchemaOutdatedError,
    StateConflictError,
    TickFailedError,
    UnavailableError,
    VersionConflictError,
    WorldBusyError,
)
from archetype.limits import JSON_DEPTH_MAX

__all__ = ["EXCEPTION_HANDLERS", "PROBLEM_JSON", "STATUS_OF", "problems", "status_of"]

PROBLEM_JSON = "application/problem+json"

STATUS_OF: Mapping[type[ArchetypeError], int] = {
    ArchetypeError: 500,
    InvalidInputError: 422,
    NotFoundError: 404,
    StateConflictError: 409,
    VersionConflictError: 412,
    WorldBusyError: 409,
    AuthenticationError: 401,
    PermissionDeniedError: 403,
    LimitExceededError: 413,
    OverloadedError: 429,
    TickFailedError: 500,
    CodeChangedError: 409,
    CodeNotLoadedError: 409,
    ConflictError: 409,
    PlanError: 409,
    CorruptionError: 500,
    SchemaOutdatedError: 503,
    UnavailableError: 503,
}
"""A class that is not listed has the status of its nearest base that is.

A tick that processors fail is 500. One that the world's own settings refuse is 409: other settings, or other
processors, let it pass.
"""

RETRYABLE = (OverloadedError, UnavailableError, WorldBusyError)

_HTTP_CODES: Mapping[int, str] = {
    400: "malformed",
    404: "route_not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: LimitExceededError.code,
    415: "unsupported_media_type",
    422: InvalidInputError.code,
}

_DESCRIPTIONS: Mapping[int, str] = {
    400: "The body is not JSON.",
    401: "No API key was sent, or one that does not hold.",
    403: "The actor's roles do not permit it; whether the world exists is not said.",
    404: "The world, entity, label, tick, actor, key or route does not exist.",
    405: "The route does not have this method.",
    406: "None of the accepted media types can be given.",
    409: "The present state forbids it: a name or command id in use, a removed or busy world, other "
    "code, a plan or conflicting writes that the world's scheduler refuses.",
    412: "The world is not at the version that If-Match names.",
    413: "Larger than a documented limit.",
    415: "The body's media type is not the one that this route reads, or the body is encoded.",
    422: "A field or value cannot be accepted; `errors` names each.",
    429: "A quota is used up, or too many commands wait or streams are open; try again after Retry-After.",
    500: "The request failed inside the server; a tick that failed leaves nothing behind.",
    503: "The database or the server cannot answer now; try again after Retry-After.",
}


_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")


def status_of(kind: type[ArchetypeError]) -> int:
    """Return the HTTP status of an error class."""
    return next(STATUS_OF[base] for base in kind.__mro__ if base in STATUS_OF)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Document these statuses, and those that any request can end with, as problem documents."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description=_DESCRIPTIONS[status], media_type=PROBLEM_JSON
        )
        for status in sorted({*statuses, 400, 401, 403, 500, 503})
    }


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    faults: list[FieldFault] | None = None,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[dict[str, Any]]:
    standard: dict[str, Any] = {
        "type": f"urn:archetype:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "errors": faults or [],
    }
    return Response(
        {**_plain(details or {}), **standard},
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=dict(headers or {}),
    )


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    """Spell what JSON does not know, such as an id, as text."""
    return {
        name: value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)
        for name, value in details.items()
    }


def _archetype_error(_: Request[Any, Any, Any], error: ArchetypeError) -> Response[dict[str, Any]]:
    headers: dict[str, str] = {}
    if isinstance(error, RETRYABLE):
        headers["Retry-After"] = str(max(1, math.ceil(error.details.get("retry_after_s") or 1)))
    if isinstance(error, AuthenticationError):
        headers["WWW-Authenticate"] = 'Bearer realm="archetype"'
    faults = error.faults if isinstance(error, InvalidInputError) else None
    return _problem(
        status_of(type(error)),
        error.code,
        error.message,
        faults=faults,
        details=error.details,
        headers=headers,
    )


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(_, error)
    code = _HTTP_CODES.get(status, HTTPStatus(status).name.lower())
    return _problem(status, code, error.detail, headers=error.headers)


def _validation_error(_: Request[Any, Any, Any], error: ValidationException) -> Response[dict[str, Any]]:
    faults = [_fault(each) for each in cast("list[Any]", error.extra or [])]
    if missing := _MISSING.match(error.detail):
        faults.append(FieldFault(missing[1], "is required"))
    listed = "; ".join(f"{fault['path'] or 'the body'}: {fault['message']}" for fault in faults)
    return _problem(422, InvalidInputError.code, listed or error.detail, faults=faults)


def _fault(extra: Any) -> FieldFault:
    """Read one entry of the framework's list; an absent body is reported there as the parameter `data`."""
    entry = cast("Mapping[str, str]", extra) if isinstance(extra, dict) else {"message": str(extra)}
    path = entry.get("key", "")
    if path == "data" and entry.get("source") == "body":
        return FieldFault("", "a JSON object is required")
    return FieldFault(path, entry["message"])


def _too_deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[dict[str, Any]]:
    """Say that a body is nested too deep to be read, which is all that recurses here."""
    if request.method == "GET":
        return _unexpected(request, error)
    return _problem(
        400, _HTTP_CODES[400], f"the body is nested deeper than {JSON_DEPTH_MAX} levels; flatten it"
    )


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    request_id = request.scope["state"].get("request_id", "")
    if structlog.is_configured():
        structlog.get_logger("archetype.api").error("unexpected", method=request.method, exc_info=error)
    detail = "an unexpected error; the server's log has it under this request_id"
    return _problem(500, "internal", detail, details={"request_id": request_id})


EXCEPTION_HANDLERS: Mapping[int | type[Exception], Any] = {
    ArchetypeError: _archetype_error,
    ValidationException: _validation_error,
    HTTPException: _http_error,
    RecursionError: _too_deep,
    Exception: _unexpected,
}
