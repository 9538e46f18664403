"""One entity through time: from snapshots, from replays, down forks, with its commands."""

import pyarrow as pa
import pytest
from daft import col

from archetype.core.bulk import encode_batch
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import EntityNotFoundError, LimitExceededError, TickNotFoundError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest


class Spark(Component):
    """Something that burns down."""

    heat: float = 8.0


class Badge(Component):
    """A name."""

    text: str | None = None


class Burning(AsyncProcessor):
    """Burns everything down, and ends what is cold."""

    components = (Spark,)

    async def process(self, df, **kwargs):
        return df.with_column("spark__heat", col("spark__heat") - 1.0).with_column(
            "is_active", col("spark__heat") > 0.0
        )


def spark(heat):
    return {"type": "Spark", "heat": heat}


async def world_of(services, snapshots):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1, snapshots=snapshots))
    await submit(services, info.world_id, ("add_processor", {"processor": "Burning"}))
    return info.world_id


async def submit(services, world_id, *commands):
    await services.command_service.submit_batch(world_id, [CommandRequest(*each) for each in commands])


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def history(services, entity_id, reference="demo", **options):
    world = await services.world_service.find(reference)
    return await services.entity_service.history(world, entity_id, **options)


def told(moments):
    return [
        (each.tick, each.archetype, each.is_active, each.components, [one.type for one in each.commands])
        for each in moments
    ]


@pytest.mark.parametrize("snapshots", [1, 3, "needed"], ids=str)
async def test_an_entity_is_followed_from_its_spawn_to_its_end(services, database_url, snapshots):
    world_id = await world_of(services, snapshots)
    await run(services, world_id, 1)
    await submit(
        services, world_id, ("spawn", {"components": [spark(9)]}), ("spawn", {"components": [spark(4)]})
    )
    await run(services, world_id, 1)
    await submit(
        services,
        world_id,
        ("add_component", {"entity_id": 2, "components": [{"type": "Badge", "text": "é"}]}),
        ("update", {"entity_id": 1, "components": [spark(1)]}),
        ("remove_component", {"entity_id": 1, "component_types": ["Badge"]}),
    )
    await run(services, world_id, 4)
    named = {"Badge": {"text": "é"}}
    async with ServiceContainer(database_url) as cold:
        moments = await history(cold, 2)
        assert told(moments) == [
            (1, "Spark", True, {"Spark": {"heat": 3.0}}, ["spawn"]),
            (2, "Badge+Spark", True, named | {"Spark": {"heat": 2.0}}, ["add_component"]),
            (3, "Badge+Spark", True, named | {"Spark": {"heat": 1.0}}, []),
            (4, "Badge+Spark", False, named | {"Spark": {"heat": 0.0}}, []),
        ]
        first = await history(cold, 1)
    assert [each.tick for each in first] == [1, 2]
    rejected = [one.reason for one in first[1].commands]
    assert rejected[0] is None
    assert "Badge" in rejected[1]


async def test_bulk_commands_name_their_entities_in_their_rows(services):
    world_id = await world_of(services, 1)
    rows = encode_batch(pa.table({"spark__heat": [5.0, 6.0, 7.0]}))
    await services.command_service.submit(world_id, CommandRequest("spawn", {}, batch=rows))
    await run(services, world_id, 1)
    rows = encode_batch(pa.table({"entity_id": [1, 3], "spark__heat": [50.0, 70.0]}))
    await services.command_service.submit(world_id, CommandRequest("update", {}, batch=rows))
    await run(services, world_id, 1)
    commands = {
        entity_id: [[one.type for one in each.commands] for each in await history(services, entity_id)]
        for entity_id in (1, 2, 3)
    }
    assert commands == {1: [["spawn"], ["update"]], 2: [["spawn"], []], 3: [["spawn"], ["update"]]}
    with pytest.raises(EntityNotFoundError):
        await history(services, 4)


async def test_a_fork_shows_the_past_that_it_shares_and_its_own(services):
    world_id = await world_of(services, 2)
    await submit(services, world_id, ("spawn", {"components": [spark(20)]}))
    await run(services, world_id, 4)
    world = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(world, "fork", tick=1)
    await submit(services, fork.world_id, ("update", {"entity_id": 1, "components": [spark(100)]}))
    await run(services, fork.world_id, 2)
    heats = [each.components["Spark"]["heat"] for each in await history(services, 1, "fork")]
    assert heats == [19.0, 18.0, 99.0, 98.0]
    part = await history(services, 1, "fork", from_tick=1, to_tick=3)
    assert [each.tick for each in part] == [1, 2]
    assert [one.type for one in part[1].commands] == ["update"]


async def test_ticks_that_are_not_there_are_errors(services):
    world_id = await world_of(services, 1)
    await submit(services, world_id, ("spawn", {"components": [spark(20)]}))
    await run(services, world_id, 2)
    with pytest.raises(TickNotFoundError):
        await history(services, 1, to_tick=3)
    with pytest.raises(EntityNotFoundError):
        await history(services, 1, from_tick=1, to_tick=1)


async def test_a_range_has_a_limit(services, monkeypatch):
    monkeypatch.setattr("archetype.service.ranges.RANGE_TICKS_MAX", 2)
    world_id = await world_of(services, 1)
    await submit(services, world_id, ("spawn", {"components": [spark(20)]}))
    await run(services, world_id, 3)
    assert len(await history(services, 1, to_tick=2)) == 2
    with pytest.raises(LimitExceededError, match="3 ticks are asked for, at most 2"):
        await history(services, 1)
