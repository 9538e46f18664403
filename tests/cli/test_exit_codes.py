"""Every error class ends a command with the code that people and scripts are told."""

from __future__ import annotations

import pytest

from archetype import errors
from archetype.cli.exit_codes import EXIT_CODES, exit_code
from archetype.errors import ArchetypeError

EXPECTED = {
    "InvalidInputError": 2,
    "ComponentError": 2,
    "PayloadError": 2,
    "LimitExceededError": 2,
    "AuthenticationError": 3,
    "PermissionDeniedError": 3,
    "IdentityNotFoundError": 4,
    "NotFoundError": 4,
    "WorldNotFoundError": 4,
    "EntityNotFoundError": 4,
    "LabelNotFoundError": 4,
    "RunNotFoundError": 4,
    "TickNotFoundError": 4,
    "StateConflictError": 5,
    "NameTakenError": 5,
    "LabelTakenError": 5,
    "CommandConflictError": 5,
    "VersionConflictError": 5,
    "WorldArchivedError": 5,
    "WorldBusyError": 5,
    "RunEndedError": 5,
    "RunCancelledError": 5,
    "CorruptionError": 6,
    "DivergenceError": 6,
    "OverloadedError": 7,
    "QuotaExceededError": 7,
    "SchemaOutdatedError": 7,
    "UnavailableError": 7,
    "TickFailedError": 1,
    "ProcessorError": 1,
    "AccessViolationError": 1,
    "ConflictError": 1,
    "PlanError": 1,
    "CodeNotLoadedError": 1,
    "CodeChangedError": 1,
    "ArchetypeError": 1,
}


def all_classes(kind: type[ArchetypeError] = ArchetypeError) -> list[type[ArchetypeError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_classes(child))]


def test_the_map_is_complete():
    """Every class but the root has a code by itself or by a base that is not the root."""
    ours = [kind for kind in all_classes() if kind.__module__ == errors.__name__]
    assert {kind.__name__ for kind in ours} == set(EXPECTED)
    for kind in ours:
        if kind is not ArchetypeError:
            assert set(kind.__mro__) & set(EXIT_CODES), kind


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_each_class_has_its_code(name, code):
    """The codes are a promise to scripts."""
    assert exit_code(getattr(errors, name)("why")) == code


def test_anything_else_is_unexpected():
    """A fault of ours is 1."""
    assert exit_code(KeyError("x")) == 1
