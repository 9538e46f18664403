"""Messages: they reach the processors of their tick, now and in every replay, and stay readable."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.core.scheduling.system import system
from archetype.errors import InvalidInputError, PayloadError
from archetype.log.command import CommandStatus
from archetype.service.admission import CommandRequest
from archetype.service.forks import ForkRequest
from archetype.service.messages import message_filter
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify


class Mailbox(Component):
    heard: str = ""
    total: float = 0.0


@system(writes=(Mailbox,))
def postman(access):
    """Writes down what an entity is told, and what everybody is."""
    for entity_id, box in access(Mailbox):
        told = [(each.sender_id, each.channel, each.content) for each in access.inbox(entity_id)]
        told += [each.content for each in access.messages.broadcast]
        if told:
            access[entity_id, Mailbox] = Mailbox(heard=box.heard + repr(told), total=box.total)


class Treasurer(AsyncProcessor):
    """Adds up what is sent on one channel, whoever it is for."""

    components = (Mailbox,)

    async def process(self, df, *, messages):
        gained = float(sum(each.content for each in messages.by_channel.get("gold", ())))
        return df.with_column("mailbox__total", df["mailbox__total"] + gained)


@pytest.fixture
async def world_id(services):
    """A world with two mailboxes, 1 and 2, after its first tick."""
    config = WorldConfig(name=new_id().hex, seed=7, snapshots="needed")
    world_id = (await services.world_service.create_world(config)).world_id
    for processor in ("postman", "Treasurer"):
        await submit(services, world_id, "add_processor", processor=processor)
    for _ in range(2):
        await submit(services, world_id, "spawn", components=[{"type": "Mailbox"}])
    await run(services, world_id)
    return world_id


async def submit(services, world_id, kind, *, tick=0, priority=0, **payload):
    return await services.command_service.submit(world_id, CommandRequest(kind, payload, tick, priority))


async def say(services, world_id, content, **options):
    return await submit(services, world_id, "message", content=content, **options)


async def run(services, world_id, steps=1):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def heard(services, world_id, entity_id, tick=None):
    row = await services.world_service.find(world_id)
    state = await services.query_service.entity(row, entity_id, row.committed_tick if tick is None else tick)
    return state.components["Mailbox"]["heard"]


async def read(services, world_id, **wanted):
    return await services.message_service.list_messages(world_id, message_filter(**wanted))


async def test_a_message_reaches_the_tick_after_its_acceptance_and_no_other(services, world_id):
    """In order of application: by priority, then as accepted; broadcasts reach everybody."""
    await say(services, world_id, "second", receiver_id=1, sender_id=2, channel="chat")
    await say(services, world_id, {"n": [1, None]}, receiver_id=1, priority=-1)
    await say(services, world_id, "all")
    await say(services, world_id, "later", tick=3, receiver_id=2)
    result = await run(services, world_id)
    assert (result.commands_applied, result.commands_rejected) == (3, 0)
    told = [(None, None, {"n": [1, None]}), (2, "chat", "second"), "all"]
    assert await heard(services, world_id, 1) == repr(told)
    assert await heard(services, world_id, 2) == repr(["all"])
    await run(services, world_id, 2)
    assert await heard(services, world_id, 1) == repr(told)
    assert await heard(services, world_id, 2) == repr(["all"]) + repr([(None, None, "later")])


async def test_a_frame_processor_gets_them_by_keyword(services, world_id):
    """As one value, by receiver and by channel."""
    for amount in (2, 3.5):
        await say(services, world_id, amount, channel="gold", receiver_id=1)
    await say(services, world_id, 100, channel="silver")
    await run(services, world_id)
    row = await services.world_service.find(world_id)
    state = await services.query_service.entity(row, 2, row.committed_tick)
    assert state.components["Mailbox"]["total"] == 5.5


async def test_a_message_to_nobody_is_rejected_and_kept(services, world_id):
    """Who is there counts once all commands of the tick are applied, whichever came first."""
    await say(services, world_id, "to a stranger", receiver_id=77)
    await say(services, world_id, "to the dying", receiver_id=2)
    await submit(services, world_id, "despawn", entity_id=2)
    await say(services, world_id, "to the newborn", receiver_id=3, sender_id=88)
    born = await submit(services, world_id, "spawn", components=[{"type": "Mailbox"}])
    assert born.entity_ids == range(3, 4)
    result = await run(services, world_id)
    assert (result.commands_applied, result.commands_rejected) == (3, 2)
    assert await heard(services, world_id, 3) == repr([(88, None, "to the newborn")])
    listed = await read(services, world_id)
    assert [(each.content, each.status, each.reason) for each in listed] == [
        ("to a stranger", CommandStatus.REJECTED, "Entity 77 is not active."),
        ("to the dying", CommandStatus.REJECTED, "Entity 2 is not active."),
        ("to the newborn", CommandStatus.APPLIED, None),
    ]
    assert (await verify(services.database)).is_sound


async def test_a_replay_and_a_state_computed_again_are_told_the_same(services, world_id, database_url):
    """Also in another process, which has seen none of it."""
    for tick in range(1, 6):
        await say(services, world_id, f"tick {tick}", tick=tick, receiver_id=1 + tick % 2)
        await say(services, world_id, tick, tick=tick, channel="gold")
        await say(services, world_id, "lost", tick=tick, receiver_id=99)
    await run(services, world_id, 6)
    row = await services.world_service.find(world_id)
    report = await services.replay_service.replay(row)
    assert (report.divergence, report.ticks_compared) == (None, 7)
    async with type(services)(database_url) as others:
        then = await heard(others, world_id, 2, tick=3)
        assert then == repr([(None, None, "tick 1"), 1]) + repr([2]) + repr([(None, None, "tick 3"), 3])


async def test_a_fork_reads_the_past_it_shares(services, world_id):
    """And from there on its own; what waits comes along if it is asked for."""
    await say(services, world_id, "shared", receiver_id=1)
    await run(services, world_id)
    await say(services, world_id, "waiting", receiver_id=1)
    row = await services.world_service.find(world_id)
    (bare,) = await services.world_service.fork(row, ForkRequest("bare"))
    (laden,) = await services.world_service.fork(row, ForkRequest("laden", include_pending=True))
    await run(services, world_id)
    for fork, contents in ((bare, ["shared", "own"]), (laden, ["shared", "waiting", "own"])):
        await say(services, fork.world_id, "own", receiver_id=1)
        assert [each.content for each in await read(services, fork.world_id)] == contents
        await run(services, fork.world_id)
        told = await heard(services, fork.world_id, 1)
        expected = [(None, None, content) for content in contents[1:]]
        assert told == repr([(None, None, "shared")]) + repr(expected)
    assert [each.content for each in await read(services, world_id)] == ["shared", "waiting"]


FILTERS = [
    ("receiver", {"receiver_id": 1}, [1, 3]),
    ("sender", {"sender_id": 2}, [1, 2]),
    ("channel", {"channel": "a"}, [2, 3]),
    ("several", {"sender_id": 2, "channel": "a"}, [2]),
    ("ticks", {"from_tick": 2, "to_tick": 4}, [2, 3]),
    ("from a tick", {"from_tick": 3}, [3, 4]),
    ("no such", {"channel": "b"}, []),
]


@pytest.mark.parametrize(
    ("wanted", "found"), [each[1:] for each in FILTERS], ids=[each[0] for each in FILTERS]
)
async def test_messages_are_read_by_what_they_are(services, world_id, wanted, found):
    """Custom commands of the same fields are none."""
    sent = [
        {"receiver_id": 1, "sender_id": 2},
        {"sender_id": 2, "channel": "a"},
        {"receiver_id": 1, "channel": "a"},
        {},
    ]
    for number, fields in enumerate(sent, 1):
        await say(services, world_id, number, tick=number, **fields)
    await submit(services, world_id, "custom", receiver_id="x", sender_id=[2], channel="a")
    assert [each.content for each in await read(services, world_id, **wanted)] == found


async def test_a_message_is_told_whole(services, world_id):
    """Everything that its sender said, where it stands, and that it waits."""
    receipt = await say(services, world_id, None, tick=4, receiver_id=1, sender_id=2, channel="c")
    (message,) = await read(services, world_id)
    assert astuple(message) == (
        *(receipt.command_id, 2, 1, "c", None, 4, receipt.position, world_id, None),
        *(CommandStatus.PENDING, None),
    )


@pytest.mark.parametrize("wanted", [{"receiver_id": 0}, {"sender_id": 2**53}, {"from_tick": -1}], ids=str)
def test_a_filter_that_can_match_nothing_is_refused(wanted):
    """With the field it is in."""
    with pytest.raises(InvalidInputError) as caught:
        message_filter(**wanted)
    assert caught.value.faults[0]["path"] == next(iter(wanted)).removesuffix("_id")


@pytest.mark.parametrize(
    "payload",
    [{}, {"content": float("nan")}, {"content": 1, "receiver_id": 0}, {"content": 1, "to": 1}],
    ids=str,
)
async def test_a_message_that_does_not_fit_is_refused_at_the_door(services, world_id, payload):
    """It changes nothing."""
    before = (await services.world_service.find(world_id)).head_version
    with pytest.raises((PayloadError, InvalidInputError)):
        await submit(services, world_id, "message", **payload)
    assert (await services.world_service.find(world_id)).head_version == before
