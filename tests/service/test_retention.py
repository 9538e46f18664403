"""Thinning and garbage collection: what goes, what stays and why, and that nothing is missed."""

import asyncio
from itertools import pairwise

import pytest
import sqlalchemy as sa
from daft import col
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import InvalidInputError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.policy import Keeping
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

X = "grain__x"


class Grain(Component):
    """A grain of sand."""

    x: float = 0.0


class Rolling(AsyncProcessor):
    """Rolls every grain by a random step."""

    components = (Grain,)
    error = 0.0

    async def process(self, df, *, rng, **kwargs):
        return df.with_column(X, col(X) + float(rng.normal()) + Rolling.error)


class Asking(AsyncProcessor):
    """Is no function of its inputs, and says so."""

    components = (Grain,)
    deterministic = False
    asked = 0

    async def process(self, df, **kwargs):
        Asking.asked += 1
        return df.with_column(X, col(X) + float(Asking.asked))


class Erring(AsyncProcessor):
    """Is no function of its inputs, and does not say so."""

    components = (Grain,)
    count = 0

    async def process(self, df, *, tick, **kwargs):
        Erring.count += 1
        return df.with_column(X, col(X) + (float(Erring.count) if tick == 4 else 1.0))


class Stick:
    """A live handle, which the process has that runs the world, and nobody who replays it elsewhere."""


class Stirring(AsyncProcessor):
    """Stirs the grains with a stick, if it has been told to."""

    components = (Grain,)

    async def process(self, df, *, resources, is_stirring=False, **kwargs):
        if is_stirring:
            resources.require(Stick)
        return df.with_column(X, col(X) + 1.0)


async def world_of(services, *names, snapshots=1):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=4, snapshots=snapshots))
    start = [CommandRequest("add_processor", {"processor": name}) for name in names]
    start += [CommandRequest("spawn", {"components": [{"type": "Grain"}]})] * 2
    await services.command_service.submit_batch(info.world_id, start)
    return info.world_id


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def thin(services, reference="demo", **options):
    world = await services.world_service.find(reference)
    return await services.retention_service.thin(world, **options)


async def plan(services, reference="demo", **options):
    world = await services.world_service.find(reference)
    return await services.retention_service.plan(world, **options)


async def stored_ticks(services, name="demo"):
    statement = sa.text(
        "SELECT DISTINCT s.tick FROM snapshots s JOIN worlds w ON w.world_id = s.world_id "
        "WHERE w.name = :name ORDER BY s.tick"
    ).bindparams(name=name)
    return await services.database.read(lambda connection: list(connection.scalars(statement)))


async def page_count(services):
    statement = sa.text("SELECT count(*) FROM pages")
    return await services.database.read(lambda connection: connection.scalar(statement))


async def values(services, name="demo"):
    """Return every tick's values, as a process that holds nothing in memory reads them."""
    async with ServiceContainer(services.database.url.render_as_string(hide_password=False)) as other:
        world = await other.world_service.find(name)
        found = []
        for tick in range(world.committed_tick + 1):
            slices = await other.query_service.select(world, tick, Selection())
            found.append([each.rows.to_pydict() for each in slices])
        return found


async def test_what_a_replay_rebuilds_goes_and_every_tick_still_reads_the_same(services):
    world_id = await world_of(services, "Rolling")
    await run(services, world_id, 8)
    before = await values(services)
    planned = await plan(services)
    assert (planned.stored_count, planned.ticks, planned.kept) == (8, list(range(7)), {"the newest": 1})
    result = await thin(services, reason="to save space")
    assert (result.ticks_dropped, result.ticks_kept, result.unproved) == (7, 1, {})
    assert await stored_ticks(services) == [7]
    assert await values(services) == before
    (entry,) = [
        each for each in await services.command_service.history(world_id) if each.command.type == "thin_world"
    ]
    assert entry.command.payload == {"ticks_dropped": 7, "reason": "to save space"}


async def test_what_was_planned_is_what_a_collection_frees(services):
    world_id = await world_of(services, "Rolling")
    await run(services, world_id, 8)
    planned = await plan(services)
    assert (await services.retention_service.garbage()).page_count == 0
    count = await page_count(services)
    await thin(services)
    garbage = await services.retention_service.garbage()
    assert garbage == planned.freed
    assert await services.retention_service.collect_garbage() == garbage
    assert await page_count(services) == count - garbage.page_count
    assert (await services.retention_service.garbage()).page_count == 0
    await run(services, world_id, 2)
    assert len(await values(services)) == 10


async def test_every_nth_can_be_kept(services):
    await run(services, await world_of(services, "Rolling"), 8)
    await thin(services, keep_every=3)
    assert await stored_ticks(services) == [2, 5, 7]


