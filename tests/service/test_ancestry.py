"""Merge bases, the tree of forks, and the ticks of a lineage."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import NotFoundError
from archetype.examples.movement import Position  # noqa: F401  its class must be loaded
from archetype.service.admission import CommandRequest
from archetype.service.ancestry import AncestryService
from archetype.service.runs import RunRequest
from archetype.store import labels
from archetype.store.acceptance import NewCommand
from archetype.store.schema import snapshots, ticks, worlds
from archetype.store.worlds import NewWorld, create
from statements import analyze, plan_of


@pytest.fixture
def ancestry(services):
    return AncestryService(services.database, services.world_service)


async def a_world(services, name, steps, *, with_entity=True):
    info = await services.world_service.create_world(WorldConfig(name=name, seed=1))
    if with_entity:
        spawn = CommandRequest("spawn", {"components": [{"type": "Position", "x": 1}]})
        await services.command_service.submit(info.world_id, spawn)
    return await advance(services, name, steps)


async def advance(services, name, steps):
    found = await services.world_service.find(name)
    await services.simulation_service.run(found.world_id, RunRequest(steps=steps))
    return await services.world_service.find(name)


async def fork(services, parent, name, tick, steps=0):
    await services.world_service.fork_world(parent, name, tick=tick)
    return await advance(services, name, steps)


async def label(services, world, name, tick):
    command = NewCommand(new_id(), world.world_id, "add_label", f'{{"name":"{name}","tick":{tick}}}')
    await services.database.write(lambda connection: labels.add(connection, command, name, tick))


async def commit_hash(services, world_id, tick):
    query = sa.select(ticks.c.commit_hash).where(ticks.c.world_id == world_id, ticks.c.tick == tick)
    return (await services.database.read(lambda connection: connection.scalar(query))).hex()


async def test_the_merge_base_of_two_forks_is_where_the_earlier_left(services, ancestry):
    root = await a_world(services, "root", 6)
    one = await fork(services, root, "one", 2, steps=3)
    other = await fork(services, root, "other", 4, steps=1)
    base = await ancestry.merge_base(one, 5, other, 5)
    assert (base.world_id, base.name, base.tick) == (root.world_id, "root", 2)
    assert (base.ticks_since_a, base.ticks_since_b) == (3, 3)
    assert base.commit_hash == await commit_hash(services, root.world_id, 2)
    itself = await ancestry.merge_base(one, 5, one, 3)
    assert (itself.world_id, itself.tick, itself.ticks_since_a) == (one.world_id, 3, 2)
    before = await ancestry.merge_base(one, 1, other, 5)
    assert (before.tick, before.ticks_since_a, before.ticks_since_b) == (1, 0, 4)


async def test_worlds_that_share_no_tick_have_no_merge_base(services, ancestry):
    root, other = await a_world(services, "root", 2), await a_world(services, "other", 2)
    with pytest.raises(NotFoundError, match="root@1 and other@1 share no tick"):
        await ancestry.merge_base(root, 1, other, 1)
    twin = await fork(services, root, "twin", -1, steps=1)
    with pytest.raises(NotFoundError):
        await ancestry.merge_base(root, 1, twin, 0)


async def test_the_tree_puts_forks_behind_their_parents_in_order_of_their_ticks(services, ancestry):
    root = await a_world(services, "root", 4)
    other = await a_world(services, "other", 1)
    late = await fork(services, root, "late", 3, steps=1)
    early = await fork(services, root, "early", 1)
    await fork(services, late, "leaf", 4)
    await fork(services, root, "twin of late", 3)
    await label(services, root, "best", 2)
    await label(services, root, "base", 0)
    nodes = await ancestry.tree()
    assert [(node.name, node.depth, node.fork_tick) for node in nodes] == [
        ("root", 0, None),
        ("early", 1, 1),
        ("late", 1, 3),
        ("leaf", 2, 4),
        ("twin of late", 1, 3),
        ("other", 0, None),
    ]
    assert nodes[0].labels == {"base": 0, "best": 2}
    assert (nodes[0].committed_tick, nodes[2].committed_tick, nodes[2].parent_id) == (3, 4, root.world_id)
    assert await ancestry.tree(early) == nodes[:5]
    assert await ancestry.tree(other) == nodes[5:]


async def test_archived_worlds_stay_in_the_tree_only_while_something_living_comes_of_them(services, ancestry):
    root = await a_world(services, "root", 3)
    middle = await fork(services, root, "middle", 1, steps=1)
    await fork(services, middle, "leaf", 2)
    gone = await fork(services, root, "gone", 2)
    for world in (root, middle, gone):
        await services.world_service.remove_world(world)
    found = [(node.name, node.is_archived) for node in await ancestry.tree()]
    assert found == [("root", True), ("middle", True), ("leaf", False)]
    assert [node.name for node in await ancestry.tree(gone, with_archived=True)] == [
        "root",
        "middle",
        "leaf",
        "gone",
    ]


async def test_a_chain_of_hundreds_of_forks_is_a_tree_and_a_log_like_any_other(services, ancestry):
    root = await a_world(services, "root", 1)
    depth = 600

    def grow(connection):
        parent_id = root.world_id
        (first,) = connection.execute(sa.select(*ticks.columns)).mappings()
        for number in range(1, depth):
            world_id = new_id()
            command = NewCommand(world_id, world_id, "fork_world", "{}")
            name = str(number)
            create(connection, NewWorld(world_id, name, 1, "{}", command, parent_id, number - 1))
            connection.execute(ticks.insert(), dict(first) | {"world_id": world_id, "tick": number})
            ahead = sa.update(worlds).where(worlds.c.world_id == world_id)
            connection.execute(ahead.values(committed_tick=number))
            parent_id = world_id
        return parent_id

    leaf_id = await services.database.write(grow)
    leaf = await services.world_service.find(leaf_id)
    nodes = await ancestry.tree(leaf)
    assert [node.depth for node in nodes] == list(range(depth))
    entries = await ancestry.log(leaf, limit=1000)
    assert [entry.tick for entry in entries] == list(range(depth))[::-1]
    assert [entry.world_id for entry in entries] == [node.world_id for node in nodes][::-1]
    base = await ancestry.merge_base(leaf, depth - 1, root, 0)
    assert (base.world_id, base.ticks_since_a) == (root.world_id, depth - 1)


async def test_the_log_follows_the_lineage_newest_first(services, ancestry):
    root = await a_world(services, "root", 4)
    world = await fork(services, root, "what-if", 2, steps=2)
    await label(services, root, "before", 1)
    await label(services, root, "elsewhere", 3)
    await label(services, world, "mine", 1)
    entries = await ancestry.log(world)
    assert [(each.tick, each.world_name) for each in entries] == [
        (4, "what-if"), (3, "what-if"), (2, "root"), (1, "root"), (0, "root"),
    ]  # fmt: skip
    assert [each.labels for each in entries] == [(), (), (), ("before", "mine"), ()]
    assert [child.parent_hash for child in entries[:-1]] == [parent.commit_hash for parent in entries[1:]]
    first = entries[-1]
    assert (first.entity_count, first.command_count, first.rejected_count) == (1, 3, 0)
    assert first.parent_hash == "00" * 32
    assert all(each.has_snapshot for each in entries)
    moments = [each.committed_at for each in entries]
    assert moments == sorted(moments, reverse=True)
    assert moments[0].utcoffset() is not None


async def test_the_log_pages_by_tick_and_keeps_to_its_range(services, ancestry):
    root = await a_world(services, "root", 4)
    world = await fork(services, root, "what-if", 1, steps=3)

    async def ticks_in(**window):
        return [each.tick for each in await ancestry.log(world, **window)]

    assert await ticks_in(limit=2) == [4, 3]
    assert await ticks_in(limit=2, before_tick=3) == [2, 1]
    assert await ticks_in(limit=2, before_tick=1) == [0]
    assert await ticks_in(before_tick=0) == []
    assert await ticks_in(from_tick=1, to_tick=4) == [3, 2, 1]
    assert await ticks_in(from_tick=1, to_tick=4, before_tick=3) == [2, 1]
    assert await ticks_in(from_tick=9) == []
    assert await ticks_in(to_tick=99, limit=1) == [4]
    assert await ticks_in(limit=0) == []


async def test_a_tick_whose_snapshot_is_not_stored_is_told_apart(services, ancestry):
    world = await a_world(services, "root", 2)
    empty = await a_world(services, "empty", 1, with_entity=False)

    drop = sa.delete(snapshots).where(snapshots.c.world_id == world.world_id, snapshots.c.tick == 0)
    await services.database.write(lambda connection: connection.execute(drop))
    assert [each.has_snapshot for each in await ancestry.log(world)] == [True, False]
    assert [each.has_snapshot for each in await ancestry.log(empty)] == [True]


@pytest.mark.postgres_only
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_page_of_the_log_is_read_by_its_index(services, ancestry, statements):
    world = await a_world(services, "root", 2)
    names = [column.name for column in ticks.columns if column.name not in {"tick", "position"}]
    copies = sa.text(
        f"INSERT INTO ticks (tick, position, {', '.join(names)}) "
        f"SELECT number + 1, number + 1000, {', '.join(names)} FROM ticks, generate_series(1, 20000) number "
        "WHERE tick = 1"
    )
    await services.database.write(lambda connection: connection.execute(copies))
    await analyze(services.database, "ticks")
    statements.clear()
    await ancestry.log(replace(world, committed_tick=20_001), before_tick=9_000)
    (listing,) = [each for each in statements if "AS has_snapshot" in each.text]
    plan = await plan_of(services.database, listing)
    assert any("Index Cond" in each and "(tick >= '8900'::bigint)" in each for each in plan), plan
