"""A world's past, for scripts: labels, states, counts, forks, and when states are stored."""

from __future__ import annotations

import numpy as np
import pytest

from archetype import ActorCtx, AsyncProcessor, Component
from archetype.errors import (
    EntityNotFoundError,
    InvalidInputError,
    LabelNotFoundError,
    LabelTakenError,
    LimitExceededError,
    NameTakenError,
    PayloadError,
    TickNotFoundError,
)
from archetype.examples.movement import MovementProcessor, Position, Velocity


@pytest.fixture
async def world(runtime):
    """A world of one point, which is at 1, 2, 3 and 4 after its four ticks."""
    made = runtime.world("demo", processors=[MovementProcessor()], seed=5)
    await made.spawn(Position(), Velocity(dx=1))
    await made.run(4)
    return made


async def x_at(world, tick=None):
    return (await world.entity(1, tick)).components["Position"]["x"]


async def test_a_label_stands_for_its_tick(world):
    """In every read and in a fork, until it is removed."""
    label = await world.label("base", tick=1)
    assert (label.name, label.tick, label.world_id) == ("base", 1, world.world_id)
    assert (await world.label("same", tick="base")).tick == 1
    assert (await world.label("end")).tick == 3
    assert [(each.name, each.tick) for each in await world.labels()] == [("base", 1), ("same", 1), ("end", 3)]
    assert [await x_at(world, tick) for tick in ("base", 1, None)] == [2.0, 2.0, 4.0]
    assert (await world.query(Position, tick="base")).to_pydict()["position__x"] == [2.0]
    assert (await world.state(tick="base")).tick == 1
    assert (await (await world.fork("early", tick="base")).info()).fork_tick == 1
    with pytest.raises(LabelTakenError):
        await world.label("base")
    await world.unlabel("base")
    for lost in (world.unlabel("base"), world.state("base"), world.query(tick="base")):
        with pytest.raises(LabelNotFoundError):
            await lost


async def test_commands_about_the_past_are_their_actors(world):
    """A label, its end, and a setting say who asked."""
    actor = ActorCtx(roles={"admin"})
    own = world.as_actor(actor)
    await own.label("base")
    await own.unlabel("base")
    await own.configure(snapshots=2)
    newest = (await world.command_history())[-3:]
    assert [command.type.value for command in newest] == ["add_label", "remove_label", "configure_world"]
    assert {command.actor_id for command in newest} == {actor.id}


async def test_a_history_says_what_became_of_each_command(runtime):
    """Why one was rejected, and in which tick, is in the log."""
    world = runtime.world("told")
    await world.spawn(Position())
    refused = await world.update(7, Position(x=1))
    await world.run(2)
    await world.despawn(1, tick=9)
    told = [
        (each.type.value, each.status, each.applied_tick)
        for each in await world.command_history(types=["spawn", "update", "despawn"])
    ]
    assert told == [("spawn", "applied", 0), ("update", "rejected", 0), ("despawn", "pending", 9)]
    (rejected,) = await world.command_history(status="rejected")
    assert (rejected.id, "7" in rejected.reason) == (refused, True)


async def test_states_entities_and_counts_at_any_tick(world):
    """What was there then; what was not is an error."""
    await world.spawn(Position())
    await world.step()
    assert dict((await world.state()).entities) == {1: ["Position", "Velocity"], 2: ["Position"]}
    assert dict((await world.state(3)).entities) == {1: ["Position", "Velocity"]}
    assert (await world.entity(2)).archetype == "Position"
    with pytest.raises(EntityNotFoundError):
        await world.entity(2, tick=3)
    with pytest.raises(TickNotFoundError):
        await world.entity(1, tick=5)
    with pytest.raises(InvalidInputError, match="one of the two"):
        await world.query(tick=1, ticks=[2])
    counts = await world.counts()
    assert [(each.tick, each.entity_count) for each in counts] == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)]
    assert await world.counts(1, 3) == counts[1:3]
    assert await world.counts(from_tick=4) == counts[4:]
    with pytest.raises(TickNotFoundError):
        await world.counts(to_tick=6)
    with pytest.raises(TickNotFoundError):
        await world.counts(from_tick=-1)
    with pytest.raises(InvalidInputError, match="before from_tick"):
        await world.counts(3, 1)


