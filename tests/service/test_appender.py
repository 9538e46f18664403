"""Group commit: many callers, few transactions, each answered for itself."""

import asyncio
import sys
from uuid import UUID

import pytest

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import OverloadedError, UnavailableError
from archetype.service.appender import Appender
from archetype.store.acceptance import NewCommand


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


class Stall:
    """Keeps the flushes of every appender back until it is over, and counts what they are sent."""

    def __init__(self, monkeypatch) -> None:
        self.over = asyncio.Event()
        self.sent: list[UUID] = []
        send = Appender._send

        async def stalled(appender, requests):
            self.sent += [command.event_id for request in requests for command in request.group]
            await self.over.wait()
            return await send(appender, requests)

        monkeypatch.setattr(Appender, "_send", stalled)


async def flood(appender, commands) -> tuple[list, list]:
    """Send commands at once, and return the waiting callers and the refusals."""
    callers = [asyncio.create_task(appender.append([command])) for command in commands]
    for _ in range(3):
        await asyncio.sleep(0)
    refusals = [caller.exception() for caller in callers if caller.done()]
    return [caller for caller in callers if not caller.done()], refusals


async def test_a_flood_on_a_stalled_database_is_refused_at_once_and_the_rest_answered_once(
    services, monkeypatch
):
    """No more waits than the queue holds; when the database is back, each that waited is in the log once."""
    world_id = await a_world(services)
    stall = Stall(monkeypatch)
    appender = Appender(services.database, queue_commands_max=5)
    held, refused = await flood(appender, [spawn(world_id) for _ in range(4)])
    assert not refused
    assert appender.queue_depth == 0
    commands = [spawn(world_id) for _ in range(40)]
    waiting, refused = await flood(appender, commands)
    assert len(stall.sent) <= 4 + 5
    assert len(waiting) <= 2 * 5
    assert len(waiting) + len(refused) == 40
    assert all(isinstance(error, OverloadedError) for error in refused)
    assert all(error.details["retry_after_s"] > 0 for error in refused)
    assert appender.queue_depth <= 5
    _, (error,) = await flood(appender, [spawn(world_id)])
    assert isinstance(error, OverloadedError)
    stall.over.set()
    answers = [answer for group in await asyncio.gather(*held, *waiting) for answer in group]
    assert {answer.status for answer in answers} == {"accepted"}
    assert sorted(answer.first_entity_id for answer in answers) == list(range(1, len(answers) + 1))
    assert len(stall.sent) == len(set(stall.sent)) == len(answers)
    history = await services.command_service.history(world_id, limit=1000)
    logged = [entry.command.id for entry in history if entry.command.type == "spawn"]
    assert sorted(logged) == sorted(stall.sent)
    assert appender.queue_depth == 0
    (answer,) = await appender.append([spawn(world_id)])
    assert answer.first_entity_id == len(answers) + 1


@pytest.mark.parametrize(("spare_bytes", "expected"), [(0, 3), (-1, 2)], ids=["fits", "a byte over"])
async def test_the_bytes_that_wait_are_limited_to_the_byte(services, monkeypatch, spare_bytes, expected):
    world_id = await a_world(services)
    stall = Stall(monkeypatch)
    commands = [
        NewCommand(new_id(), world_id, "custom", payload, batch=b"four")
        for payload in ('{"text":"latin"}', '{"text":"\u20ac"}', '{"text":"\U0001f40e"}')
    ]
    sizes = [sys.getsizeof(command.payload) + len(command.batch) for command in commands]
    appender = Appender(services.database, queue_bytes_max=sum(sizes) + spare_bytes)
    held = [(await flood(appender, [spawn(world_id)]))[0] for _ in range(appender._flushers_max)]
    assert appender.queue_depth == 0
    waiting, refused = await flood(appender, commands)
    assert (len(waiting), len(refused)) == (expected, 3 - expected)
    assert appender.queue_depth == expected
    stall.over.set()
    await asyncio.gather(*waiting, *(caller for callers in held for caller in callers))
    assert appender._queued_bytes == 0


async def test_one_group_that_waits_alone_may_be_larger_than_the_queue(services, monkeypatch):
    """Or it could never be accepted; what would wait beside it is refused."""
    world_id = await a_world(services)
    stall = Stall(monkeypatch)
    appender = Appender(services.database, queue_bytes_max=1)
    held = [(await flood(appender, [spawn(world_id)]))[0] for _ in range(appender._flushers_max)]
    waiting, refused = await flood(appender, [spawn(world_id), spawn(world_id)])
    assert (len(waiting), len(refused)) == (1, 1)
    stall.over.set()
    (answer,) = await waiting[0]
    assert answer.status == "accepted"
    await asyncio.gather(*(caller for callers in held for caller in callers))


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
