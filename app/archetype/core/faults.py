"""What a model refuses, field by field, as far as anybody would read it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from archetype.errors import FieldFault
from archetype.limits import FIELD_FAULTS_MAX

__all__ = ["field_faults", "listed", "too_many"]


def field_faults(error: ValidationError, *path: str) -> list[FieldFault]:
    """Return a fault for each bad field below a path, or a single one where they are too many."""
    if (many := too_many(error, *path)) is not None:
        return [many]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldFault(".".join((*path, *map(str, each["loc"]))), each["msg"]) for each in found]


def listed(faults: Sequence[FieldFault]) -> str:
    """Say all faults in one line, each with its path."""
    return "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults)


def too_many(error: ValidationError, *path: str) -> FieldFault | None:
    """Return the one fault that stands for too many, or None where they can be listed.

    To list a fault takes a kilobyte, and a body of a few megabytes can have a million.
    """
    count = error.error_count()
    if count <= FIELD_FAULTS_MAX:
        return None
    return FieldFault(".".join(path), f"{count} values do not fit; send fewer at once, and they are listed")
