"""Comparing worlds: states, stored or not, and the commands that led to them."""

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.core.bulk import encode_batch
from archetype.core.config import WorldConfig
from archetype.core.state import WorldState
from archetype.errors import CorruptionError, InvalidInputError, TickNotFoundError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service import page_reading
from archetype.service.admission import CommandRequest
from archetype.service.budget import MemoryBudget
from archetype.service.cache import page_cache
from archetype.service.diff import (
    DiffService,
    DiffSummary,
    FieldCount,
    ListedEntity,
    MovedEntity,
)
from archetype.service.projection import project, read_tick
from archetype.service.runs import RunRequest
from archetype.service.value_diff import ChangedValue
from archetype.store.schema import pages, snapshots


def state_reader(services, taken=None):
    """A replay in miniature: the state of a tick, as it was before its snapshot was dropped."""

    async def state_of(world, tick):
        return taken[world.world_id, tick]

    async def refuse(world, tick):
        raise AssertionError((world.name, tick))

    return refuse if taken is None else state_of


@pytest.fixture
def differ(services):
    pages = page_cache(MemoryBudget(2**24))
    return DiffService(services.database, services.world_service, state_reader(services), pages)


async def submit(services, world, *requests):
    await services.command_service.submit_batch(world.world_id, [CommandRequest(*each) for each in requests])


async def advance(services, world, steps=1):
    await services.simulation_service.run(world.world_id, RunRequest(steps=steps))
    return await services.world_service.find(world.world_id)


async def fork(services, world, name, tick=None):
    info = await services.world_service.fork_world(world, name, tick=tick)
    return await services.world_service.find(info.world_id)


async def a_world(services, count=4, name="demo"):
    """Points that move by (n, 0) a tick, the first of them at 0 after tick -1."""
    info = await services.world_service.create_world(WorldConfig(name=name, seed=1))
    world = await services.world_service.find(info.world_id)
    table = pa.table({"position__x": np.zeros(count), "velocity__dx": np.arange(1.0, count + 1)})
    spawn = CommandRequest("spawn", {}, batch=encode_batch(table))
    adding = CommandRequest("add_processor", {"processor": "MovementProcessor"})
    await services.command_service.submit_batch(world.world_id, [adding, spawn])
    return await advance(services, world)


def set_x(entity_id, x):
    return "update", {"entity_id": entity_id, "components": [{"type": "Position", "x": x}]}


async def test_what_was_added_removed_moved_and_changed(services, differ):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    await submit(
        services,
        b,
        ("despawn", {"entity_id": 1}),
        ("remove_component", {"entity_id": 2, "component_types": ["Velocity"]}),
        set_x(2, 50.0),
        set_x(4, 60.0),
        ("spawn", {"components": [{"type": "Position", "y": 1}]}),
    )
    a, b = await advance(services, a), await advance(services, b)
    found = await differ.diff(a, 1, b, 1)
    assert not found.is_identical
    assert found.summary == DiffSummary(added=1, removed=1, moved=1, changed=1, values=2)
    assert found.added == [ListedEntity(5, "Position")]
    assert found.removed == [ListedEntity(1, "Position+Velocity")]
    assert found.moved == [MovedEntity(2, "Position+Velocity", "Position")]
    assert found.values == [
        ChangedValue(2, "Position", "x", 4.0, 50.0),
        ChangedValue(4, "Position", "x", 8.0, 64.0),
    ]
    assert found.fields == [FieldCount("Position", "x", 2)]
    assert (found.a.name, found.a.tick, found.a.entity_count) == ("demo", 1, 4)
    assert (found.b.name, found.b.entity_count, found.base_tick) == ("what-if", 4, 0)
    back = await differ.diff(b, 1, a, 1)
    assert (back.added, back.removed) == (found.removed, found.added)
    assert back.moved == [MovedEntity(2, "Position", "Position+Velocity")]
    assert back.values[0] == ChangedValue(2, "Position", "x", 50.0, 4.0)
    assert (back.commands_a, back.commands_b) == (found.commands_b, found.commands_a)
    json.dumps(asdict(found), default=str)


