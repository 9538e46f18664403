"""States between snapshots: computed again, and the same to the byte as if they had been stored."""

import sqlalchemy as sa
from daft import col
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import CodeChangedError, DivergenceError
from archetype.scheduling import system
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

import pytest  # isort: skip

X = "spot__x"
SEED = 7


class Spot(Component):
    """Where something is."""

    x: float = 0.0


class Tag(Component):
    """What something is called."""

    name: str | None = None


class Drifting(AsyncProcessor):
    """Moves everything by one random number an archetype and tick, and by the step's wind."""

    components = (Spot,)

    async def process(self, df, *, rng, wind=0.0, **kwargs):
        return df.with_column(X, col(X) + float(rng.normal()) + wind)


class Ending(AsyncProcessor):
    """Ends what has drifted too far to the left."""

    components = (Spot,)
    priority = 20

    async def process(self, df, **kwargs):
        return df.with_column("is_active", col(X) > -3.0)


class Dicing(AsyncProcessor):
    """Is no function of its inputs, and says so."""

    components = (Spot,)
    deterministic = False
    drawn = 0

    async def process(self, df, **kwargs):
        Dicing.drawn += 1
        return df.with_column(X, col(X) + float(Dicing.drawn))


@system(writes=(Spot,), deterministic=True)
async def breeding(access):
    """Lets those who went far to the right have one child each, beside them."""
    for _, found in access(Spot):
        if found.x > 2.0:
            access.spawn(Spot(x=found.x - 2.0 - float(access.rng.random())))


@system(reads=(Spot, Tag), writes=(Spot, Tag), priority=20)
def pruning(access):
    """Ends the newest where there are many, and names the oldest."""
    entities = access.entities()
    for entity_id in entities[5:]:
        access.destroy(entity_id)
    if entities:
        access.insert(entities[0], Tag(name=f"of {len(entities)}"))


class Lying(AsyncProcessor):
    """Is no function of its inputs, and does not say so."""

    components = (Spot,)
    drawn = 0

    async def process(self, df, **kwargs):
        Lying.drawn += 1
        return df.with_column(X, col(X) + float(Lying.drawn))


def spot(x=0.0):
    return {"type": "Spot", "x": x}


ids = st.integers(1, 6)
requests = st.one_of(
    st.builds(lambda x: ("spawn", {"components": [spot(x)]}), st.floats(-4, 4)),
    st.just(("spawn", {"components": [spot(), {"type": "Tag"}]})),
    st.builds(lambda i, x: ("update", {"entity_id": i, "components": [spot(x)]}), ids, st.floats(-4, 4)),
    st.builds(lambda i: ("despawn", {"entity_id": i}), ids),
    st.builds(
        lambda i: ("add_component", {"entity_id": i, "components": [{"type": "Tag", "name": "é"}]}), ids
    ),
    st.builds(lambda i: ("remove_component", {"entity_id": i, "component_types": ["Tag"]}), ids),
    st.sampled_from(
        [
            (f"{verb}_processor", {"processor": name})
            for verb in ("remove", "add")
            for name in ("Ending", "breeding", "pruning")
        ]
    ),
)
rounds = st.lists(
    st.tuples(
        st.integers(0, 9),  # which of the worlds so far
        st.lists(requests, max_size=4),
        st.integers(0, 3),  # how many ticks
        st.sampled_from([0.0, 0.5]),  # wind
        st.none() | st.tuples(st.floats(0, 1), st.none() | st.integers(0, 99)),  # then fork: where, seed
    ),
    min_size=1,
    max_size=6,
)
policies = st.sampled_from([2, 3, 7, "needed"])
schedulers = st.sampled_from([None, {}, {"group_builder": "single", "max_concurrent": 1}])


async def build(services, script, snapshots, scheduler):
    """Make worlds by a script and return their ids; the same script makes the same worlds."""
    worlds = services.world_service
    config = WorldConfig(name=f"w-{new_id().hex}", seed=SEED, snapshots=snapshots, scheduler=scheduler)
    root = await worlds.create_world(config)
    made = [root.world_id]
    start = [CommandRequest("add_processor", {"processor": name}) for name in ("Drifting", "Ending")]
    await services.command_service.submit_batch(root.world_id, start)
    for index, commands, ticks, wind, fork in script:
        world_id = made[index % len(made)]
        await services.command_service.submit_batch(world_id, [CommandRequest(*each) for each in commands])
        await services.simulation_service.run(world_id, RunRequest(steps=ticks, inputs={"wind": wind}))
        if fork is not None:
            row = await worlds.find(world_id)
            tick = round((row.committed_tick + 1) * fork[0]) - 1
            info = await worlds.fork_world(row, f"w-{new_id().hex}", tick=tick, seed=fork[1])
            made.append(info.world_id)
    return made


async def everything(services, world_id):
    """Return every tick's rows, and what its row says of it."""
    world = await services.world_service.find(world_id)
    found = []
    for tick in range(world.committed_tick + 1):
        slices = await services.query_service.select(world, tick, Selection())
        found.append([(each.archetype.archetype_id, each.rows.to_pydict()) for each in slices])
    return found