async def test_counts_have_a_limit(world, monkeypatch):
    """It says what to do, and a range within it is given."""
    monkeypatch.setattr("archetype.service.ranges.RANGE_TICKS_MAX", 3)
    with pytest.raises(LimitExceededError, match="from_tick"):
        await world.counts()
    assert len(await world.counts(1)) == 3


async def test_a_world_before_its_first_tick(runtime):
    """Nobody is there, nothing is counted, nothing can be labelled, and a fork is as bare."""
    world = runtime.world("young")
    assert (await world.state()).tick == -1
    assert await world.counts() == []
    assert (await world.query()).count_rows() == 0
    with pytest.raises(TickNotFoundError, match="no committed tick yet"):
        await world.label("base")
    with pytest.raises(EntityNotFoundError, match=r"no committed tick yet.*step it first"):
        await world.entity(1)
    assert (await (await world.fork("bare")).info()).tick == 0


async def test_a_fork_of_no_tick_at_all(world):
    """-1 shares nothing, though the parent has ticks."""
    info = await (await world.fork("bare", tick=-1)).info()
    assert (info.tick, info.entity_count) == (0, 0)


async def test_a_fork_takes_a_seed_and_what_waits(world):
    """Both only where they are asked for."""
    await world.spawn(Position())
    plain = await world.fork("plain")
    full = await world.fork("full", seed=9, include_pending=True)
    assert [(await each.info()).seed for each in (plain, full)] == [5, 9]
    assert [await each.step() for each in (plain, full)] == [0, 1]
    assert [(await each.info()).entity_count for each in (plain, full)] == [1, 2]


async def test_many_forks_go_their_own_ways(world):
    """Handles in the order of their numbers; all are made or none."""
    await world.label("base", 1)
    many = await world.fork_many("try", 3, tick="base", seed=20)
    assert [each.name for each in many] == ["try-1", "try-2", "try-3"]
    assert [(await each.info()).seed for each in many] == [20, 21, 22]
    assert [each.tick for each in many] == [2, 2, 2]
    await many[1].update(1, Velocity(dx=100))
    for each in many:
        await each.step()
    assert [await x_at(each) for each in many] == [3.0, 102.0, 3.0]
    await world.fork("next-2")
    with pytest.raises(NameTakenError):
        await world.fork_many("next", 2)
    with pytest.raises(InvalidInputError, match="count"):
        await world.fork_many("none", 0)


@pytest.mark.parametrize("snapshots", [3, "needed"])
async def test_when_states_are_stored_changes_nothing_that_is_read(runtime, snapshots):
    """A new world takes the policy, an old one keeps its own until it is configured."""
    world = runtime.world("rare", processors=[MovementProcessor()], snapshots=snapshots)
    await world.spawn(Position(), Velocity(dx=1))
    await world.run(5)
    assert (await world.info()).snapshots == snapshots
    assert (await runtime.world("rare", snapshots=7).info()).snapshots == snapshots
    assert [await x_at(world, tick) for tick in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert (await world.configure(snapshots=1)).snapshots == 1
    with pytest.raises(PayloadError, match="must be a number of ticks"):
        await world.configure(snapshots="often")


async def test_a_policy_that_is_none_is_refused_at_the_first_use(runtime):
    """A number of ticks, or `needed`."""
    with pytest.raises(PayloadError, match="must be a number of ticks"):
        await runtime.world("odd", snapshots=0).info()


class HistCount(Component):
    x: int = 0


class HistReusing(AsyncProcessor):
    """Counts, in an array of its own that it fills anew each time."""

    components = (HistCount,)
    array = np.empty(3, dtype=np.int64)

    async def process(self, df, **_):
        return {"histcount__x": np.add(df.to_arrow().column("histcount__x").to_numpy(), 1, out=self.array)}


@pytest.mark.parametrize("snapshots", [1, "needed"])
async def test_the_past_stays_as_it_was_where_a_processor_uses_an_array_again(runtime, snapshots):
    world = runtime.world("counts", processors=[HistReusing()], snapshots=snapshots)
    await world.spawn_many([[HistCount(x=i)] for i in range(3)])
    await world.run(4)
    past = [(await world.query(HistCount, tick=tick)).to_pydict()["histcount__x"] for tick in range(4)]
    assert past == [[1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]
    assert not (await runtime.verify()).faults
    assert (await world.replay()).divergence is None
