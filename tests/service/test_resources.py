"""Recorded resources: part of the program, so that code hashes, replays and forks have them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.core.scheduling.system import system
from archetype.errors import CodeNotLoadedError, InvalidInputError, PayloadError, ProcessorError
from archetype.log.command import CommandStatus
from archetype.service.admission import CommandRequest
from archetype.service.forks import ForkRequest
from archetype.service.program import Program
from archetype.service.resource_records import ResourceRecord
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify


class Harvest(Component):
    grain: float = 0.0


class Season(BaseModel):
    model_config = ConfigDict(strict=True)

    growth: float = Field(1.0, alias="growthRate", ge=0)
    day: dt.date = dt.date(2024, 1, 1)
    notes: dict[str, list[int]] = {}


class Locked(BaseModel):
    key: SecretStr


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    handle: Any = None


@system(writes=(Harvest,))
def harvester(access):
    """Adds the season's growth, and then spoils its copy."""
    season = access.resources.require(Season)
    for entity_id, harvest in access(Harvest):
        access[entity_id, Harvest] = Harvest(grain=harvest.grain + season.growth)
    season.growth = 1000.0


class Gleaner(AsyncProcessor):
    components = (Harvest,)

    async def process(self, df, *, resources):
        season = resources.require(Season)
        season.growth += 1000
        return df.with_column("harvest__grain", df["harvest__grain"] + (season.growth - 1000) / 100)


async def submit(services, world_id, kind, **payload):
    return await services.command_service.submit(world_id, CommandRequest(kind, payload))


async def season(services, world_id, growth):
    return await submit(services, world_id, "add_resource", resource="Season", value={"growthRate": growth})


async def run(services, world_id, steps=1):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def grain(services, world_id, tick=None):
    row = await services.world_service.find(world_id)
    at = row.committed_tick if tick is None else tick
    return round((await services.query_service.entity(row, 1, at)).components["Harvest"]["grain"], 6)


async def recorded(services, world_id):
    return await services.program_service.resources(await services.world_service.find(world_id))


@pytest.fixture
async def world_id(services):
    """A world with one field, that grows by the season and by a hundredth of it."""
    config = WorldConfig(name=new_id().hex, seed=7, snapshots="needed")
    world_id = (await services.world_service.create_world(config)).world_id
    for processor in ("harvester", "Gleaner"):
        await submit(services, world_id, "add_processor", processor=processor)
    await submit(services, world_id, "spawn", components=[{"type": "Harvest"}])
    return world_id


async def test_processors_get_what_is_recorded_and_change_nothing_by_changing_it(
    services, world_id, database_url
):
    """Tick by tick, in a replay, in a state computed again, and in another process."""
    await season(services, world_id, 1)
    await run(services, world_id, 2)
    await season(services, world_id, 10)
    await run(services, world_id, 2)
    grown = [1.01, 2.02, 12.12, 22.22]
    assert await grain(services, world_id) == grown[-1]
    row = await services.world_service.find(world_id)
    assert (await services.replay_service.replay(row)).divergence is None
    async with type(services)(database_url) as others:
        assert [await grain(others, world_id, tick) for tick in range(4)] == grown
        await run(others, world_id)
        assert await grain(others, world_id) == 32.32
    report = await verify(services.database)
    assert report.is_sound


async def test_a_resource_is_recorded_whole_and_once_a_class(services, world_id):
    """With defaults, by field name, in the program, and so in its hash; removing is by name."""
    await season(services, world_id, 2)
    await season(services, world_id, 3)
    (record,) = await recorded(services, world_id)
    assert (record.name, record.module) == ("Season", __name__)
    assert record.value == {"day": "2024-01-01", "growth": 3, "notes": {}}
    assert record.build() == Season(growthRate=3.0)
    await run(services, world_id)
    for name in ("Season", "Season"):
        await submit(services, world_id, "remove_resource", resource=name)
    assert await recorded(services, world_id) == ()
    with pytest.raises(ProcessorError, match="Season"):
        await run(services, world_id)
    await season(services, world_id, 5)
    await run(services, world_id)
    assert await grain(services, world_id) == 3.03 + 5.05
    history = await services.command_service.history(world_id)
    assert [(each.status, each.reason) for each in history if each.command.type == "remove_resource"] == [
        (CommandStatus.APPLIED, None),
        (CommandStatus.REJECTED, "no resource named 'Season' is recorded in this world"),
    ]
    row = await services.world_service.find(world_id)
    assert (await services.replay_service.replay(row)).divergence is None
    assert (await verify(services.database)).is_sound