async def stored_ticks(services, world_id):
    statement = sa.text("SELECT DISTINCT tick FROM snapshots WHERE world_id = :world ORDER BY tick")
    bound = statement.bindparams(sa.bindparam("world", type_=sa.types.Uuid(as_uuid=True)))
    if services.database.is_sqlite:
        bound = statement.bindparams(world=str(world_id))
        return await services.database.read(lambda connection: list(connection.scalars(bound)))
    return await services.database.read(
        lambda connection: list(connection.scalars(bound, {"world": world_id}))
    )


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(script=rounds, snapshots=policies, scheduler=schedulers, data=st.data())
async def test_a_state_that_is_not_stored_is_read_as_if_it_were(
    database_url, script, snapshots, scheduler, data
):
    """The law: whatever the worlds, the forks and the policy, every tick reads the same, in any order."""
    async with ServiceContainer(database_url) as services:
        whole = await build(services, script, 1, scheduler)
        sparse = await build(services, script, snapshots, scheduler)
        expected = [await everything(services, each) for each in whole]
    async with ServiceContainer(database_url) as services:
        for world_id, ticks in zip(sparse, expected, strict=True):
            world = await services.world_service.find(world_id)
            for tick in data.draw(st.permutations(range(len(ticks)))):
                slices = await services.query_service.select(world, tick, Selection())
                found = [(each.archetype.archetype_id, each.rows.to_pydict()) for each in slices]
                assert found == ticks[tick]
        # A cold world goes on from where a warm one would have.
        await services.simulation_service.run(sparse[-1], RunRequest(steps=1))
        await services.simulation_service.run(whole[-1], RunRequest(steps=1))
        after = [(await everything(services, each[-1]))[-1] for each in (sparse, whole)]
        assert after[0] == after[1]
        assert (await verify(services.database)).faults == ()


async def drifting_world(services, snapshots, *names):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=SEED, snapshots=snapshots))
    start = [CommandRequest("add_processor", {"processor": name}) for name in names]
    start.append(CommandRequest("spawn", {"components": [spot()]}))
    await services.command_service.submit_batch(info.world_id, start)
    return info.world_id


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def test_every_nth_tick_is_stored(services):
    world_id = await drifting_world(services, 3, "Drifting")
    await run(services, world_id, 10)
    assert await stored_ticks(services, world_id) == [2, 5, 8, 9]


async def test_only_what_must_be_is_stored(services):
    """The last of a run; the last state of a program; what a fork begins with once it runs."""
    world_id = await drifting_world(services, "needed", "Drifting")
    await run(services, world_id, 4)
    assert await stored_ticks(services, world_id) == [3]
    await services.command_service.submit(world_id, CommandRequest("add_processor", {"processor": "Ending"}))
    await run(services, world_id, 4)
    assert await stored_ticks(services, world_id) == [3, 7]
    fork = await services.world_service.fork_world(
        await services.world_service.find(world_id), "fork", tick=5
    )
    assert await stored_ticks(services, world_id) == [3, 7]
    await run(services, fork.world_id, 2)
    assert await stored_ticks(services, world_id) == [3, 5, 7]
    assert await stored_ticks(services, fork.world_id) == [7]


async def test_a_run_can_be_gone_on_from_when_the_code_of_the_last_is_gone(
    services, database_url, monkeypatch
):
    """A script that is edited between two runs: its old code is nowhere, and is not needed."""
    world_id = await drifting_world(services, "needed", "Drifting")
    await run(services, world_id, 5)
    monkeypatch.setattr(Drifting, "_fingerprint", "0" * 64)
    async with ServiceContainer(database_url) as other:
        replace = CommandRequest("replace_processor", {"processor": "Drifting"})
        await other.command_service.submit(world_id, replace)
        await run(other, world_id, 2)
        world = await other.world_service.find(world_id)
        assert world.committed_tick == 6
        with pytest.raises(CodeChangedError, match="is not the recorded one"):
            await other.query_service.select(world, 2, Selection())


async def test_a_tick_that_is_no_function_of_its_inputs_is_always_stored(services, database_url):
    world_id = await drifting_world(services, "needed", "Dicing")
    await run(services, world_id, 3)
    assert await stored_ticks(services, world_id) == [0, 1, 2]
    before = await everything(services, world_id)
    drawn = Dicing.drawn
    async with ServiceContainer(database_url) as other:
        assert await everything(other, world_id) == before
    assert Dicing.drawn == drawn


async def test_a_processor_that_lies_is_found_out_and_nothing_is_returned(services, database_url):
    world_id = await drifting_world(services, "needed", "Lying")
    await run(services, world_id, 3)
    async with ServiceContainer(database_url) as other:
        world = await other.world_service.find(world_id)
        with pytest.raises(DivergenceError, match="tick 0 "):
            await other.query_service.select(world, 1, Selection())


async def test_a_state_is_not_rebuilt_with_other_code(services, database_url, monkeypatch):
    world_id = await drifting_world(services, "needed", "Drifting")
    await run(services, world_id, 3)
    monkeypatch.setattr(Drifting, "_fingerprint", "0" * 64)
    async with ServiceContainer(database_url) as other:
        world = await other.world_service.find(world_id)
        with pytest.raises(CodeChangedError, match="Drifting"):
            await other.query_service.select(world, 1, Selection())


async def test_a_policy_holds_from_the_next_run_on(services):
    world_id = await drifting_world(services, 1, "Drifting")
    await run(services, world_id, 2)
    world = await services.world_service.find(world_id)
    info = await services.world_service.configure_world(world, {"snapshots": 4})
    assert info.snapshots == 4
    await run(services, world_id, 6)
    assert await stored_ticks(services, world_id) == [0, 1, 3, 7]