async def test_what_must_stay_stays(services):
    """Fork points in use, the last state of a program, ticks that are no function of their inputs."""
    world_id = await world_of(services, "Rolling")
    await run(services, world_id, 3)
    add = CommandRequest("add_processor", {"processor": "Asking"})
    await services.command_service.submit(world_id, add)
    await run(services, world_id, 2)
    remove = CommandRequest("remove_processor", {"processor": "Asking"})
    await services.command_service.submit(world_id, remove)
    await run(services, world_id, 6)
    world = await services.world_service.find(world_id)
    used = await services.world_service.fork_world(world, "used", tick=7)
    gone = await services.world_service.fork_world(world, "gone", tick=8)
    await services.world_service.remove_world(await services.world_service.find(gone.world_id))
    before, asked = await values(services), Asking.asked
    assert (await plan(services)).kept == {
        "the program changes behind it": 1,
        "it is not deterministic": 2,
        "a fork begins with it": 1,
        "the newest": 1,
    }
    await thin(services)
    await services.retention_service.collect_garbage()
    assert await stored_ticks(services) == [2, 3, 4, 7, 10]
    assert (await values(services), Asking.asked) == (before, asked)
    await run(services, used.world_id, 1)
    assert (await values(services, "used"))[:8] == before[:8]


async def test_a_tick_that_does_not_come_out_the_same_keeps_its_snapshot(services):
    """Erring lies about tick 4: its snapshot is the only witness, and the replay goes on from it."""
    await run(services, await world_of(services, "Erring"), 8)
    before = await values(services)
    result = await thin(services)
    assert list(result.unproved) == [4]
    assert await stored_ticks(services) == [4, 7]
    assert await values(services) == before


async def test_without_the_recorded_code_nothing_goes(services, database_url, monkeypatch):
    await run(services, await world_of(services, "Rolling"), 4)
    monkeypatch.setattr(Rolling, "_fingerprint", "0" * 64)
    async with ServiceContainer(database_url) as other:
        result = await thin(other)
    assert (result.ticks_dropped, list(result.unproved)) == (0, [0, 1, 2])
    assert "replace" in result.unproved[0]
    assert await stored_ticks(services) == [0, 1, 2, 3]


async def test_a_tick_that_needs_what_is_not_here_keeps_its_snapshot(services, database_url):
    """Whoever thins from elsewhere has no live handle: what a replay can do without it goes all the same."""
    world_id = await world_of(services, "Stirring")
    services.world_service.live_worlds.of(world_id).resources.insert(Stick())
    await run(services, world_id, 3)
    stir = RunRequest(steps=2, inputs={"is_stirring": True})
    await services.simulation_service.run(world_id, stir)
    await run(services, world_id, 4)
    before = await values(services)
    async with ServiceContainer(database_url) as other:
        result = await thin(other)
    assert (result.ticks_dropped, list(result.unproved)) == (6, [3, 4])
    assert "Stick" in result.unproved[3]
    assert await stored_ticks(services) == [3, 4, 8]
    assert await values(services) == before


async def test_what_only_a_tick_that_cannot_be_computed_leads_to_keeps_its_snapshot(services, database_url):
    """Its snapshot is gone already, with a process that had what it needs."""
    world_id = await world_of(services, "Stirring")
    services.world_service.live_worlds.of(world_id).resources.insert(Stick())
    stir = RunRequest(steps=2, inputs={"is_stirring": True})
    await services.simulation_service.run(world_id, stir)
    await run(services, world_id, 3)
    await thin(services, keep_every=3)
    await services.simulation_service.run(world_id, RunRequest(steps=1))
    assert await stored_ticks(services) == [2, 4, 5]
    async with ServiceContainer(database_url) as other:
        result = await thin(other)
    assert (result.ticks_dropped, list(result.unproved)) == (1, [2])
    assert "the tick before it could not be computed" in result.unproved[2]
    assert "Stick" in result.unproved[2]
    assert await stored_ticks(services) == [2, 5]


async def test_a_fork_can_begin_at_a_tick_that_was_thinned(services):
    world_id = await world_of(services, "Rolling")
    await run(services, world_id, 8)
    before = await values(services)
    await thin(services)
    await services.retention_service.collect_garbage()
    world = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(world, "fork", tick=3)
    await run(services, fork.world_id, 2)
    assert (await values(services, "fork"))[:6] == before[:6], "the same seed leads to the same future"
    assert await stored_ticks(services) == [3, 7]


