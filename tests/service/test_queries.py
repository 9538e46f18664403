"""Reading states: any tick, from memory or from pages, and damage found on the way."""

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from archetype.core.bulk import encode_batch
from archetype.core.config import WorldConfig
from archetype.errors import ComponentError, CorruptionError, EntityNotFoundError, TickNotFoundError
from archetype.examples.movement import MovementProcessor  # noqa: F401  its class must be loaded
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest


async def a_world(services, count=3, steps=3):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1))
    table = pa.table({"position__x": np.zeros(count), "velocity__dx": np.arange(1.0, count + 1)})
    requests = [
        CommandRequest("add_processor", {"processor": "MovementProcessor"}),
        CommandRequest("spawn", {}, batch=encode_batch(table)),
        CommandRequest("spawn", {"components": [{"type": "Position", "x": 50}]}),
        CommandRequest("despawn", {"entity_id": 2}, tick=1),
    ]
    await services.command_service.submit_batch(info.world_id, requests)
    await services.simulation_service.run(info.world_id, RunRequest(steps=steps))
    return await services.world_service.find("demo")


@pytest.fixture(params=["warm", "cold"])
async def reader(request, services, database_url):
    """The service that ran the world, and another one that must read everything from the database."""
    world = await a_world(services)
    if request.param == "warm":
        yield services.query_service, world
        return
    async with ServiceContainer(database_url) as other:
        yield other.query_service, world


async def test_the_state_after_any_tick(reader):
    queries, world = reader
    first = await queries.snapshot(world, 0)
    assert first.entities == {
        1: ["Position", "Velocity"],
        2: ["Position", "Velocity"],
        3: ["Position", "Velocity"],
        4: ["Position"],
    }
    assert first.archetype_counts == {"Position": 1, "Position+Velocity": 3}
    assert set((await queries.snapshot(world, 1)).entities) == {1, 3, 4}
    last = await queries.snapshot(world)
    assert (last.tick, set(last.entities)) == (2, {1, 3, 4})


async def test_one_entity_after_any_tick(reader):
    queries, world = reader
    entity = await queries.entity(world, 3, 1)
    assert (entity.archetype, entity.tick) == ("Position+Velocity", 1)
    assert entity.components == {"Position": {"x": 6.0, "y": 0.0}, "Velocity": {"dx": 3.0, "dy": 0.0}}
    assert (await queries.entity(world, 2, 0)).components["Position"]["x"] == 2.0
    for gone in ((2, 1), (2, None), (99, None)):
        with pytest.raises(EntityNotFoundError):
            await queries.entity(world, *gone)


async def test_components_of_all_that_have_them(reader):
    queries, world = reader
    table = await queries.frame(world, components=["Position"], ticks=[0, 2])
    assert table.column_names == [
        "world_id", "run_id", "entity_id", "tick", "is_active", "position__x", "position__y",
    ]  # fmt: skip
    columns = (table[name].to_pylist() for name in ("tick", "entity_id", "position__x"))
    assert list(zip(*columns, strict=True)) == [
        (0, 1, 1.0), (0, 2, 2.0), (0, 3, 3.0), (0, 4, 50.0), (2, 1, 3.0), (2, 3, 9.0), (2, 4, 50.0),
    ]  # fmt: skip
    assert set(table["world_id"].to_pylist()) == {str(world.world_id)}
    assert all(table["is_active"].to_pylist())


async def test_entities_can_be_chosen_and_those_that_are_not_there_are_left_out(reader):
    queries, world = reader
    table = await queries.frame(world, components=["Velocity"], entity_ids=[3, 1, 4, 77])
    assert table["entity_id"].to_pylist() == [1, 3]


async def test_a_frame_of_everything_has_nulls_where_an_archetype_lacks_a_column(reader):
    queries, world = reader
    table = await queries.frame(world)
    assert table["velocity__dx"].to_pylist() == [1.0, 3.0, None]


async def test_ticks_that_are_not_committed_are_errors_and_never_the_present(reader):
    queries, world = reader
    for tick in (3, -1, 10**9):
        with pytest.raises(TickNotFoundError):
            await queries.snapshot(world, tick)
    with pytest.raises(TickNotFoundError):
        await queries.frame(world, components=["Position"], ticks=[1, 3])


