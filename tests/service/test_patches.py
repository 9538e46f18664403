"""Worlds whose pages are patches: read, forked, thinned, collected and verified as if they were not."""

import asyncio
import json
import random

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from daft import col

from archetype.core.bulk import encode_batch
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import CorruptionError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

COUNT = 300


class Drop(Component):
    """A drop of water."""

    x: float = 0.0
    v: float = 0.0
    name: str = ""


class Dripping(AsyncProcessor):
    """Moves every drop by its speed."""

    components = (Drop,)

    async def process(self, df, **kwargs):
        return df.with_column("drop__x", col("drop__x") + col("drop__v"))


def drops(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "drop__x": rng.uniform(-500, 500, count),
            "drop__v": rng.normal(size=count),
            "drop__name": [f"drop {number}" for number in rng.integers(0, 10**6, count)],
        }
    )


async def world_of(services, name="demo", snapshots=1):
    info = await services.world_service.create_world(WorldConfig(name=name, seed=1, snapshots=snapshots))
    add = CommandRequest("add_processor", {"processor": "Dripping"})
    await services.command_service.submit(info.world_id, add)
    await services.command_service.submit(
        info.world_id, CommandRequest("spawn", {}, batch=encode_batch(drops()))
    )
    return info.world_id


async def run(services, world_id, steps):
    await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def rows(services, query):
    return await services.database.read(lambda connection: connection.execute(sa.text(query)).all())


async def past(url, name="demo"):
    """Return every tick's values, as a process that holds nothing in memory reads them."""
    async with ServiceContainer(url) as other:
        world = await other.world_service.find(name)
        ticks = list(range(world.committed_tick + 1))
        random.Random(name).shuffle(ticks)
        found = {}
        for tick in ticks:
            slices = await other.query_service.select(world, tick, Selection())
            found[tick] = [(each.archetype.name, each.rows.to_pydict()) for each in slices]
        return found


async def damage(database, *statements):
    """Edit pages past the guard that refuses it."""
    guard = "pages_no_update" if database.is_sqlite else "pages_no_edit ON pages"

    def edit(connection):
        connection.execute(sa.text(f"DROP TRIGGER {guard}"))
        for statement in statements:
            connection.execute(sa.text(statement))

    await database.write(edit)


async def test_pages_that_go_on_are_patches_and_every_tick_reads_the_same(services, database_url):
    world_id = await world_of(services)
    await run(services, world_id, 30)
    codecs = dict(await rows(services, "SELECT codec, count(*) FROM pages GROUP BY codec"))
    assert codecs["trend"] > 20
    reused = 30 * 4 - sum(codecs.values())
    assert services.simulation_service.page_counts.pages == codecs | {"reused": reused}
    stored, content = await usage(services)
    assert stored * 4 < content
    found = await past(database_url)
    (_, first), (_, last) = found[0][0], found[29][0]
    assert first["drop__name"] == last["drop__name"] == drops()["drop__name"].to_pylist()
    x = np.array(first["drop__x"])
    for tick in range(1, 30):
        x += np.array(first["drop__v"])
        assert found[tick][0][1]["drop__x"] == x.tolist()
    assert (await verify(services.database)).faults == ()


async def usage(services):
    query = "SELECT bytes, content_bytes FROM storage_use WHERE what = 'pages'"
    ((stored, content),) = await rows(services, query)
    return stored, content


def steps(seed):
    """A random past: runs, spawns, ends, edits and forks."""
    draw = random.Random(seed)
    for number in range(12):
        kind = draw.choice(["run", "run", "run", "spawn", "despawn", "update", "fork"])
        yield kind, number, draw.randrange(1, COUNT), draw.randrange(1, 5)


async def live_through(url, seed, **options):
    """Let a world and its forks live; return them by name."""
    names = ["demo"]
    async with ServiceContainer(url, **options) as services:
        world_id = await world_of(services, snapshots=random.Random(seed).choice([1, 1, 3, "needed"]))
        await run(services, world_id, 2)
        for kind, number, entity_id, count in steps(seed):
            name = names[number % len(names)]
            world = await services.world_service.find(name)
            send = services.command_service.submit
            match kind:
                case "run":
                    await run(services, world.world_id, count)
                case "spawn":
                    payload = {"components": [{"type": "Drop", "x": 1.5, "name": "new"}]}
                    await send(world.world_id, CommandRequest("spawn", payload))
                case "despawn":
                    await send(world.world_id, CommandRequest("despawn", {"entity_id": entity_id}))
                case "update":
                    component = {"type": "Drop", "v": float(entity_id)}
                    payload = {"entity_id": entity_id, "components": [component]}
                    await send(world.world_id, CommandRequest("update", payload))
                case _:
                    tick = world.committed_tick - count % 3
                    await services.world_service.fork_world(world, f"fork-{number}", tick=max(tick, 0))
                    names.append(f"fork-{number}")
    return names