@pytest.mark.parametrize("snapshots", [1, 3, "needed"], ids=str)
async def test_thinning_and_collecting_are_safe_beside_a_running_world(services, database_url, snapshots):
    """One process runs the world and forks it, another thins and collects all the while."""
    world_id = await world_of(services, "Rolling", snapshots=snapshots)
    await run(services, world_id, 2)
    is_running = True

    async def keep_thinning():
        async with ServiceContainer(database_url) as other:
            rounds = 0
            while is_running or rounds == 0:
                for info in await other.world_service.list_worlds():
                    await thin(other, info.name)
                await other.retention_service.collect_garbage()
                rounds += 1

    thinning = asyncio.create_task(keep_thinning())
    for number in range(4):
        await run(services, world_id, 3)
        world = await services.world_service.find(world_id)
        tick = world.committed_tick - number
        fork = await services.world_service.fork_world(world, f"fork-{number}", tick=tick)
        await run(services, fork.world_id, 2)
        await services.query_service.select(world, tick // 2, Selection())
    is_running = False
    await thinning
    root = await values(services)
    assert len(root) == 14
    for number in range(4):
        fork = await services.world_service.find(f"fork-{number}")
        shared = (fork.fork_tick or 0) + 1
        assert (await values(services, fork.name))[:shared] == root[:shared]
    assert (
        await services.replay_service.replay(await services.world_service.find(world_id))
    ).divergence is None
    assert (await verify(services.database)).faults == ()


def kept(newest, keeping, ticks=None):
    return {tick for tick in ticks or range(newest + 1) if keeping.reason(tick, newest=newest)}


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_thinning_again_and_again_by_age_comes_out_as_once(earlier, later):
    keeping = Keeping(keep="log-spaced")
    first, newest = sorted([earlier, later])
    left = kept(first, keeping) | set(range(first + 1, newest + 1))
    assert kept(newest, keeping, left) == kept(newest, keeping)


@given(st.integers(0, 100_000))
def test_by_age_the_last_stay_and_of_the_others_a_few(newest):
    found = sorted(kept(newest, Keeping(keep="log-spaced")))
    assert set(range(max(newest - 63, 0), newest + 1)) <= set(found)
    assert len(found) <= 64 + 34 * max((newest // 64).bit_length(), 1)
    assert all(b - a <= max(newest - a, 1) for a, b in pairwise(found))


async def test_log_spaced_keeps_run_ends_labels_and_fork_points_too(services):
    world_id = await world_of(services, "Rolling")
    await run(services, world_id, 21)
    await run(services, world_id, 139)
    world = await services.world_service.find(world_id)
    await services.label_service.add(world, "good", 30)
    fork = await services.world_service.fork_world(world, "fork", tick=40)
    await services.label_service.add(await services.world_service.find(fork.world_id), "theirs", 32)
    planned = await plan(services, keep="log-spaced")
    assert planned.kept["it has a label"] == 2
    assert planned.kept["a run ended with it"] == 1
    await thin(services, keep="log-spaced")
    second = [tick for tick in range(32, 96) if tick % 2]
    fourth = [3, 7, 11, 15, 19, 23, 27, 31]
    left = sorted({*fourth, *second, *range(96, 160), 20, 30, 32, 40})
    assert await stored_ticks(services) == left
    assert (await plan(services, keep="log-spaced")).ticks == []
    (entry,) = [
        each for each in await services.command_service.history(world_id) if each.command.type == "thin_world"
    ]
    assert entry.command.payload["keep"] == "log-spaced"
    assert (await verify(services.database)).faults == ()


async def test_a_run_that_had_to_wait_ends_where_its_last_tick_is(services):
    world_id = await world_of(services, "Rolling")
    first = await services.run_service.start(world_id, RunRequest(steps=101))
    second = await services.run_service.start(world_id, RunRequest(steps=50))
    for each in (first, second):
        assert (await services.run_service.wait(each.run_id)).status == "completed"
    await run(services, world_id, 400)
    assert second.from_tick < 101, "it was asked for while the first one ran"
    assert (await plan(services, keep="log-spaced")).kept["a run ended with it"] == 2
    await thin(services, keep="log-spaced")
    assert {100, 150, 550} <= set(await stored_ticks(services))


@pytest.mark.parametrize(
    "options", [{"keep": "all"}, {"keep": "log-spaced", "keep_every": 2}, {"keep_every": 0}], ids=str
)
async def test_what_cannot_be_kept_is_refused(services, options):
    await run(services, await world_of(services, "Rolling"), 2)
    with pytest.raises(InvalidInputError, match="keep"):
        await plan(services, **options)
    with pytest.raises(InvalidInputError, match="keep"):
        await thin(services, **options)