async def test_an_entity_that_ended_in_the_very_tick_is_absent_then(services, differ):
    a = await a_world(services)
    await submit(services, a, ("despawn", {"entity_id": 3}, 1))
    a = await advance(services, a, 2)
    ended = await differ.diff(a, 0, a, 1)
    assert ended.removed == [ListedEntity(3, "Position+Velocity")]
    later = await differ.diff(a, 1, a, 2)
    assert later.summary == DiffSummary(changed=3, values=3)
    backwards = await differ.diff(a, 1, a, 0)
    assert backwards.added == [ListedEntity(3, "Position+Velocity")]


async def test_states_that_differ_in_an_ended_row_alone_differ_in_no_entity(services, differ):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    every = [("despawn", {"entity_id": each}, 2) for each in (1, 2, 3, 4)]
    await submit(services, a, *every)
    await submit(services, b, set_x(1, 9.0), *every)
    a, b = await advance(services, a, 2), await advance(services, b, 2)
    found = await differ.diff(a, 2, b, 2)
    assert (found.is_identical, found.summary) == (False, DiffSummary())
    after = await differ.diff(await advance(services, a), 3, await advance(services, b), 3)
    assert (after.is_identical, after.summary) == (True, DiffSummary())


async def test_before_the_first_tick_there_is_nothing(services, differ):
    world = await a_world(services)
    found = await differ.diff(world, -1, world, 0)
    assert found.summary == DiffSummary(added=4)
    assert found.added == [ListedEntity(number, "Position+Velocity") for number in (1, 2, 3, 4)]
    assert (found.a.entity_count, found.base_tick) == (0, None)
    assert found.commands_b.count_by_type == {"add_processor": 1, "create_world": 1, "run": 1, "spawn": 1}
    assert (await differ.diff(world, 0, world, -1)).summary == DiffSummary(removed=4)
    assert (await differ.diff(world, -1, world, -1)).is_identical


async def test_floats_within_the_tolerance_are_equal(services, differ):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    await submit(services, b, set_x(1, 1.001), set_x(2, 2.5))
    a, b = await advance(services, a), await advance(services, b)

    async def changed(tolerance):
        return [each.entity_id for each in (await differ.diff(a, 1, b, 1, tolerance=tolerance)).values]

    assert await changed(0.0) == [1, 2]
    assert await changed(0.01) == [2]
    assert await changed(0.5) == []
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="tolerance"):
            await differ.diff(a, 1, b, 1, tolerance=bad)


async def test_listings_stop_at_the_limit_and_counts_do_not(services, differ):
    world = await advance(services, await a_world(services, count=9))
    found = await differ.diff(world, 0, world, 1, limit=3)
    assert found.summary == DiffSummary(changed=9, values=9)
    assert [each.entity_id for each in found.values] == [1, 2, 3]
    assert len((await differ.diff(world, -1, world, 0, limit=2)).added) == 2
    assert (await differ.diff(world, -1, world, 0, limit=0)).commands_b.first == []


async def test_a_tick_that_is_not_committed_is_an_error(services, differ):
    world = await a_world(services)
    with pytest.raises(TickNotFoundError, match="tick 1 of world 'demo' is not committed; its last is 0"):
        await differ.diff(world, 0, world, 1)


async def test_only_pages_that_differ_are_read_and_only_once(services, differ, monkeypatch):
    read = []
    original = page_reading.read_pages

    def counted(connection, hashes, hold):
        read.extend(hashes)
        return original(connection, hashes, hold)

    monkeypatch.setattr(page_reading, "read_pages", counted)
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    assert (await differ.diff(a, 0, b, 0)).is_identical
    assert read == []
    await submit(services, b, set_x(1, 5.0))
    a, b = await advance(services, a), await advance(services, b)
    await differ.diff(a, 1, b, 1)
    assert len(read) == 3, "the ids, and x on either side"
    await differ.diff(a, 1, b, 1)
    assert len(read) == 3, "what was read stays in memory"


