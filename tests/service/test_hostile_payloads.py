"""Payloads of any JSON, and of what is no JSON, at the command door: no error but our own."""

from __future__ import annotations

import json
import os
import uuid

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from archetype.errors import InvalidInputError, LimitExceededError
from archetype.examples.movement import Position
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest, admit, admit_all

EXAMPLES = int(os.environ.get("ARCHETYPE_FUZZ_EXAMPLES", "0"))
WORLD = uuid.UUID(int=1)
OURS = (InvalidInputError, LimitExceededError)
TEXTS = st.one_of(
    st.text(st.characters(), max_size=20),  # lone surrogates and NUL too
    st.sampled_from(["", "\x00", "\ud800", "Position", "MovementProcessor", "__class__", "type", "é" * 300]),
)
NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(), st.floats(), st.sampled_from([2**53, 2**63, 2**64, 10**400, -0.0])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
COMPONENTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Position", "Velocity"]) | VALUES}, optional={"x": VALUES, "dx": VALUES}
    ),
    max_size=3,
)
PAYLOADS = st.dictionaries(TEXTS, VALUES, max_size=4) | st.fixed_dictionaries(
    {},
    optional={
        "components": COMPONENTS | VALUES,
        "entity_id": st.integers(1, 9) | VALUES,
        "component_types": st.lists(TEXTS, max_size=3) | VALUES,
        "processor": TEXTS | VALUES,
        "parameters": VALUES,
        "priority": VALUES,
        "resource": TEXTS | VALUES,
        "value": VALUES,
        "content": VALUES,
        "receiver_id": VALUES,
        "channel": VALUES,
    },
)


def examples(count: int) -> settings:
    return settings(
        max_examples=EXAMPLES * 10 or count,
        derandomize=not EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("kind", list(CommandType))
def test_any_payload_is_accepted_whole_or_refused(kind) -> None:
    """What is accepted can be spelled, stored as UTF-8 and read again to the same."""
    assert Position.get_prefix()

    @examples(60)
    @given(payload=PAYLOADS, tick=st.just(0) | VALUES, priority=st.just(0) | VALUES)
    def check(payload, tick, priority) -> None:
        request = CommandRequest(kind, payload, tick, priority)
        try:
            command = admit(request, world_id=WORLD, actor_id=None)
        except OURS as error:
            error.message.encode("utf-8", "surrogatepass")
            return
        assert canonical_json(json.loads(command.payload)) == command.payload

    check()


@examples(60)
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from([*CommandType, "explode", "\ud800"]), PAYLOADS, st.sampled_from([0, 1, -1])
        ),
        max_size=5,
    )
)
def test_any_batch_is_accepted_whole_or_refused(asked) -> None:
    """Each fault names its command."""
    requests = [CommandRequest(kind, payload, tick) for kind, payload, tick in asked]
    try:
        commands = admit_all(requests, world_id=WORLD, actor_id=None)
    except OURS as error:
        for fault in getattr(error, "faults", []):
            assert fault["path"].startswith("commands.")
        return
    assert len(commands) == len(requests)


def deep(depth: int, *, in_objects: bool):
    value = 1
    for _ in range(depth):
        value = {"a": value} if in_objects else [value]
    return value


@pytest.mark.parametrize("in_objects", [False, True], ids=["lists", "objects"])
@pytest.mark.parametrize("kind", ["custom", "message", "spawn", "add_resource", "add_processor"])
def test_what_is_nested_too_deep_is_refused(kind, in_objects) -> None:
    """Far deeper than Python's own stack as well."""
    for depth in (65, 900, 50_000):
        value = deep(depth, in_objects=in_objects)
        payload = {
            "custom": {"a": value},
            "message": {"content": value},
            "spawn": {"components": [{"type": "Position", "x": value}]},
            "add_resource": {"resource": "Nobody", "value": value},
            "add_processor": {"processor": "MovementProcessor", "parameters": {"a": value}},
        }[kind]
        with pytest.raises(OURS):
            admit(CommandRequest(kind, payload), world_id=WORLD, actor_id=None)


def test_depth_up_to_the_limit() -> None:
    """64 levels, counting the outermost."""
    canonical_json(deep(64, in_objects=True))
    with pytest.raises(InvalidInputError, match="64 levels"):
        canonical_json(deep(65, in_objects=True))
