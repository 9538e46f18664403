"""Every method of the client against a real server."""

from __future__ import annotations

from uuid import uuid4

import pyarrow as pa
import pytest

from archetype.client import ArchetypeClient
from archetype.errors import (
    CommandConflictError,
    ComponentError,
    EntityNotFoundError,
    InvalidInputError,
    LabelNotFoundError,
    LabelTakenError,
    NameTakenError,
    NotFoundError,
    PayloadError,
    TickNotFoundError,
    WorldArchivedError,
    WorldNotFoundError,
)

POSITION = {"type": "Position", "x": 1.0, "y": 2.0}
VELOCITY = {"type": "Velocity", "dx": 0.5, "dy": 0.25}


@pytest.fixture
def world(client) -> str:
    """A new world's name; its points move."""
    name = f"world {uuid4().hex[:8]}"
    client.create_world(name, seed=7)
    client.submit(name, "add_processor", {"processor": "MovementProcessor"})
    return name


def test_the_server_describes_itself(client):
    """Its name, readiness, figures, components and processors."""
    assert client.about()["name"] == "archetype-log"
    assert client.is_alive()
    assert client.is_ready()
    assert "# TYPE" in client.metrics()
    positions = [each for each in client.component_types() if each["name"] == "Position"]
    assert [field["name"] for field in positions[0]["fields"]] == ["x", "y"]
    assert "MovementProcessor" in {each["name"] for each in client.processor_types()}


def test_worlds_are_made_found_listed_and_removed(client, world):
    """By name and by id, until they are removed."""
    found = client.world(world)
    assert (found["name"], found["seed"], found["tick"]) == (world, 7, 0)
    assert client.world(found["world_id"]) == found
    assert found in client.list_worlds(limit=1000)
    assert client.remove_world(world, reason="a test") is None
    with pytest.raises(WorldNotFoundError):
        client.world(world)
    with pytest.raises(WorldArchivedError):
        client.step(found["world_id"])


def test_all_worlds_follows_the_pages(client, monkeypatch):
    """Each world comes once, whatever the size of a page."""
    made = [client.create_world()["world_id"] for _ in range(5)]
    read = client._transport.send
    paths = []

    def small_pages(method, path, **options):
        paths.append(path)
        return read(method, path, **options | ({"params": {"limit": 2}} if path == "/worlds" else {}))

    monkeypatch.setattr(client._transport, "send", small_pages)
    listed = [each["world_id"] for each in client.all_worlds()]
    assert set(made) <= set(listed)
    assert len(listed) == len(set(listed))
    assert len(paths) >= 3


def test_dots_for_a_name_reach_nothing_else(client, world):
    """Of `labels/..` a path leaves the world: its removal would be asked for."""
    for dots in (".", "..", "..."):
        for ask in (
            lambda: client.unlabel(world, dots),  # noqa: B023  asked at once
            lambda: client.despawn(world, dots),  # noqa: B023
            lambda: client.remove_world(dots),  # noqa: B023
            lambda: client.world(dots),  # noqa: B023
        ):
            with pytest.raises((NotFoundError, InvalidInputError)):
                ask()
        client.remove_resource(world, dots)  # a command, which its tick rejects
    with pytest.raises(InvalidInputError, match="empty"):
        client.unlabel(world, "")
    assert client.world(world)["name"] == world


def test_a_name_is_taken_once(client, world):
    """The conflict is the class that the server raised."""
    with pytest.raises(NameTakenError, match=world):
        client.create_world(world)


def test_entities_are_spawned_changed_and_ended(client, world):
    """Each verb is a command of the next tick."""
    entity = client.spawn(world, [POSITION, VELOCITY])["entity_id"]
    assert entity == 1
    client.step(world)
    client.update(world, entity, [{"type": "Velocity", "dx": 2.0}])
    client.step(world)
    state = client.entity(world, entity)
    assert state["components"] == {"Position": {"x": 3.5, "y": 2.5}, "Velocity": {"dx": 2.0, "dy": 0.25}}
    assert client.entity(world, entity, tick=0)["components"]["Position"] == {"x": 1.5, "y": 2.25}
    client.remove_components(world, entity, ["Velocity"])
    client.step(world)
    assert client.state(world)["entities"] == {"1": ["Position"]}
    client.add_components(world, entity, [VELOCITY])
    client.step(world)
    assert client.state(world)["entities"] == {"1": ["Position", "Velocity"]}
    client.despawn(world, entity)
    client.step(world)
    with pytest.raises(EntityNotFoundError):
        client.entity(world, entity)