@pytest.mark.parametrize("seed", range(4))
async def test_a_past_of_patches_is_that_of_whole_pages(sqlite_url, tmp_path, seed):
    plain_url = f"sqlite:///{tmp_path / 'plain.db'}"
    names = await live_through(sqlite_url, seed)
    assert await live_through(plain_url, seed, makes_patches=False) == names
    for name in names:
        assert await past(sqlite_url, name) == await past(plain_url, name)
    async with ServiceContainer(sqlite_url) as services, ServiceContainer(plain_url) as plain:
        query = "SELECT page_hash, content_size_bytes FROM pages ORDER BY page_hash"
        assert await rows(services, query) == await rows(plain, query)
        assert await rows(plain, "SELECT 1 FROM pages WHERE codec <> 'plain'") == []
        await services.retention_service.collect_garbage()
        assert (await verify(services.database)).faults == ()


async def test_what_patches_are_made_on_outlives_its_snapshot(services, database_url):
    world_id = await world_of(services)
    await run(services, world_id, 25)
    before = await past(database_url)
    world = await services.world_service.find(world_id)
    planned = await services.retention_service.plan(world)
    await services.retention_service.thin(world)
    garbage = await services.retention_service.garbage()
    assert garbage == planned.freed
    assert garbage.page_count > 0
    assert await services.retention_service.collect_garbage() == garbage
    kept = await rows(services, "SELECT page_hash FROM pages WHERE codec IN ('trend', 'difference')")
    assert kept, "the newest snapshot is made of patches, which need their bases"
    assert (await verify(services.database)).faults == ()
    await run(services, world_id, 3)
    after = await past(database_url)
    assert {tick: after[tick] for tick in before} == before
    assert (await verify(services.database)).faults == ()


async def test_collecting_a_chain_that_nobody_needs_takes_all_of_it(services):
    world_id = await world_of(services)
    await run(services, world_id, 25)
    await services.database.write(lambda connection: connection.execute(sa.text("DELETE FROM snapshots")))
    (count,) = (await rows(services, "SELECT count(*) FROM pages"))[0]
    assert (await services.retention_service.collect_garbage()).page_count == count
    assert await rows(services, "SELECT * FROM pages") == []


async def test_a_run_in_another_process_goes_on_with_the_chain(services, database_url):
    world_id = await world_of(services)
    await run(services, world_id, 6)
    async with ServiceContainer(database_url) as other:
        await run(other, world_id, 1)
    ((codec,),) = await rows(
        services,
        "SELECT codec FROM pages WHERE page_hash NOT IN (SELECT base_hash FROM pages "
        "WHERE base_hash IS NOT NULL) AND codec <> 'plain' AND codec <> 'packed'",
    )
    assert codec == "trend"


async def test_a_page_that_is_there_in_another_form_is_shared(services, database_url):
    """A fork without patches stores whole what the parent, a tick later, would store as patches."""
    world_id = await world_of(services)
    await run(services, world_id, 5)
    world = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(world, "whole")
    async with ServiceContainer(database_url, makes_patches=False) as other:
        await run(other, fork.world_id, 4)
    (count,) = (await rows(services, "SELECT count(*) FROM pages"))[0]
    await run(services, world_id, 4)
    assert (await rows(services, "SELECT count(*) FROM pages"))[0] == (count,)
    await run(services, world_id, 6)
    assert (await past(database_url))[8] == (await past(database_url, "whole"))[8]
    assert (await verify(services.database)).faults == ()


ONE = "page_hash = (SELECT page_hash FROM pages WHERE codec = 'trend' ORDER BY page_hash LIMIT 1)"
OTHER = "SELECT page_hash FROM pages WHERE codec = 'plain' ORDER BY page_hash DESC LIMIT 1"


@pytest.mark.parametrize(
    "edit",
    [
        f"UPDATE pages SET base_hash = page_hash WHERE {ONE}",
        f"UPDATE pages SET base_hash = ({OTHER}) WHERE {ONE}",
        f"UPDATE pages SET codec = 'difference' WHERE {ONE}",
        f"UPDATE pages SET content_size_bytes = 1152921504606846976 WHERE {ONE}",
        "UPDATE pages SET base_hash = page_hash, codec = 'trend' WHERE codec = 'plain'",
    ],
    ids=["circle", "other_base", "other_codec", "size", "no_root"],
)
async def test_a_patch_that_lies_is_found_and_named(services, database_url, edit):
    world_id = await world_of(services)
    await run(services, world_id, 6)
    named = await rows(services, f"SELECT page_hash FROM pages WHERE {ONE}")
    await damage(services.database, edit)
    faults = (await verify(services.database)).faults
    assert f"page {bytes(named[0][0]).hex()}" in {fault.place for fault in faults}
    with pytest.raises(CorruptionError, match=r"page [0-9a-f]{64}"):
        await past(database_url)


async def test_writers_of_the_same_chain_share_it(services, database_url):
    """Two processes run forks of one seed in step; whoever comes second finds the pages."""
    world_id = await world_of(services)
    await run(services, world_id, 2)
    world = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(world, "twin")
    async with ServiceContainer(database_url) as other:
        for _ in range(4):
            await asyncio.gather(run(services, world_id, 2), run(other, fork.world_id, 2))
    parent, twin = await past(database_url), await past(database_url, "twin")
    assert json.dumps(parent, sort_keys=True) == json.dumps(twin, sort_keys=True)
    assert (await verify(services.database)).faults == ()
