"""How a command ends: one map from the errors of `archetype.errors` to exit codes."""

from __future__ import annotations

from collections.abc import Mapping

from archetype.errors import (
    ArchetypeError,
    AuthenticationError,
    CorruptionError,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    SchemaOutdatedError,
    StateConflictError,
    TickFailedError,
    UnavailableError,
)

__all__ = ["EXIT_CODES", "UNEXPECTED", "USAGE", "exit_code"]

UNEXPECTED = 1
USAGE = 2

EXIT_CODES: Mapping[type[ArchetypeError], int] = {
    TickFailedError: 1,
    InvalidInputError: USAGE,
    LimitExceededError: USAGE,
    AuthenticationError: 3,
    PermissionDeniedError: 3,
    NotFoundError: 4,
    StateConflictError: 5,
    CorruptionError: 6,
    OverloadedError: 7,
    SchemaOutdatedError: 7,
    UnavailableError: 7,
}
"""A class that is not named here ends as the nearest of its bases does."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error; what is no error of ours is unexpected."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), UNEXPECTED)