def test_tables_go_in_and_come_out(client, world):
    """A bulk command is one row of the log, a frame is one Arrow table."""
    table = pa.table({"position__x": [0.0, 10.0, 20.0], "velocity__dx": [1.0, 1.0, 1.0]})
    receipt = client.spawn_many(world, table)
    assert (receipt["first_entity_id"], receipt["entity_count"]) == (1, 3)
    client.run(world, 2)
    assert client.frame(world).column("position__x").to_pylist() == [2.0, 12.0, 22.0]
    assert client.frame(world, ["Position"], entity_ids=[2], tick=0).column("position__x").to_pylist() == [
        11.0
    ]
    assert "velocity__dx" not in client.frame(world, ["Position"]).column_names
    client.update_many(world, [{"entity_id": 3, "position__x": 0.0}])
    client.step(world)
    assert client.frame(world, entity_ids=[3]).column("position__x").to_pylist() == [1.0]


def test_component_rows(client, world):
    """Rows are nested by component, selected by type, entity and tick."""
    client.spawn_many(world, pa.table({"position__x": [0.0, 10.0]}))
    client.step(world)
    rows = client.components(world, ["Position"], entity_ids=[2])
    assert rows["rows"] == [{"entity_id": 2, "tick": 0, "Position": {"x": 10.0, "y": 0.0}}]
    with pytest.raises(TickNotFoundError):
        client.components(world, ["Position"], tick=9)


def test_commands_wait_and_are_remembered(client, world):
    """Pending, listed in short, and told whole by the history."""
    command_id = uuid4()
    receipt = client.submit(
        world, "message", {"content": "hello"}, tick=3, priority=-2, command_id=command_id
    )
    assert (receipt["tick"], receipt["due_tick"], receipt["priority"]) == (3, 3, -2)
    assert client.submit(world, "message", {"content": "hello"}, tick=3, priority=-2, command_id=command_id)[
        "is_duplicate"
    ]
    with pytest.raises(CommandConflictError):
        client.submit(world, "message", {"content": "other"}, command_id=command_id)
    assert client.pending_count(world) == 2
    newest = client.history(world, limit=1)[0]
    assert (newest["id"], newest["payload"], newest["applied_tick"]) == (
        str(command_id),
        {"content": "hello"},
        3,
    )
    assert client.commands(world, limit=1)[0]["status"] == "pending"
    assert client.history(world, before=newest["position"])[-1]["type"] == "add_processor"


def test_a_batch_is_all_or_nothing(client, world):
    """A fault names its place, and nothing is kept."""
    receipts = client.submit_batch(world, [{"type": "spawn", "payload": {"components": [POSITION]}}] * 2)
    assert [each["entity_id"] for each in receipts] == [1, 2]
    with pytest.raises(PayloadError) as caught:
        client.submit_batch(world, [{"type": "spawn"}, {"type": "despawn", "payload": {"entity_id": 0}}])
    assert caught.value.faults[0]["path"] == "commands.1.payload.entity_id"
    assert client.pending_count(world) == 3


def test_a_run_reports(client, world):
    """Ticks done and commands applied; the world says the same."""
    client.spawn(world, [POSITION])
    report = client.run(world, 3, inputs={"wind": 1})
    assert (report["ticks_completed"], report["commands_applied"], report["final_tick"]) == (3, 2, 3)
    assert client.world(world)["tick"] == 3
    assert client.step(world, debug=True)["tick"] == 4


def test_a_fork_shares_the_past(client, world):
    """The fork's state at its tick is the parent's."""
    client.spawn(world, [POSITION, VELOCITY])
    client.run(world, 4)
    fork = client.fork_world(world, name=f"{world} fork", tick=1)
    assert (fork["fork_tick"], fork["tick"]) == (1, 2)
    assert client.entity(fork["name"], 1)["components"] == client.entity(world, 1, tick=1)["components"]
    assert client.fork_world(world)["fork_tick"] == 3


def test_forks_are_made_with_a_seed_with_what_waits_and_in_numbers(client, world):
    """What the route takes, the client sends."""
    client.step(world)
    client.spawn(world, [POSITION])
    fork = client.fork_world(world, name=f"{world} a", seed=9, include_pending=True)
    assert (fork["seed"], client.step(fork["name"])["commands_applied"]) == (9, 1)
    many = client.fork_many(world, f"{world} b", 3, tick=0, seed=20)
    assert [(each["name"], each["seed"]) for each in many] == [
        (f"{world} b-{number}", 19 + number) for number in (1, 2, 3)
    ]