async def test_before_the_first_tick_there_is_nothing_to_see(services):
    info = await services.world_service.create_world(WorldConfig(name="new"))
    world = await services.world_service.find(info.world_id)
    assert (await services.query_service.snapshot(world)).entities == {}
    assert (await services.query_service.frame(world, components=["Position"])).num_rows == 0
    with pytest.raises(ComponentError):
        await services.query_service.frame(world, components=["Unheard"])
    with pytest.raises(TickNotFoundError, match="no committed tick"):
        await services.query_service.snapshot(world, 0)


async def damage(services, statement):
    def tamper(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ALTER TABLE pages DISABLE TRIGGER ALL"))
            connection.execute(sa.text("ALTER TABLE snapshots DISABLE TRIGGER ALL"))
        else:
            connection.execute(sa.text("DROP TRIGGER pages_no_update"))
            connection.execute(sa.text("DROP TRIGGER snapshots_no_update"))
            connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
        connection.execute(sa.text(statement))

    await services.database.write(tamper)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE pages SET data = page_hash", "does not match its hash"),
        ("DELETE FROM pages", "is missing"),
        ("UPDATE pages SET codec = 'lz77'", "codec 'lz77'"),
    ],
)
async def test_a_damaged_page_is_found_when_it_is_read_and_named(services, database_url, statement, message):
    world = await a_world(services)
    await damage(services, statement)
    async with ServiceContainer(database_url) as other:
        with pytest.raises(CorruptionError, match=rf"page [0-9a-f]{{64}} .*{message}"):
            await other.query_service.frame(world, components=["Position"])
        with pytest.raises(CorruptionError, match=message):
            await other.simulation_service.run(world.world_id, RunRequest(steps=1))


async def test_a_snapshot_whose_pages_were_exchanged_is_not_run_on(services, database_url):
    world = await a_world(services)
    await damage(
        services,
        "UPDATE snapshots SET pages = (SELECT pages FROM snapshots s WHERE s.tick = 0 "
        "AND s.archetype_id = snapshots.archetype_id AND s.row_count = 1) "
        "WHERE tick = 2 AND row_count = 1",
    )
    await damage_row_counts(services)
    async with ServiceContainer(database_url) as other:
        with pytest.raises(CorruptionError, match="does not match its state hash"):
            await other.simulation_service.run(world.world_id, RunRequest(steps=1))


async def damage_row_counts(services):
    await services.database.write(
        lambda connection: connection.execute(
            sa.text("UPDATE snapshots SET row_count = row_count + 1 WHERE tick = 2")
        )
    )


async def test_only_the_pages_of_the_wanted_columns_are_read(services, database_url, monkeypatch):
    from archetype.service import queries

    world = await a_world(services)
    read = []
    original = queries.read_pages

    def counted(connection, hashes, hold):
        read.extend(hashes)
        return original(connection, hashes, hold)

    monkeypatch.setattr(queries, "read_pages", counted)
    async with ServiceContainer(database_url) as other:
        await other.query_service.frame(world, components=["Velocity"], ticks=[0])
        assert len(read) == 3, "entity_id, dx and dy of one archetype"
        await other.query_service.frame(world, components=["Velocity"], ticks=[0])
        assert len(read) == 3, "what was read stays in memory"


async def test_only_the_pages_that_hold_the_wanted_entities_are_read(services, database_url):
    """Of two pages a column, the second alone is read for an entity in it."""
    info = await services.world_service.create_world(WorldConfig(name="large"))
    count = 70_000
    rows = pa.table({"position__x": np.arange(count, dtype=float), "position__y": np.ones(count)})
    await services.command_service.submit(
        info.world_id, CommandRequest("spawn", {}, batch=encode_batch(rows))
    )
    await services.simulation_service.run(info.world_id, RunRequest(steps=2))
    async with ServiceContainer(database_url) as other:
        world = await other.world_service.find("large")
        last = await other.query_service.entity(world, count, 0)
        assert last.components["Position"] == {"x": count - 1.0, "y": 1.0}
        read = other.budget.uses()["pages"].value_count
        whole = await other.query_service.frame(world, ticks=[0])
        assert whole.num_rows == count
        assert read == 4, "both pages of the ids, and the second of each value"
        assert other.budget.uses()["pages"].value_count == 6
        both = await other.query_service.frame(world, ticks=[0], entity_ids=[1, count])
        assert both.column("position__x").to_pylist() == [0.0, count - 1.0]
