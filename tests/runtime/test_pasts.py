"""A world's past, for scripts: what differs, where it comes from, how an entity came to be, and its log."""

from __future__ import annotations

from uuid import uuid4

import pytest

from archetype import ActorCtx, ArchetypeRuntime
from archetype.errors import (
    EntityNotFoundError,
    InvalidInputError,
    NotFoundError,
    TickNotFoundError,
    WorldNotFoundError,
)
from archetype.examples.movement import MovementProcessor, Position, Velocity


@pytest.fixture
async def world(runtime):
    """A world of one point, which is at 1, 2, 3 and 4 after its four ticks; 1 is labelled `base`."""
    made = runtime.world("demo", processors=[MovementProcessor()], seed=5)
    await made.spawn(Position(), Velocity(dx=1))
    await made.run(4)
    await made.label("base", 1)
    return made


@pytest.fixture
async def fork(world):
    """A fork from `base`, whose point is at 12 after its one tick."""
    made = await world.fork("fork", tick="base")
    await made.update(1, Velocity(dx=10))
    await made.step()
    return made


async def test_worlds_are_compared_by_handles_and_references(world, fork):
    """Each after its last tick, or after a number or a label."""
    diff = await world.diff(fork, tick=2)
    assert [(each.field, each.value_a, each.value_b) for each in diff.values] == [
        ("x", 3.0, 12.0), ("dx", 1.0, 10.0),
    ]  # fmt: skip
    assert (diff.a.tick, diff.b.tick, diff.base_tick) == (2, 2, 1)
    assert await world.diff("fork@2", tick=2) == diff
    assert await world.diff("fork", tick=2, other_tick=2) == diff
    assert (await world.diff(fork, tick=2, tolerance=1.0)).summary.values == 0
    assert len((await world.diff(fork, limit=1)).values) == 1
    assert (await world.diff(fork, tick="base", other_tick="base")).is_identical
    assert (await world.diff("fork", tick="base", other_tick="base")).is_identical
    with pytest.raises(TickNotFoundError):
        await world.diff(fork, other_tick=4)
    with pytest.raises(InvalidInputError, match="one of the two"):
        await world.diff("fork@2", other_tick=1)
    with pytest.raises(WorldNotFoundError):
        await world.diff("nowhere")


async def test_a_handle_that_was_not_used_yet_can_be_compared_with(runtime, world):
    """It is opened, or made, as by any other use."""
    assert (await world.diff(runtime.world("demo"))).is_identical
    young = await world.diff(runtime.world("young"))
    assert (young.b.tick, young.base_tick, young.summary.removed) == (-1, None, 1)


async def test_where_pasts_part(runtime, world, fork):
    """The last tick that both have, or none."""
    base = await world.merge_base(fork)
    assert (base.name, base.tick, base.ticks_since_a, base.ticks_since_b) == ("demo", 1, 2, 1)
    assert await world.merge_base("fork@2") == base
    assert (await world.merge_base("demo@0")).tick == 0
    with pytest.raises(NotFoundError, match="share no tick"):
        await world.merge_base(runtime.world("young"))


async def test_the_tree_of_forks(runtime, world, fork):
    """Of a family, or of all; removed worlds where they are asked for."""
    await runtime.world("other").info()
    nodes = await runtime.tree()
    assert [(each.name, each.depth, dict(each.labels)) for each in nodes] == [
        ("demo", 0, {"base": 1}), ("fork", 1, {}), ("other", 0, {}),
    ]  # fmt: skip
    assert await world.tree() == await fork.tree() == nodes[:2]
    await fork.destroy()
    assert [each.name for each in await runtime.tree()] == ["demo", "other"]
    assert [each.name for each in await runtime.tree(with_archived=True)] == ["demo", "fork", "other"]
    assert [each.is_archived for each in await world.tree(with_archived=True)] == [False, True]


async def test_the_log_of_ticks(world, fork):
    """Newest first, those of the ancestors too."""
    entries = await fork.log()
    assert [(each.tick, each.world_name, each.labels) for each in entries] == [
        (2, "fork", ()), (1, "demo", ("base",)), (0, "demo", ()),
    ]  # fmt: skip
    assert await fork.log(1) == entries[:1]
    assert await fork.log(from_tick=1, to_tick=2) == entries[1:2]
    with pytest.raises(InvalidInputError, match="to_tick 1 lies before from_tick 2"):
        await fork.log(from_tick=2, to_tick=1)


async def test_an_entity_is_followed(world):
    """Its values after each tick of a range, and the commands about it."""
    moments = await world.entity_history(1)
    assert [each.components["Position"]["x"] for each in moments] == [1.0, 2.0, 3.0, 4.0]
    assert [command.type for each in moments for command in each.commands] == ["spawn"]
    assert await world.entity_history(1, 1, 3) == moments[1:3]
    with pytest.raises(EntityNotFoundError):
        await world.entity_history(2)


async def test_the_history_is_filtered(world, fork):
    """By type, actor, tick and what became of it; what does not exist is refused."""
    actor = ActorCtx(roles={"admin"})
    await fork.as_actor(actor).despawn(77)
    await fork.step()
    await fork.spawn(Position(), tick=9)

    async def kinds(**wanted):
        return [command.type.value for command in await fork.command_history(**wanted)]

    assert await kinds(types=["spawn", "update"]) == ["spawn", "update", "spawn"]
    assert await kinds(types=["spawn"], limit=1, to_tick=9) == ["spawn"]
    assert await kinds(actor_id=actor.id) == await kinds(status="rejected") == ["despawn"]
    assert await kinds(actor_id=uuid4()) == []
    assert await kinds(status="pending") == await kinds(from_tick=4) == ["spawn"]
    for wanted in (
        {"types": ["bury"]},
        {"status": "lost"},
        {"from_tick": -1},
        {"from_tick": 3, "to_tick": 1},
    ):
        with pytest.raises(InvalidInputError):
            await fork.command_history(**wanted)


def test_code_without_async_compares_worlds_too(sqlite_url):
    """A handle as an argument is the world that it is a handle on."""
    with ArchetypeRuntime.sync(sqlite_url) as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])
        world.spawn(Position(), Velocity(dx=1))
        world.run(2)
        fork = world.fork("fork", tick=0)
        assert world.diff(fork).summary.values == 1
        assert world.diff(other=fork, tick=0).is_identical
        assert world.merge_base(fork).tick == 0
        assert [each.name for each in runtime.tree()] == ["demo", "fork"]
        assert runtime.verify("demo").is_sound
        assert runtime.collect_garbage(dry_run=True).page_count == 0
        seen = []
        assert world.replay(on_tick=seen.append).ticks_compared == 2
        assert seen == [0, 1]