def test_a_reference_names_a_tick_wherever_one_is_read(client, world):
    """The @ goes through, quoted or not, beside a name with spaces and an id."""
    client.spawn(world, [POSITION, VELOCITY])
    client.run(world, 4)
    label = client.label(f"{world}@1", "base-line")
    assert label == {"name": "base-line", "tick": 1, "world_id": client.world(world)["world_id"]}
    for reference in (f"{world}@1", f"{world}@-2", f"{world}@base-line", f"{label['world_id']}@1"):
        assert client.state(reference) == client.state(world, tick=1)
        assert client.entity(reference, 1) == client.entity(world, 1, tick=1)
        assert client.components(reference, ["Position"]) == client.components(world, ["Position"], tick=1)
        assert client.frame(reference).equals(client.frame(world, tick=1))
        assert client.fork_world(reference)["fork_tick"] == 1
    with pytest.raises(InvalidInputError, match="give one of the two"):
        client.state(f"{world}@1", tick=2)
    with pytest.raises(InvalidInputError, match="names a tick"):
        client.step(f"{world}@1")


def test_labels_are_made_listed_and_removed(client, world):
    """A name is taken until it is removed, whatever letters it has."""
    client.run(world, 3)
    assert client.label(world, "été", tick=1)["tick"] == 1
    assert client.label(world, "newest")["tick"] == 2
    assert [(each["name"], each["tick"]) for each in client.labels(world)] == [("été", 1), ("newest", 2)]
    with pytest.raises(LabelTakenError):
        client.label(world, "été")
    assert client.unlabel(world, "été") is None
    assert [each["name"] for each in client.labels(world)] == ["newest"]
    with pytest.raises(LabelNotFoundError):
        client.unlabel(world, "été")


def test_a_world_is_configured(client, world):
    """When it is made, and later."""
    assert client.world(world)["snapshots"] == 1
    assert client.configure_world(world, snapshots="needed")["snapshots"] == "needed"
    assert client.create_world(snapshots=10)["snapshots"] == 10
    with pytest.raises(InvalidInputError, match="snapshots: must be a number of ticks"):
        client.configure_world(world, snapshots="often")


def test_ranges_of_ticks(client, world):
    """States, rows, tables and counts of each tick of a range."""
    client.spawn(world, [POSITION, VELOCITY])
    client.run(world, 4)
    states = client.state_range(world, 1, 3)
    assert states["states"] == [client.state(world, tick=tick) for tick in (1, 2)]
    assert (states["from_tick"], client.state_range(world)["to_tick"]) == (1, 4)
    ranged = client.component_range(world, ["Position"], 1, entity_ids=[1])
    assert [(row["tick"], row["Position"]["x"]) for row in ranged["rows"]] == [(1, 2.0), (2, 2.5), (3, 3.0)]
    table = client.frame(world, ["Position"], from_tick=1, to_tick=3)
    assert table.column("tick").to_pylist() == [1, 2]
    assert client.counts(world, 1, 2) == [
        {"tick": 1, "entity_count": 1, "archetype_counts": {"Position+Velocity": 1}}
    ]
    assert [each["tick"] for each in client.counts(world)] == [0, 1, 2, 3]
    with pytest.raises(TickNotFoundError):
        client.counts(world, to_tick=5)


def test_processors_of_a_world(client, world):
    """Those of its next tick, and whether the server has their very code."""
    assert [(each["name"], each["is_loaded"], each["is_current"]) for each in client.processors(world)] == [
        ("MovementProcessor", True, True)
    ]


def test_bad_components_name_their_fields(client, world):
    """The faults of a refusal come back with their paths."""
    with pytest.raises(ComponentError) as caught:
        client.spawn(world, [{"type": "Positon"}])
    assert "components.0" in caught.value.faults[0]["path"]
    with pytest.raises(PayloadError) as payload:
        client.submit(world, "despawn", {"entity": 1})
    assert {fault["path"] for fault in payload.value.faults} == {"payload.entity_id", "payload.entity"}


def test_the_url_comes_from_the_environment(server, monkeypatch):
    """ARCHETYPE_URL is the server, unless one is named."""
    monkeypatch.setenv("ARCHETYPE_URL", server.url)
    with ArchetypeClient() as client:
        assert client.url == server.url
        assert client.is_alive()