@pytest.mark.parametrize("dropped", ["a", "b", "both"])
async def test_a_state_that_is_not_stored_is_asked_for(services, dropped):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    await submit(services, b, set_x(1, 5.0), ("despawn", {"entity_id": 2}))
    a, b = await advance(services, a), await advance(services, b)
    lost = {"a": [a], "b": [b], "both": [a, b]}[dropped]
    taken = {}
    for world in lost:
        stored = await services.database.read(lambda c, world=world: read_tick(c, world.world_id, 1))
        taken[world.world_id, 1] = project(world.world_id, stored).state
        where = (snapshots.c.world_id == world.world_id, snapshots.c.tick == 1)
        await services.database.write(lambda c, where=where: c.execute(sa.delete(snapshots).where(*where)))
    differ = DiffService(
        services.database,
        services.world_service,
        state_reader(services, taken),
        page_cache(MemoryBudget(2**24)),
    )
    found = await differ.diff(a, 1, b, 1)
    assert found.summary == DiffSummary(removed=1, changed=1, values=1)
    assert found.values == [ChangedValue(1, "Position", "x", 2.0, 6.0)]
    assert all(isinstance(state, WorldState) for state in taken.values())


async def test_a_damaged_page_is_named(services, differ):
    a = await advance(services, await a_world(services))

    def tamper(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ALTER TABLE pages DISABLE TRIGGER ALL"))
        else:
            connection.execute(sa.text("DROP TRIGGER pages_no_update"))
        connection.execute(sa.update(pages).values(data=pages.c.page_hash))

    await services.database.write(tamper)
    with pytest.raises(CorruptionError, match=r"page [0-9a-f]{64} does not match its hash"):
        await differ.diff(a, 0, a, 1)


async def test_the_commands_that_differ(services, differ):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    shared_id, edited_id = new_id(), new_id()

    async def say(world, command_id, content, tick=0):
        await services.command_service.submit(
            world.world_id, CommandRequest("message", {"content": content}, tick=tick, id=command_id)
        )

    for world, words in ((a, "yes"), (b, "no")):
        await say(world, shared_id, "same")
        await say(world, edited_id, words)
    await say(a, new_id(), "alone", tick=2)
    await say(a, new_id(), "too late", tick=9)
    a, b = await advance(services, a, 2), await advance(services, b, 2)
    found = await differ.diff(a, 2, b, 2)
    assert found.base_tick == 0
    assert found.commands_a.count_by_type == {"message": 2, "run": 1}
    assert found.commands_b.count_by_type == {"fork_world": 1, "message": 1, "run": 1}
    assert (found.commands_a.count, found.commands_b.count) == (3, 3)
    messages = [each for each in found.commands_a.first if each.type == "message"]
    assert [(each.tick, each.payload) for each in messages] == [
        (1, {"content": "yes"}),
        (2, {"content": "alone"}),
    ]
    assert {each.world_id for each in found.commands_b.first} == {b.world_id}
    assert [each.type for each in (await differ.diff(a, 2, b, 2, limit=1)).commands_a.first] == ["message"]
    itself = await differ.diff(a, 0, a, 2)
    assert (itself.commands_a.count, itself.commands_b.count) == (0, 4)


async def test_bulk_commands_of_one_id_are_the_same_only_with_the_same_rows(services, differ):
    a = await a_world(services)
    b = await fork(services, a, "what-if")
    same_id, edited_id = new_id(), new_id()
    for world, x in ((a, 1.0), (b, 2.0)):
        for command_id, value in ((same_id, 0.0), (edited_id, x)):
            batch = encode_batch(pa.table({"position__x": [value]}))
            await services.command_service.submit(
                world.world_id, CommandRequest("spawn", {}, id=command_id, batch=batch)
            )
    found = await differ.diff(await advance(services, a), 1, await advance(services, b), 1)
    for commands in (found.commands_a, found.commands_b):
        spawns = [(each.command_id, each.has_batch) for each in commands.first if each.type == "spawn"]
        assert spawns == [(edited_id, True)]
