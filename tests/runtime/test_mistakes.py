"""What a script gets wrong is said before anything is made of it, with the field and what to write."""

import pytest
from pydantic import BaseModel

from archetype import AsyncProcessor, Component, RunConfig
from archetype.errors import InvalidInputError
from archetype.scheduling import SimpleScheduler


class Wheel(Component):
    turns: int = 0


class Turning(AsyncProcessor):
    components = (Wheel,)

    def __init__(self, by: object = 1, gear: str = "low") -> None:
        self.by = by
        self.gear = gear

    async def process(self, df, **kwargs):
        return df


class Hasty(Turning):
    def __init__(self) -> None:
        super().__init__()
        self.priority = "first"


class Grease(BaseModel):
    model_config = {"arbitrary_types_allowed": True}

    tin: Turning


def turn(df):
    return df


@pytest.fixture
async def world(runtime):
    made = runtime.world("demo", processors=[Turning()])
    await made.spawn(Wheel())
    return made


async def is_there(runtime, name):
    return name in {node.name for node in await runtime.tree()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processors": [Turning]}, r"processors must hold instances, .* class; pass Turning\(\)"),
        ({"processors": Turning()}, "processors must be a list of processors, not a Turning object"),
        ({"processors": [turn]}, "turn is a function; decorate it with @system"),
        ({"processors": [3]}, "3 is none; derive its class from AsyncProcessor"),
        (
            {"processors": [Turning(by=object())]},
            "'by' of processor Turning cannot be recorded: object has no",
        ),
        ({"processors": [Turning(gear="\0")]}, "'gear' of processor Turning cannot be recorded"),
        ({"processors": [Hasty()]}, r"add_processor: payload\.priority"),
        ({"resources": [Grease]}, r"resources must hold instances, .* class; pass Grease\(…\)"),
        ({"resources": [Grease(tin=Turning())]}, "resource Grease cannot be recorded"),
        ({"resources": 3}, "resources must be a list of objects, not 3"),
        ({"scheduler": SimpleScheduler}, r"scheduler must be an instance, .* pass SimpleScheduler\(\)"),
        ({"scheduler": "dependency"}, "scheduler must be a scheduler, not 'dependency'; pass"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
    ],
)
async def test_no_world_is_made_of_what_cannot_be_its_own(runtime, options, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        await runtime.world("demo", **options).info()
    assert caught.value.faults
    assert not await is_there(runtime, "demo")


async def test_a_worlds_name_is_text(runtime):
    with pytest.raises(InvalidInputError, match="name must be text, not 5"):
        runtime.world(5)


def test_the_components_of_a_processor_are_a_tuple():
    with pytest.raises(
        InvalidInputError, match=r"Processor Wrong: components must be .* write .*=\(Wheel,\)"
    ):
        type("Wrong", (AsyncProcessor,), {"components": Wheel})
    with pytest.raises(InvalidInputError, match=r"priority must be a whole number, not 'first'"):
        type("Wrong", (AsyncProcessor,), {"components": (Wheel,), "priority": "first"})
    assert type("Listed", (AsyncProcessor,), {"components": [Wheel]}).components == (Wheel,)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda world: world.spawn([Wheel()]), r"a list object is none; write spawn\(Position\(x=1\)\)"),
        (lambda world: world.spawn(Wheel), r"the class Wheel is none; write spawn\(Position\(x=1\)\)"),
        (lambda world: world.spawn({}), "a dict object is none; write spawn"),
        (lambda world: world.update(1, Wheel), "the class Wheel is none; write update"),
        (lambda world: world.add_components(1, 3), "3 is none; write add_components"),
        (lambda world: world.remove_components(1, Wheel()), "a Wheel object is none; write query"),
        (
            lambda world: world.spawn_many([Wheel(), Wheel()]),
            r"rows\[0\] is a Wheel object; write spawn_many",
        ),
        (lambda world: world.spawn_many([[Wheel()], 3]), r"rows\[1\] is 3; write spawn_many"),
        (lambda world: world.spawn_many([[Wheel]]), r"the class Wheel is none; write spawn_many"),
        (lambda world: world.add_processor(Turning), r"pass Turning\(\)"),
        (lambda world: world.add_processor(Turning(by=object())), "'by' of processor Turning"),
        (
            lambda world: world.remove_processor(3),
            "processor must be a processor, its class or its name, not 3",
        ),
        (lambda world: world.replace_processor(3), "processor must be a processor, its class or its name"),
        (lambda world: world.fork(seed="x"), "seed must be a whole number, not 'x'"),
        (lambda world: world.fork_many("f", "2"), "count must be a whole number, not '2'"),
        (lambda world: world.fork(5), "name must be text, not 5"),
        (lambda world: world.configure(scheduler="dependency"), "scheduler must be a scheduler"),
        (lambda world: world.query(entity_ids=1), r"entity_ids must be a list .* write entity_ids=\[1, 2\]"),
        (lambda world: world.query(entity_ids=["1"]), "entity_ids must be a whole number, not '1'"),
        (lambda world: world.query(ticks=1), "ticks must be a list of whole numbers, not 1"),
        (lambda world: world.query(Wheel()), "a Wheel object is none"),
        (lambda world: world.entity("1"), "entity_id must be a whole number, not '1'"),
        (lambda world: world.messages(receiver="x"), "receiver must be an entity id .* not 'x'"),
        (lambda world: world.run(-1), "steps must be 0 or more, not -1"),
        (lambda world: world.run("3"), "steps must be a whole number, not '3'"),
        (lambda world: world.start_run(-2), "steps must be 0 or more, not -2"),
        (lambda world: world.run(step=2), r"step is no option, .* write run\(steps=2\)"),
        (lambda world: world.run(RunConfig(), num_steps=2), r"num_steps is no option, .* run\(steps=2\)"),
        (lambda world: world.step(num_steps=2), r"num_steps is no option, .* write run\(steps=2\)"),
    ],
)
async def test_a_verb_says_what_it_takes_and_nothing_is_written(world, act, message):
    before = await world.info()
    with pytest.raises(InvalidInputError, match=message) as caught:
        await act(world)
    assert caught.value.faults
    assert await world.info() == before


async def test_whole_numbers_may_be_those_of_a_frame(world):
    """Ids that NumPy counts are ids."""
    import numpy as np

    await world.step()
    assert (await world.entity(np.int64(1))).entity_id == 1
    assert (await world.query(Wheel, entity_ids=np.array([1]))).count_rows() == 1
