"""Group commit: many callers, few transactions, each answered for itself."""

import asyncio

import pytest

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import OverloadedError, UnavailableError
from archetype.service.appender import Appender
from archetype.store.append import NewCommand


async def a_world(services):
    return (await services.world_service.create_world(WorldConfig(name=new_id().hex))).world_id


def spawn(world_id, **options):
    return NewCommand(new_id(), world_id, "spawn", "{}", entity_count=1, **options)


async def test_callers_of_one_moment_share_a_transaction(services, monkeypatch):
    world_id = await a_world(services)
    calls = []
    send = Appender._send

    async def counted(self, requests):
        calls.append(len(requests))
        return await send(self, requests)

    monkeypatch.setattr(Appender, "_send", counted)
    answers = await asyncio.gather(*(services.appender.append([spawn(world_id)]) for _ in range(200)))
    assert sorted(answer.first_entity_id for (answer,) in answers) == list(range(1, 201))
    assert len(calls) < 20


async def test_the_same_id_in_one_moment_is_accepted_once(services):
    world_id = await a_world(services)
    command = spawn(world_id)
    answers = await asyncio.gather(*(services.appender.append([command]) for _ in range(20)))
    assert sorted(answer.status for (answer,) in answers) == ["accepted", *["duplicate"] * 19]
    assert len({answer.position for (answer,) in answers}) == 1


async def test_expected_versions_are_compared_one_after_the_other(services):
    world_id = await a_world(services)
    answers = await asyncio.gather(
        *(services.appender.append([spawn(world_id)], expected_version=1) for _ in range(5))
    )
    assert sorted(answer.status for (answer,) in answers) == ["accepted", *["version_conflict"] * 4]


async def test_a_full_queue_refuses_before_anything_is_queued(services):
    world_id = await a_world(services)
    appender = Appender(services.database, queue_commands_max=3)
    waiting = asyncio.gather(*(appender.append([spawn(world_id)]) for _ in range(3)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await appender.append([spawn(world_id)])
    assert caught.value.details["retry_after_s"] > 0
    assert len(await waiting) == 3
    assert appender.queue_depth == 0


async def test_what_the_database_could_not_do_reaches_every_caller_and_no_more(services, monkeypatch):
    world_id = await a_world(services)
    send = Appender._send

    async def broken(self, requests):
        monkeypatch.setattr(Appender, "_send", send)
        raise UnavailableError("down")

    monkeypatch.setattr(Appender, "_send", broken)
    results = await asyncio.gather(
        *(services.appender.append([spawn(world_id)]) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(each, UnavailableError) for each in results)
    (answer,) = await services.appender.append([spawn(world_id)])
    assert answer.first_entity_id == 1


async def test_a_caller_that_gives_up_takes_nobody_with_it(services):
    world_id = await a_world(services)
    first = asyncio.create_task(services.appender.append([spawn(world_id)]))
    second = asyncio.create_task(services.appender.append([spawn(world_id)]))
    await asyncio.sleep(0)
    first.cancel()
    (answer,) = await second
    assert answer.status == "accepted"
