"""A problem document becomes the error that the server raised."""

from __future__ import annotations

import pytest

from archetype import errors
from archetype.client.problems import error_from_problem
from archetype.errors import ArchetypeError, NotFoundError, PayloadError, StateConflictError, UnavailableError

CLASSES = [
    kind for kind in (getattr(errors, name) for name in errors.__all__) if issubclass(kind, ArchetypeError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_comes_back_by_its_code(kind):
    """A code names one class, whatever the status."""
    error = error_from_problem(500, {"code": kind.code, "detail": "why", "tick": 3}, "it")
    assert type(error) is kind
    assert (error.message, error.details) == ("why", {"tick": 3})


def test_the_faults_come_back():
    """Each bad field keeps its path and message."""
    body = {"code": "invalid_payload", "detail": "no", "errors": [{"path": "payload.x", "message": "bad"}]}
    error = error_from_problem(422, body, "it")
    assert isinstance(error, PayloadError)
    assert error.faults == [{"path": "payload.x", "message": "bad"}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFoundError), (409, StateConflictError), (502, UnavailableError), (500, ArchetypeError)],
)
def test_an_unknown_code_is_read_by_its_status(status, kind):
    """A newer server's code, or none at all, still tells the kind of error."""
    assert type(error_from_problem(status, {"code": "new", "detail": "why"}, "it")) is kind
    assert type(error_from_problem(status, None, "it")) is kind


def test_a_body_that_says_nothing_names_the_server():
    """An answer without a reason says who gave it."""
    error = error_from_problem(502, ["bad gateway"], "http://host")
    assert error.message.startswith("http://host answered 502")
