"""The door: what is refused, by which field, and the normal form of what is not."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.clock import new_id
from archetype.core.bulk import encode_batch
from archetype.core.component import Component
from archetype.errors import InvalidInputError, LimitExceededError, PayloadError
from archetype.examples.movement import MovementProcessor, Position, Velocity
from archetype.service import admission
from archetype.service.admission import CommandRequest, admit, admit_all

WORLD = new_id()


def admitted(kind, payload, **options):
    return admit(CommandRequest(kind, payload, **options), world_id=WORLD, actor_id=None)


def position(**fields):
    return {"type": Position.__name__, **fields}


@pytest.mark.parametrize(
    ("kind", "payload", "path"),
    [
        ("teleport", {}, "type"),
        ("create_world", {}, "type"),
        ("step", {}, "type"),
        ("spawn", {"components": [{"type": "Unheard"}]}, "payload.components.0.type"),
        ("spawn", {"components": [position(x="1")]}, "payload.components.0.x"),
        ("spawn", {"components": [position(z=1)]}, "payload.components.0.z"),
        ("spawn", {"components": [position(), position()]}, "payload.components.1"),
        ("spawn", {"components": [position()], "name": "x"}, "payload.name"),
        ("update", {"entity_id": 1, "components": [position(x=None)]}, "payload.components.0.x"),
        ("update", {"entity_id": 1, "components": [{"x": 1}]}, "payload.components.0.type"),
        ("remove_component", {"entity_id": 1, "component_types": ["Unheard"]}, "payload.component_types.0"),
        ("add_processor", {"processor": "Unheard"}, "payload.processor"),
        ("add_processor", {"processor": "MovementProcessor", "parameters": {"q": 1}}, "payload.parameters"),
    ],
)
def test_bad_input_is_refused_by_the_path_of_its_field(kind, payload, path):
    with pytest.raises(InvalidInputError) as caught:
        admitted(kind, payload)
    assert path in [fault["path"] for fault in caught.value.faults]


@pytest.mark.parametrize("options", [{"tick": -1}, {"tick": 2**53}, {"tick": 1.0}, {"priority": 2**31}])
def test_tick_and_priority_have_a_range(options):
    with pytest.raises(PayloadError) as caught:
        admitted("custom", {}, **options)
    assert caught.value.faults[0]["path"] == next(iter(options))


def test_a_spawn_is_stored_with_its_defaults():
    """A default that is changed later must not change the past."""
    command = admitted("spawn", {"components": [position(x=2)]})
    assert json.loads(command.payload) == {"components": [{"type": "Position", "x": 2, "y": 0}]}
    assert command.entity_count == 1


COMPONENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["Position", "Velocity", "Unheard"])},
    optional={name: st.floats() | st.integers() | st.none() for name in ("x", "y", "dx", "other")},
)


@given(st.dictionaries(
    st.sampled_from(["components", "components", "entity_id", "name"]),
    st.lists(COMPONENTS | st.none() | st.just([]), max_size=3) | COMPONENTS | st.integers() | st.none(),
    max_size=2,
))  # fmt: skip
def test_a_spawn_is_taken_or_refused_as_by_its_model(payload):
    def outcome():
        try:
            command = admitted("spawn", payload)
        except InvalidInputError as error:
            return error.message, error.faults
        return command.payload, command.entity_count, command.entity_id

    shortly = outcome()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(admission, "_is_bare", lambda payload: False)
        assert outcome() == shortly


def test_no_model_is_made_of_a_spawn_of_plain_components(monkeypatch):
    payload = {"components": [position(x=1.5), {"type": Velocity.__name__}]}
    wanted = admitted("spawn", payload).payload
    monkeypatch.setattr(admission, "check_payload", None)
    monkeypatch.setattr(Component, "checked", None)
    assert admitted("spawn", payload).payload == wanted


def test_a_component_whose_keys_are_no_strings_is_refused():
    with pytest.raises(InvalidInputError, match=r"components\.0"):
        admitted("spawn", {"components": [{"type": "Position", 1: 2.0}]})


def test_an_update_is_stored_with_the_fields_that_it_names():
    command = admitted("update", {"entity_id": 3, "components": [position(y=2)]})
    assert json.loads(command.payload)["components"] == [{"type": "Position", "y": 2}]
    assert command.entity_count == 0


def test_the_order_of_keys_makes_no_other_command():
    left = admitted("custom", {"a": 1, "b": 2.0})
    right = admitted("custom", {"b": 2, "a": 1})
    assert left.payload == right.payload == '{"a":1,"b":2}'


def test_a_processor_is_stored_with_all_that_is_needed_to_build_it_again():
    payload = json.loads(admitted("add_processor", {"processor": "MovementProcessor"}).payload)
    assert payload["module"] == MovementProcessor.__module__
    assert payload["fingerprint"] == MovementProcessor.source_fingerprint()
    assert payload["priority"] == MovementProcessor.priority


def test_a_bulk_spawn_is_one_command_that_takes_an_id_a_row():
    table = pa.table({"position__x": np.arange(5.0)})
    command = admitted("spawn", {}, batch=encode_batch(table))
    assert command.entity_count == 5
    assert json.loads(command.payload)["row_count"] == 5
    with pytest.raises(InvalidInputError, match="nowhere__x"):
        admitted("spawn", {}, batch=encode_batch(pa.table({"nowhere__x": [1.0]})))
    with pytest.raises(PayloadError, match="takes no Arrow table"):
        admitted("despawn", {}, batch=encode_batch(table))


def test_a_batch_is_checked_whole_and_names_each_fault_by_its_place():
    good = CommandRequest("spawn", {"components": [position()]})
    bad = CommandRequest("spawn", {"components": [position(), {"type": Velocity.__name__, "dx": "x"}]})
    with pytest.raises(PayloadError) as caught:
        admit_all([good, bad, bad], world_id=WORLD, actor_id=None)
    assert [fault["path"] for fault in caught.value.faults] == [
        "commands.1.payload.components.1.dx",
        "commands.2.payload.components.1.dx",
    ]


def test_an_id_may_stand_in_a_batch_once():
    request = CommandRequest("custom", {}, id=new_id())
    with pytest.raises(PayloadError, match=r"commands\.1\.id"):
        admit_all([request, request], world_id=WORLD, actor_id=None)


def test_limits_hold():
    with pytest.raises(LimitExceededError):
        admitted("custom", {"text": "x" * 1_048_577})
    with pytest.raises(LimitExceededError):
        admit_all([CommandRequest("custom", {})] * 10_001, world_id=WORLD, actor_id=None)
