"""From a problem document back to the error that the server raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archetype.errors import (
    ArchetypeError,
    AuthenticationError,
    FieldFault,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    StateConflictError,
    UnavailableError,
)

__all__ = ["error_from_problem"]

_STANDARD_FIELDS = frozenset({"type", "title", "status", "detail", "code", "errors", "instance"})

_BY_STATUS: Mapping[int, type[ArchetypeError]] = {
    400: InvalidInputError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: InvalidInputError,
    409: StateConflictError,
    412: StateConflictError,
    413: LimitExceededError,
    415: InvalidInputError,
    422: InvalidInputError,
    429: OverloadedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def error_from_problem(status: int, body: object, source: str) -> ArchetypeError:
    """Return the error of an answer: by its `code`, or by its status where the code is unknown.

    `source` names the server for an answer that is no problem document.
    """
    if not isinstance(body, dict):
        return _BY_STATUS.get(status, ArchetypeError)(
            f"{source} answered {status} without saying why; is it an archetype server?"
        )
    problem = cast("dict[str, Any]", body)
    kind = _by_code().get(str(problem.get("code"))) or _BY_STATUS.get(status, ArchetypeError)
    message = problem.get("detail") or problem.get("title") or f"{source} answered {status}"
    error = kind(str(message))
    error.details = {name: value for name, value in problem.items() if name not in _STANDARD_FIELDS}
    if isinstance(error, InvalidInputError):
        error.faults = _faults(problem.get("errors"))
    return error


def _faults(listed: object) -> list[FieldFault]:
    if not isinstance(listed, list):
        return []
    faults = [cast("dict[str, Any]", each) for each in cast("list[Any]", listed) if isinstance(each, dict)]
    return [FieldFault(str(each.get("path", "")), str(each.get("message", ""))) for each in faults]


def _by_code() -> dict[str, type[ArchetypeError]]:
    known: dict[str, type[ArchetypeError]] = {}
    waiting: list[type[ArchetypeError]] = [ArchetypeError]
    while waiting:
        kind = waiting.pop()
        known.setdefault(kind.code, kind)
        waiting.extend(kind.__subclasses__())
    return known
