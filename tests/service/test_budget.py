"""One memory budget: what a process keeps stays below it, and what had to go comes back equal."""

from dataclasses import replace

import pytest
from daft import col
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import InvalidInputError
from archetype.service.admission import CommandRequest
from archetype.service.budget import MemoryBudget
from archetype.service.container import ServiceContainer
from archetype.service.projection import newborn
from archetype.service.queries import Selection
from archetype.service.rebuilt import RebuiltStates
from archetype.service.runs import RunRequest
from archetype.settings import DEFAULT_MEMORY_BUDGET_BYTES, Settings

LIMIT = 100
NAMES = ("near", "far")


class Ballast(Component):
    """What something weighs."""

    kg: float = 0.0


class Swelling(AsyncProcessor):
    """Makes everything heavier by a random part."""

    components = (Ballast,)

    async def process(self, df, *, rng, **kwargs):
        return df.with_column("ballast__kg", col("ballast__kg") + float(rng.random()))


keys = st.tuples(st.sampled_from(NAMES), st.integers(0, 5))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, LIMIT + 20)),
        st.tuples(st.just("get"), keys, st.none()),
        st.tuples(st.just("drop"), keys, st.none()),
        st.tuples(st.just("use"), keys, st.booleans()),
    ),
    max_size=40,
)


@given(script=operations)
def test_the_sum_stays_below_the_limit_whatever_is_not_in_use(script):
    """The law: after each operation the values fit, or all that is kept is in use; no value is another's."""
    budget = MemoryBudget(LIMIT)
    used = set()
    gone = []
    caches = {
        name: budget.cache(
            name, lambda value: value[1], is_in_use=lambda value: value[0] in used, on_evicted=gone.append
        )
        for name in NAMES
    }
    given_last = {}
    for verb, place, argument in script:
        name, key = place
        if verb == "put":
            given_last[place] = (place, argument)
            caches[name].put(key, given_last[place])
        elif verb == "get":
            assert caches[name].get(key) in {None, given_last.get(place)}
        elif verb == "drop":
            caches[name].drop(key)
            assert caches[name].get(key) is None
        elif argument:
            used.add(place)
        else:
            used.discard(place)
        kept = {
            (name, key): value
            for name, cache in caches.items()
            for key, value in cache.hold(range(6)).items()
        }
        uses = budget.uses()
        assert budget.size_bytes == sum(size for _, size in kept.values())
        assert sum(use.size_bytes for use in uses.values()) == budget.size_bytes
        assert sum(use.value_count for use in uses.values()) == len(kept)
        assert sum(use.eviction_count for use in uses.values()) == len(gone)
        if verb == "put" and budget.size_bytes > LIMIT:
            assert kept.keys() <= used


def test_what_was_not_used_for_longest_goes_first_whichever_cache_holds_it():
    budget = MemoryBudget(3)
    near, far = (budget.cache(name, lambda _: 1) for name in NAMES)
    near.put("a", 1)
    far.put("a", 2)
    near.put("b", 3)
    assert near.get("a") == 1
    far.put("c", 4)
    assert far.get("a") is None
    assert near.hold(["a", "b"]) == {"a": 1, "b": 3}
    assert budget.uses()["far"].eviction_count == 1


def test_a_value_larger_than_the_limit_takes_nothing_along():
    budget = MemoryBudget(10)
    cache = budget.cache("pages", len)
    cache.put("small", b"12345")
    cache.put("large", b"12345678901")
    assert cache.hold(["small", "large"]) == {"small": b"12345"}


def test_a_budget_has_one_cache_of_a_name():
    budget = MemoryBudget(10)
    budget.cache("pages", len)
    with pytest.raises(ValueError, match="'pages' already"):
        budget.cache("pages", len)


@pytest.mark.parametrize("text", ["1 GB", "-1", "1.5", "٣"], ids=["unit", "negative", "fraction", "digits"])
def test_a_budget_that_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(InvalidInputError, match="ARCHETYPE_MEMORY_BUDGET must be a whole number of bytes"):
        Settings.from_environment({"ARCHETYPE_MEMORY_BUDGET": text})


def test_the_environment_sets_the_budget():
    assert Settings.from_environment({"ARCHETYPE_MEMORY_BUDGET": "4096"}).memory_budget_bytes == 4096
    assert Settings.from_environment({}).memory_budget_bytes == DEFAULT_MEMORY_BUDGET_BYTES


