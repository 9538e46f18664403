"""Every operation of the API document with inputs made from it: no fault of the server, nothing undocumented.

The examples are the same on every machine. ARCHETYPE_FUZZ_EXAMPLES asks for more of each operation, and for
others each time: `make fuzz`.
"""

from __future__ import annotations

import os

import pytest
from fuzzing import OPERATIONS, FuzzedSystem, checks_of, steered
from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = int(os.environ.get("ARCHETYPE_FUZZ_EXAMPLES", "0"))
OPEN = {"GET /", "GET /healthz", "GET /readyz"}
NO_ROUTE = {"route_not_found", "method_not_allowed"}
BEFORE_A_RUN = {"run_not_found", "invalid_input", "malformed"}
CHANGING = [label for label in OPERATIONS if not label.startswith("GET ")]


def examples(count: int) -> settings:
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def system(sqlite_url):
    with FuzzedSystem(sqlite_url) as made:
        yield made


@pytest.mark.parametrize("label", OPERATIONS)
def test_an_operation_keeps_to_its_document(system, label) -> None:
    """Whatever an administrator sends; a refusal leaves the log as it was, and all that is stored holds."""

    @examples(20)
    @given(case=steered(label, system.known))
    def send(case) -> None:
        before = system.log_end()
        answer = system.send(case, "admin")
        case.validate_response(answer, checks=checks_of(answer))
        if answer.is_error:
            assert system.log_end() == before, answer.text

    send()
    assert system.faults() == []


@pytest.mark.parametrize("label", sorted(OPERATIONS.keys() - OPEN))
def test_without_a_key_an_operation_is_401_and_changes_nothing(system, label) -> None:
    """Whatever is sent: that there is no key is told before anything else."""

    @examples(5)
    @given(case=steered(label, system.known))
    def send(case) -> None:
        answer = system.send(case, "nobody")
        assert answer.status_code == 401 or answer.json()["code"] in NO_ROUTE, answer.text
        case.validate_response(answer, checks=checks_of(answer))

    before = system.stored()
    send()
    assert system.stored() == before


@pytest.mark.parametrize("label", CHANGING)
def test_a_viewer_changes_nothing(system, label) -> None:
    """Every operation that is no GET is refused, with its documented answer, and the log stands."""

    @examples(5)
    @given(case=steered(label, system.known))
    def send(case) -> None:
        answer = system.send(case, "viewer")
        assert answer.json()["code"] in refusals, answer.text
        case.validate_response(answer, checks=checks_of(answer))

    # Whose run it is, only its row says: until that is found, the body has been looked at.
    refusals = {"permission_denied", *NO_ROUTE} | (BEFORE_A_RUN if "/runs/" in label else set())
    before = system.stored()
    send()
    assert system.stored() == before
