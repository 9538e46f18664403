"""Commands: the table of types, and how payloads are refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archetype.errors import PayloadError
from archetype.log.command import RULES, Command, CommandType, check_payload, parse_type_name


def test_every_type_has_a_rule():
    assert set(RULES) == set(CommandType)


def test_commands_sort_as_they_are_applied():
    ids = [f"01890a5d-ac96-774b-bcce-b302099a805{i}" for i in range(4)]
    late = Command(id=ids[0], tick=2, priority=-5, seq=1)
    low = Command(id=ids[1], tick=1, priority=0, seq=3)
    first = Command(id=ids[2], tick=1, priority=-1, seq=9)
    tie = Command(id=ids[3], tick=1, priority=0, seq=4)
    assert sorted([late, tie, low, first]) == [first, low, tie, late]


def test_a_command_is_the_same_whatever_became_of_it():
    sent = Command(id="01890a5d-ac96-774b-bcce-b302099a8050", payload={"x": 1}, seq=1)
    rejected = sent.model_copy(update={"status": "rejected", "reason": "no such entity", "applied_tick": 3})
    assert rejected == sent
    assert {sent, rejected} == {sent}
    assert sent != sent.model_copy(update={"payload": {"x": 2}})
    assert sent != 1


def test_commands_are_rows_that_parquet_keeps(tmp_path):
    sent = Command(
        id="01890a5d-ac96-774b-bcce-b302099a8050",
        type="spawn",
        payload={"b": 1.0, "a": "é"},
        priority=-2,
        seq=1,
    )
    waiting = Command(id="01890a5d-ac96-774b-bcce-b302099a8051", actor_id=sent.id)
    table = pa.Table.from_pylist([sent.to_row(), waiting.to_row()], Command.arrow_schema())
    pq.write_table(table, tmp_path / "commands.parquet")
    first, second = pq.read_table(tmp_path / "commands.parquet").to_pylist()
    assert first["payload"] == '{"a":"é","b":1}'
    assert (first["id"], first["type"], first["priority"], first["seq"]) == (str(sent.id), "spawn", -2, 1)
    assert (second["actor_id"], second["seq"]) == (str(sent.id), None)


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(PayloadError, match=r"'teleport'.*spawn") as caught:
        parse_type_name("teleport")
    assert caught.value.faults[0]["path"] == "type"


@pytest.mark.parametrize(
    ("kind", "payload", "path"),
    [
        ("despawn", {}, "payload.entity_id"),
        ("despawn", {"entity_id": "1"}, "payload.entity_id"),
        ("despawn", {"entity_id": 0}, "payload.entity_id"),
        ("despawn", {"entity_id": 2**53}, "payload.entity_id"),
        ("despawn", {"entity_id": True}, "payload.entity_id"),
        ("despawn", {"entity_id": 1, "x": 1}, "payload.x"),
        ("update", {"entity_id": 1, "components": []}, "payload.components"),
        ("update", {"entity_id": 1, "components": [3]}, "payload.components.0"),
        ("remove_component", {"entity_id": 1, "component_types": []}, "payload.component_types"),
        ("add_processor", {}, "payload.processor"),
        ("create_world", {"name": "a@b", "seed": 1}, "payload.name"),
        ("create_world", {"name": " a", "seed": 1}, "payload.name"),
        ("create_world", {"name": "a", "seed": 2**63}, "payload.seed"),
        ("run", {"num_steps": -1}, "payload.num_steps"),
    ],
)
def test_a_bad_payload_is_refused_with_the_path_of_its_field(kind, payload, path):
    with pytest.raises(PayloadError) as caught:
        check_payload(CommandType(kind), payload)
    assert path in [fault["path"] for fault in caught.value.faults]
