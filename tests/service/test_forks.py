"""Forks anywhere: references, labels, many at once, what waits, and forks of forks hundreds deep."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from daft import col

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    CommandConflictError,
    InvalidInputError,
    LabelNotFoundError,
    LabelTakenError,
    LimitExceededError,
    NameTakenError,
    PayloadError,
    TickNotFoundError,
)
from archetype.service.admission import CommandRequest
from archetype.service.forks import ForkRequest
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify


class Walk(Component):
    """Where a walker is."""

    x: float = 0.0


class Walking(AsyncProcessor):
    """Takes one random step."""

    components = (Walk,)

    async def process(self, df, *, rng, **kwargs):
        return df.with_column("walk__x", col("walk__x") + float(rng.normal()))


def walk(x=0.0):
    return {"components": [{"type": "Walk", "x": x}]}


async def walking_world(services, ticks=5, snapshots=1):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1, snapshots=snapshots))
    await submit(services, info.world_id, ("add_processor", {"processor": "Walking"}), ("spawn", walk()))
    await run(services, info.world_id, ticks)
    return await services.world_service.find("demo")


async def submit(services, world_id, *commands):
    return await services.command_service.submit_batch(world_id, [CommandRequest(*each) for each in commands])


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def places(services, name, tick):
    """Return where everyone is after a tick."""
    world = await services.world_service.find(name)
    slices = await services.query_service.select(world, tick, Selection())
    return [x for each in slices for x in each.rows.column("walk__x").to_pylist()]


async def count(services, table):
    statement = sa.text(f"SELECT count(*) FROM {table}")
    return await services.database.read(lambda connection: connection.scalar(statement))


async def resolved(services, reference, tick=None):
    return (await services.world_service.resolve(reference, tick))[1]


async def test_references_name_ticks(services):
    world = await walking_world(services)
    await services.label_service.add(world, "baseline", 2)
    references = ["demo", "demo@0", "demo@4", "demo@-1", "demo@-4", "demo@baseline", f"{world.world_id}@-0"]
    assert [await resolved(services, each) for each in references] == [4, 0, 4, 3, 0, 2, 4]
    assert await resolved(services, "demo", 3) == 3
    assert await resolved(services, "demo@3", 3) == 3


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("demo@5", TickNotFoundError, "0 to 4"),
        ("demo@-5", TickNotFoundError, "0 to 4"),
        ("demo@other", LabelNotFoundError, "'other'"),
        ("demo@", InvalidInputError, "demo@120"),
        ("demo@1.5", InvalidInputError, "names no tick"),
        ("demo@1@2", InvalidInputError, "names no tick"),
    ],
)
async def test_a_reference_that_leads_nowhere_says_why(services, reference, error, said):
    await walking_world(services)
    with pytest.raises(error, match=said):
        await services.world_service.resolve(reference)


async def test_two_ticks_at_once_are_refused(services):
    await walking_world(services)
    with pytest.raises(InvalidInputError, match="give one of the two"):
        await services.world_service.resolve("demo@3", 2)


async def test_the_past_takes_no_commands(services):
    await walking_world(services)
    with pytest.raises(InvalidInputError, match="without the @"):
        await services.world_service.find("demo@3")


async def test_a_label_is_unique_and_is_inherited_by_forks_that_share_its_tick(services):
    world = await walking_world(services)
    await services.label_service.add(world, "early", 1)
    await services.label_service.add(world, "late", 4)
    with pytest.raises(LabelTakenError, match="tick 1"):
        await services.label_service.add(world, "early", 2)
    await services.world_service.fork_world(world, "fork", tick=3)
    fork = await services.world_service.find("fork")
    assert await resolved(services, "fork@early") == 1
    with pytest.raises(LabelNotFoundError):
        await resolved(services, "fork@late")
    await services.label_service.add(fork, "early", 3)
    assert (await resolved(services, "fork@early"), await resolved(services, "demo@early")) == (3, 1)
    listed = await services.label_service.list_labels(fork)
    assert [(each.name, each.tick, each.world_id) for each in listed] == [("early", 3, fork.world_id)]
    await services.label_service.remove(fork, "early")
    assert await resolved(services, "fork@early") == 1
    with pytest.raises(LabelNotFoundError, match="of its own"):
        await services.label_service.remove(fork, "early")


async def test_a_label_that_is_refused_leaves_nothing_in_the_log(services):
    world = await walking_world(services)
    await services.label_service.add(world, "a", 1)
    version = (await services.world_service.find("demo")).head_version
    for name, tick, error in (
        ("a", 2, LabelTakenError),
        ("1a", 2, PayloadError),
        ("b", 9, TickNotFoundError),
    ):
        with pytest.raises(error):
            await services.label_service.add(world, name, tick)
    assert (await services.world_service.find("demo")).head_version == version


async def test_a_label_is_given_once_however_often_it_is_asked_for(services):
    world = await walking_world(services)
    command_id = new_id()
    for _ in range(2):
        await services.label_service.add(world, "a", 1, command_id=command_id)
    assert len(await services.label_service.list_labels(world)) == 1


async def test_another_seed_gives_another_future_and_the_same_past(services):
    world = await walking_world(services)
    for name, seed in (("same", None), ("other", 99)):
        info = await services.world_service.fork_world(world, name, tick=2, seed=seed)
        await run(services, info.world_id, 2)
    assert await places(services, "same", 4) == await places(services, "demo", 4)
    assert await places(services, "other", 4) != await places(services, "demo", 4)
    assert await places(services, "other", 2) == await places(services, "demo", 2)


async def test_many_forks_are_made_at_once_or_not_at_all(services):
    world = await walking_world(services)
    infos = await services.world_service.fork(world, ForkRequest("try", tick=1, seed=10, count=3))
    assert [(info.name, info.seed, info.tick) for info in infos] == [
        ("try-1", 10, 2),
        ("try-2", 11, 2),
        ("try-3", 12, 2),
    ]
    worlds = await count(services, "worlds")
    with pytest.raises(NameTakenError):
        await services.world_service.fork(world, ForkRequest("try", count=2))
    await services.world_service.fork_world(world, "more-2")
    with pytest.raises(NameTakenError):
        await services.world_service.fork(world, ForkRequest("more", count=3))
    assert await count(services, "worlds") == worlds + 1


@pytest.mark.parametrize("number", [0, -1, 1001])
async def test_a_count_out_of_range_is_refused(services, number):
    world = await walking_world(services)
    with pytest.raises(InvalidInputError, match="count must be"):
        await services.world_service.fork(world, ForkRequest("try", count=number))


async def test_a_retry_of_a_fork_answers_as_the_first_time(services):
    world = await walking_world(services)
    request = ForkRequest("try", count=2, command_id=new_id())
    first = await services.world_service.fork(world, request)
    await run(services, world.world_id, 2)
    moved_on = await services.world_service.find("demo")
    again = await services.world_service.fork(moved_on, request)
    assert [info.world_id for info in again] == [info.world_id for info in first]
    assert [info.fork_tick for info in again] == [4, 4]
    with pytest.raises(CommandConflictError):
        await services.world_service.fork(
            moved_on, ForkRequest("other", count=2, command_id=request.command_id)
        )


@pytest.mark.parametrize(
    "other",
    [
        {"tick": 2},
        {"seed": 77},
        {"include_pending": True},
        {"actor_id": new_id()},
        {"name": "other"},
        {"count": 1},
        {"parent": "elsewhere"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_retry_that_asks_for_something_else_is_refused_and_told_nothing(services, other):
    worlds, demo = services.world_service, await walking_world(services)
    elsewhere = await worlds.create_world(WorldConfig(name="elsewhere", seed=2))
    await run(services, elsewhere.world_id, 2)
    request = ForkRequest("try", tick=1, command_id=new_id())
    await worlds.fork(demo, request)
    parent = await worlds.find(other.get("parent", "demo"))
    asked = replace(request, **{field: value for field, value in other.items() if field != "parent"})
    with pytest.raises(CommandConflictError) as caught:
        await worlds.fork(parent, asked)
    assert "try" not in f"{caught.value.message} {caught.value.details}"


async def test_the_id_of_a_world_that_is_no_fork_makes_none(services):
    worlds, demo = services.world_service, await walking_world(services)
    with pytest.raises(CommandConflictError, match="accepted before with other content"):
        await worlds.fork(demo, ForkRequest("demo", command_id=demo.world_id))


def interleave(monkeypatch, owner, name, meanwhile):
    """Let something else happen once, at the moment when a method is called."""
    original = getattr(owner, name)

    async def interleaved(*arguments, **options):
        monkeypatch.setattr(owner, name, original)
        await meanwhile()
        return await original(*arguments, **options)

    monkeypatch.setattr(owner, name, interleaved)


@pytest.mark.parametrize("count", [None, 3], ids=["one", "many"])
@pytest.mark.parametrize("changed", ["tick", "settings"])
async def test_a_retry_whose_first_try_lands_meanwhile_answers_as_that(services, monkeypatch, changed, count):
    """The first try has read its parent; then that changes, and the retry reads it before the first lands."""
    worlds, before = services.world_service, await walking_world(services)
    request = ForkRequest("what-if", count=count, command_id=new_id())
    if changed == "settings":
        await worlds.configure_world(before, {"snapshots": 7})
    else:
        await run(services, before.world_id, 1)
    after, first = await worlds.find("demo"), []

    async def land():
        first.extend(await worlds.fork(before, request))

    interleave(monkeypatch, worlds, "lineage", land)
    assert await worlds.fork(after, request) == first
    assert {fork.fork_tick for fork in first} == {before.committed_tick}
    assert len(await worlds.list_worlds()) == 1 + (count or 1)


async def test_a_name_that_another_took_meanwhile_is_taken(services, monkeypatch):
    worlds, demo = services.world_service, await walking_world(services)
    interleave(monkeypatch, worlds, "lineage", lambda: worlds.fork_world(demo, "what-if"))
    with pytest.raises(NameTakenError):
        await worlds.fork_world(demo, "what-if", command_id=new_id())


async def test_a_retried_label_whose_first_try_lands_meanwhile_answers_as_that(services):
    """Each names the newest tick of its own moment; where the tick was chosen, another one is refused."""
    demo, labels, command_id = await walking_world(services), services.label_service, new_id()
    await run(services, demo.world_id, 1)
    later = await services.world_service.find("demo")
    first = await labels.add(demo, "now", demo.committed_tick, is_relative=True, command_id=command_id)
    retried = await labels.add(later, "now", later.committed_tick, is_relative=True, command_id=command_id)
    assert retried == first
    with pytest.raises(CommandConflictError):
        await labels.add(later, "now", later.committed_tick, command_id=command_id)


async def test_a_fork_takes_along_what_waits_if_it_is_asked_to(services):
    world = await walking_world(services)
    receipts = await submit(
        services,
        world.world_id,
        ("spawn", walk(7.0)),
        ("spawn", walk(8.0), 7),
        ("despawn", {"entity_id": 1}, 6),
    )
    world = await services.world_service.find("demo")
    await services.world_service.fork_world(world, "without")
    await services.world_service.fork_world(world, "with", include_pending=True)
    for name in ("demo", "with", "without"):
        await run(services, (await services.world_service.find(name)).world_id, 4)
    assert [await places(services, "with", tick) for tick in range(5, 9)] == [
        await places(services, "demo", tick) for tick in range(5, 9)
    ]
    assert len(await places(services, "without", 8)) == 1
    fork = await services.world_service.find("with")
    entries = [
        each
        for each in await services.command_service.history(fork.world_id)
        if each.command.id in {receipt.command_id for receipt in receipts}
    ]
    assert [(each.command.seq, each.first_entity_id, each.applied_tick) for each in entries] == [
        (2, 2, 5),
        (3, 3, 7),
        (4, None, 6),
    ]
    (spawned,) = await submit(services, fork.world_id, ("spawn", walk()))
    assert spawned.first_entity_id == 4
    assert (await verify(services.database)).faults == ()


async def test_a_fork_of_the_past_takes_along_what_waited_then(services):
    world = await walking_world(services, ticks=2)
    await submit(services, world.world_id, ("spawn", walk(7.0), 4))
    await run(services, world.world_id, 1)
    await submit(services, world.world_id, ("spawn", walk(8.0), 4))
    await run(services, world.world_id, 4)
    world = await services.world_service.find("demo")
    await services.world_service.fork_world(world, "then", tick=2, include_pending=True)
    fork = await services.world_service.find("then")
    await run(services, fork.world_id, 3)
    assert len(await places(services, "then", 4)) == 2
    assert len(await places(services, "demo", 4)) == 3


async def test_a_forks_own_waiting_commands_go_with_a_fork_of_it(services):
    world = await walking_world(services)
    first = await services.world_service.fork_world(world, "first")
    await submit(services, first.world_id, ("spawn", walk(7.0)))
    row = await services.world_service.find("first")
    await services.world_service.fork_world(row, "second", include_pending=True)
    second = await services.world_service.find("second")
    assert second.parent_id == world.world_id
    await run(services, second.world_id, 1)
    assert len(await places(services, "second", 5)) == 2


async def test_forks_of_forks_two_hundred_deep_write_the_same_few_rows(services):
    """Each adds a tick of its own, so that none of them can be left out of the lineage."""
    world = await walking_world(services, ticks=1, snapshots="needed")
    written = set()
    for depth in range(200):
        before = [await count(services, table) for table in ("worlds", "events")] if depth % 50 == 0 else []
        info = await services.world_service.fork_world(world, f"fork-{depth}")
        if before:
            after = [await count(services, table) for table in ("worlds", "events")]
            written.add(tuple(b - a for a, b in zip(before, after, strict=True)))
        await run(services, info.world_id, 1)
        world = await services.world_service.find(info.world_id)
    assert written == {(1, 1)}
    assert world.committed_tick == 200
    straight = await services.world_service.create_world(
        WorldConfig(name="straight", seed=1, snapshots="needed")
    )
    await submit(services, straight.world_id, ("add_processor", {"processor": "Walking"}), ("spawn", walk()))
    await run(services, straight.world_id, 201)
    for tick in (0, 100, 200):
        assert await places(services, "fork-199", tick) == await places(services, "straight", tick)


async def test_a_lineage_has_a_limit(services, monkeypatch):
    """One world more is refused, and not made; what is forked earlier, or shares no tick, goes on."""
    monkeypatch.setattr("archetype.service.forks.LINEAGE_WORLDS_MAX", 3)
    worlds = services.world_service
    world = await walking_world(services, ticks=2)
    for name in ("second", "third"):
        info = await worlds.fork_world(world, name)
        await run(services, info.world_id, 1)
        world = await worlds.find(name)
    made = await count(services, "worlds"), await count(services, "events")
    with pytest.raises(LimitExceededError, match="an earlier ancestor") as caught:
        await worlds.fork_world(world, "fourth")
    assert caught.value.details == {"limit": 3, "actual": 4}
    assert made == (await count(services, "worlds"), await count(services, "events"))
    assert (await worlds.fork_world(world, "earlier", tick=2)).fork_tick == 2
    await worlds.fork_world(world, "without", tick=-1)
    without = await worlds.find("without")
    await run(services, without.world_id, 1)
    without = await worlds.find("without")
    assert (await worlds.fork_world(without, "anew")).fork_tick == 0
    assert [each.world_id for each in (await worlds.lineage(without.world_id)).segments] == [without.world_id]
    assert (await verify(services.database)).faults == ()


async def test_settings_come_along(services):
    world = await walking_world(services, snapshots=7)
    info = await services.world_service.fork_world(world, "fork")
    assert (info.snapshots, info.seed) == (7, 1)
    assert [
        each.name
        for each in await services.program_service.processors(await services.world_service.find("fork"))
    ] == ["Walking"]


@pytest.mark.parametrize("snapshots", [0, -1, 1.5, "often", True])
async def test_a_policy_that_is_none_is_refused(services, snapshots):
    with pytest.raises((PayloadError, ValueError), match="snapshots"):
        await services.world_service.create_world(WorldConfig(name="demo", snapshots=snapshots))