async def many_worlds(services, snapshots):
    """Step, read and fork some worlds in turn, and return all that was read, by world and tick."""
    worlds, runs = services.world_service, services.simulation_service
    ids = []
    for number in range(4):
        config = WorldConfig(name=f"root-{number}", seed=number, snapshots=snapshots)
        ids.append((await worlds.create_world(config)).world_id)
        start = [
            CommandRequest("add_processor", {"processor": "Swelling"}),
            CommandRequest("spawn", {"components": [{"type": "Ballast", "kg": 1.0}]}),
        ]
        await services.command_service.submit_batch(ids[-1], start)
    for turn in range(3):
        for world_id in ids:
            await runs.run(world_id, RunRequest(steps=2))
            assert services.budget.size_bytes <= services.budget.limit_bytes
        fork = await worlds.fork_world(await worlds.find(ids[turn]), f"fork-{turn}", tick=turn)
        ids.append(fork.world_id)
    found = {}
    for tick in range(6):
        for world_id in ids:
            world = await worlds.find(world_id)
            if tick <= world.committed_tick:
                slices = await services.query_service.select(world, tick, Selection())
                found[world.name, tick] = [each.rows.to_pydict() for each in slices]
                assert services.budget.size_bytes <= services.budget.limit_bytes
        history = await services.entity_service.history(await worlds.find(ids[0]), 1)
        found["history", tick] = [each.components for each in history]
    return found


async def small_budget(database_url, limit_bytes, snapshots):
    async with ServiceContainer(database_url, memory_budget_bytes=limit_bytes) as services:
        found = await many_worlds(services, snapshots)
        uses = services.budget.uses()
        for info in await services.world_service.list_worlds():
            await services.world_service.remove_world(await services.world_service.find(info.world_id))
    return found, uses


@pytest.mark.parametrize("snapshots", [1, "needed"], ids=["every", "needed"])
async def test_worlds_in_turn_come_out_the_same_however_little_is_kept(database_url, snapshots):
    """Without memory, with room for one or two worlds, and with room for all."""
    whole, with_room = await small_budget(database_url, 2**30, snapshots)
    tiny, with_little = await small_budget(database_url, 60_000, snapshots)
    none, without = await small_budget(database_url, 0, snapshots)
    assert tiny == whole
    assert none == whole
    assert sum(use.eviction_count for use in with_room.values()) == 0
    assert with_little["projections"].eviction_count > 0
    assert with_little["worlds"].eviction_count + with_little["code"].eviction_count > 0
    assert sum(use.value_count for use in without.values()) == 0


async def test_a_running_world_keeps_its_state_and_its_handles_stay(services):
    """What a run holds stays beyond the limit, and what nothing could bring back always does."""
    services.budget.limit_bytes = 0
    worlds = services.world_service
    world_id = (await worlds.create_world(WorldConfig(name="held", snapshots="needed"))).world_id
    await services.command_service.submit(
        world_id, CommandRequest("spawn", {"components": [{"type": "Ballast"}]})
    )
    seen = []

    async def on_tick(tick):
        held = worlds.live_worlds.of(world_id).projection
        seen.append((tick, held.committed_tick if held is not None else None))

    await services.simulation_service.run(world_id, RunRequest(steps=3), on_tick=on_tick)
    assert seen == [(0, 0), (1, 1), (2, 2)]
    assert services.budget.size_bytes == 0
    assert worlds.live_worlds.of(world_id).projection is None
    worlds.live_worlds.adopt(world_id).resources.insert(seen)
    await services.simulation_service.run(world_id, RunRequest(steps=1))
    assert worlds.live_worlds.of(world_id).resources.require(list) is seen


async def test_a_rebuilt_state_is_found_by_the_nearest_tick_of_a_lineage(services):
    """Only ticks that the lineage shares count, and none that had to go."""
    worlds = services.world_service
    world_id = (await worlds.create_world(WorldConfig(name="base", snapshots="needed"))).world_id
    start = [
        CommandRequest("add_processor", {"processor": "Swelling"}),
        CommandRequest("spawn", {"components": [{"type": "Ballast"}]}),
    ]
    await services.command_service.submit_batch(world_id, start)
    await services.simulation_service.run(world_id, RunRequest(steps=8))
    world = await worlds.find(world_id)
    fork = await worlds.fork_world(world, "fork", tick=3)
    states = RebuiltStates(MemoryBudget(2**30))
    for tick in (1, 5):
        states.keep(world_id, await services.state_service.projection(world, tick))
    own, shared = await worlds.lineage(world_id), await worlds.lineage(fork.world_id)

    def found(lineage):
        nearest = [states.nearest(lineage, tick) for tick in range(8)]
        return [None if each is None else each.committed_tick for each in nearest]

    assert found(own) == [None, 1, 1, 1, 1, 5, 5, 5]
    assert found(shared) == [None, 1, 1, 1, 1, 1, 1, 1]


async def test_a_rebuilt_state_that_had_to_go_is_passed_over(services):
    world = await services.world_service.create_world(WorldConfig(name="base"))
    lineage = await services.world_service.lineage(world.world_id)
    budget = MemoryBudget(3 * newborn(world.world_id).size_bytes)
    states = RebuiltStates(budget)
    for tick in (1, 5, 9):
        states.keep(world.world_id, replace(newborn(world.world_id), committed_tick=tick))
    assert states.nearest(lineage, 5).committed_tick == 5
    assert states.nearest(lineage, 1).committed_tick == 1
    states.keep(world.world_id, replace(newborn(world.world_id), committed_tick=12))
    assert states.nearest(lineage, 11).committed_tick == 5
