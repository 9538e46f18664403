"""Episodes and rollouts from scripts, with and without async."""

import asyncio

import pytest
from daft import col

from archetype import ArchetypeRuntime, AsyncProcessor, Component, Condition, Return
from archetype.errors import InvalidInputError, LabelNotFoundError, PayloadError


class Glide(Component):
    """How far something has glided."""

    height: float = 10.0


class Landed(Component):
    """Marks a glide that is over."""


class Gliding(AsyncProcessor):
    """Sinks by a random amount."""

    components = (Glide,)

    async def process(self, df, *, rng, lift=0.0, **kwargs):
        return df.with_column("glide__height", col("glide__height") - float(rng.random()) + lift)


async def a_sky(runtime):
    world = runtime.world("sky", processors=[Gliding()], seed=5)
    await world.spawn(Glide())
    await world.step()
    return world


async def test_an_episode_takes_texts_or_models_and_moves_the_handle_on(runtime):
    world = await a_sky(runtime)
    told = await world.run_episode(50, condition="Glide.height < 8", returns="Glide.height:last")
    assert (told.reason, world.tick) == ("condition", told.to_tick)
    assert told.return_value == (await world.query(Glide)).to_pydict()["glide__height"][0] < 8
    meant = await world.run_episode(
        2,
        terminal=Landed,
        condition=Condition(component="Glide", field="height", comparison="<", value=-99),
        returns=Return(column="Glide.height", reducer="mean"),
        lift=1.0,
    )
    assert (meant.reason, meant.steps) == ("max_steps", 2)
    assert meant.return_value > told.return_value


async def test_a_rollout_of_a_label_takes_inputs_and_leaves_the_world_as_it_is(runtime):
    world = await a_sky(runtime)
    await world.label("aloft")
    await world.run(3)
    before = await world.info()
    options = {"tick": "aloft", "returns": "Glide.height:last", "seeds": [1, 2, 3]}
    fallen = await world.run_rollout(3, 4, **options)
    lifted = await world.run_rollout(3, 4, inputs={"lift": 1.0}, **options)
    for low, high in zip(fallen.episodes, lifted.episodes, strict=True):
        assert high.return_value == pytest.approx(low.return_value + 4.0)
    assert (fallen.tick, [each.seed for each in fallen.episodes]) == (0, [1, 2, 3])
    after = await world.info()
    assert (after.tick, after.entity_count) == (before.tick, before.entity_count)
    assert len(await runtime.tree()) == 1


async def test_a_started_rollout_is_followed_and_read(runtime):
    world = await a_sky(runtime)
    handle = await world.start_rollout(3, 2, parallel=1)
    seen = [info.ticks_completed async for info in handle.follow()]
    assert seen == sorted(seen)
    assert seen[-1] == 6
    assert (await handle.result()).reasons == {"max_steps": 3}


async def test_two_rollouts_at_once_do_not_disturb_each_other_nor_a_run(runtime):
    world = await a_sky(runtime)
    alone = await world.run_rollout(3, 4, tick=0, seed=2, returns="Glide.height:last")
    both = await asyncio.gather(
        world.run_rollout(3, 4, tick=0, seed=2, returns="Glide.height:last"),
        world.run_rollout(3, 4, tick=0, seed=2, returns="Glide.height:last", parallel=1),
        world.run(5),
    )
    assert [each.return_value for each in both[0].episodes] == [each.return_value for each in alone.episodes]
    assert both[0].returns == both[1].returns == alone.returns
    assert (await runtime.verify()).is_sound


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"condition": "no condition"}, InvalidInputError, id="condition"),
        pytest.param({"returns": "Glide"}, InvalidInputError, id="returns"),
        pytest.param({"seeds": [1]}, PayloadError, id="seeds"),
        pytest.param({"wings": 2}, PayloadError, id="unknown"),
        pytest.param({"tick": "nowhere"}, LabelNotFoundError, id="label"),
    ],
)
async def test_a_rollout_that_cannot_be_meant_is_refused(runtime, options, error):
    world = await a_sky(runtime)
    with pytest.raises(error):
        await world.run_rollout(2, 1, **options)
    assert len(await world.runs()) == 1


def test_the_same_without_async(database_url):
    with ArchetypeRuntime.sync(database_url) as runtime:
        world = runtime.world("sky", processors=[Gliding()], seed=5)
        world.spawn(Glide())
        world.step()
        assert world.run_episode(2).steps == 2
        assert world.run_rollout(2, 1).reasons == {"max_steps": 2}
        handle = world.start_rollout(2, 1)
        assert handle.wait().status == "completed"
        assert len(handle.result().episodes) == 2