async def test_a_fork_has_the_resources_of_its_tick(services, world_id):
    """And its own from there on."""
    for growth in (1, 10):
        await season(services, world_id, growth)
        await run(services, world_id)
    row = await services.world_service.find(world_id)
    (fork,) = await services.world_service.fork(row, ForkRequest("fork", tick=0))
    await season(services, world_id, 100)
    await run(services, fork.world_id)
    assert await grain(services, fork.world_id) == 2.02
    assert [each.value["growth"] for each in await recorded(services, fork.world_id)] == [1]


def test_programs_without_resources_are_spelled_as_before():
    """So that their hashes stay; with resources they are read back, in any order of adding."""
    plain = Program()
    assert "resources" not in plain.document
    first, second = ResourceRecord.of(Season(growthRate=2.0)), ResourceRecord.of(Opaque(handle=1))
    program = plain.add_resource(first).add_resource(second)
    assert Program.from_document(program.document) == program
    assert program.hash == plain.add_resource(second).add_resource(first).hash != plain.hash
    removed = program.remove_resource(f"{__name__}.Season")
    assert removed == plain.add_resource(second)
    assert removed.remove_resource("Season") is None


REFUSED = [
    ("not loaded", {"resource": "NoSuchSeason"}, "payload.resource"),
    ("no model", {"resource": "AsyncProcessor"}, "payload.resource"),
    ("bad value", {"resource": "Season", "value": {"growthRate": -1}}, "payload.value.growthRate"),
    ("a misspelled field", {"resource": "Season", "value": {"growthrate": 2}}, "payload.value.growthrate"),
    ("not an object", {"resource": "Season", "value": [1]}, "payload.value"),
    ("a secret", {"resource": "Locked", "value": {"key": "hush"}}, "payload.value"),
    ("no name", {"value": {}}, "payload.resource"),
]


@pytest.mark.parametrize(
    ("payload", "path"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
async def test_what_cannot_be_recorded_is_refused_at_the_door(services, world_id, payload, path):
    """With the path of what does not fit; nothing is stored."""
    before = (await services.world_service.find(world_id)).head_version
    with pytest.raises(PayloadError) as caught:
        await submit(services, world_id, "add_resource", **payload)
    assert caught.value.faults[0]["path"] == path
    assert (await services.world_service.find(world_id)).head_version == before


@pytest.mark.parametrize(
    "model",
    [Locked(key="hush"), Opaque(handle=object()), Opaque(handle=float("nan"))],
    ids=["a secret", "an object", "no number"],
)
def test_a_model_that_its_json_does_not_give_again_is_refused(model):
    """With what to do instead."""
    with pytest.raises(InvalidInputError, match="live handle"):
        ResourceRecord.of(model)


async def test_a_class_that_is_not_loaded_is_named_with_its_module(services, world_id, monkeypatch):
    """Before anything is sealed; whoever has it goes on."""
    await season(services, world_id, 1)
    await run(services, world_id)
    before = await services.world_service.find(world_id)
    with monkeypatch.context() as patch:
        patch.setattr("archetype.service.resource_records.find_model", lambda name: None)
        with pytest.raises(CodeNotLoadedError, match=__name__) as caught:
            await run(services, world_id)
        assert caught.value.details == {"name": "Season", "module": __name__}
        (listed,) = [each.info() for each in await recorded(services, world_id)]
        assert (listed.name, listed.is_loaded) == ("Season", False)
    assert await services.world_service.find(world_id) == before
    await run(services, world_id)
