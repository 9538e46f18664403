"""The face for scripts, as the seeds and the README show it."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import uuid
import weakref
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa
from daft import col, from_pydict

from archetype import (
    ActorCtx,
    ArchetypeRuntime,
    AsyncProcessor,
    Component,
    OnComponentAdded,
    OnDespawn,
    OnSpawn,
    PostTick,
    RunConfig,
)
from archetype.errors import InvalidInputError, NameTakenError, SchemaOutdatedError, StateConflictError
from archetype.examples.movement import MovementProcessor, Position, Velocity
from archetype.limits import ENTITY_ID_GIVEN_MAX

APP = Path(__file__).parents[2] / "app"


class Health(Component):
    current: int = 100


class Drift(AsyncProcessor):
    """Moves by what it was made with, and by what the step says."""

    components = (Position,)

    def __init__(self, by: float = 1.0) -> None:
        self.by = by

    async def process(self, df, *, wind: float = 0.0, **kwargs):
        return df.with_column("position__x", col("position__x") + self.by + wind)


class Windfall:
    def __init__(self, value):
        self.value = value


class Gift(AsyncProcessor):
    components = (Position,)

    async def process(self, df, *, resources, **kwargs):
        return df.with_column("position__y", col("position__y") + resources.require(Windfall).value)


async def rows(frame, *names):
    table = frame.to_arrow()
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


async def test_the_quickstart(runtime):
    world = runtime.world("demo", processors=[MovementProcessor()])
    entity_id = await world.spawn(Position(x=0, y=0), Velocity(dx=1, dy=2))
    result = await world.run(steps=3)
    assert (result.ticks_completed, result.final_tick, world.tick) == (3, 3, 3)
    frame = await world.query(Position)
    assert await rows(frame, "entity_id", "tick", "position__x", "position__y") == [(entity_id, 2, 3.0, 6.0)]
    past = await world.query(Position, ticks=[0, 1, 2])
    assert await rows(past, "tick", "position__x") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert await rows(await world.query(Position, tick=1), "position__x") == [(2.0,)]


def test_the_quickstart_as_printed_goes_on_when_it_is_run_again(tmp_path):
    """Two runs of one script in an empty folder: the second finds the world where the first left it."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio
            from daft import DataFrame, col
            from archetype import ArchetypeRuntime, AsyncProcessor, Component

            class Position(Component):
                x: float = 0.0
                y: float = 0.0

            class Velocity(Component):
                dx: float = 0.0
                dy: float = 0.0

            class MovementProcessor(AsyncProcessor):
                components = (Position, Velocity)
                priority = 10

                async def process(self, df: DataFrame, **kwargs) -> DataFrame:
                    return df.with_columns(
                        {
                            "position__x": col("position__x") + col("velocity__dx"),
                            "position__y": col("position__y") + col("velocity__dy"),
                        }
                    )

            async def main():
                async with ArchetypeRuntime() as runtime:
                    world = runtime.world("demo", processors=[MovementProcessor()])
                    await world.spawn(Position(x=0, y=0), Velocity(dx=1, dy=2))
                    await world.run(steps=3)
                    df = await world.query(Position)
                    print([row["position__x"] for row in df.collect().to_pylist()])

            asyncio.run(main())
            """
        )
    )
    environment = {name: value for name, value in os.environ.items() if name != "ARCHETYPE_DATABASE_URL"}
    environment["PYTHONPATH"] = str(APP)
    outputs = [
        subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == ["[3.0]", "[6.0, 3.0]"]
    assert (tmp_path / "archetype.db").exists()


async def test_the_verbs_of_an_entity(runtime):
    world = runtime.world("verbs")
    entity_id = await world.spawn(Position(x=1), Velocity())
    await world.step()
    await world.update(entity_id, Position(x=5, y=6))
    await world.add_components(entity_id, [Health(current=3)])
    await world.remove_components(entity_id, Velocity)
    assert await world.step() == 3
    frame = await world.query(Position, Health)
    assert await rows(frame, "entity_id", "position__x", "position__y", "health__current") == [
        (entity_id, 5.0, 6.0, 3)
    ]
    assert (await world.query(Velocity)).count_rows() == 0
    await world.despawn(entity_id)
    await world.step()
    assert (await world.info()).entity_count == 0


async def test_an_entity_id_can_be_asked_for_and_is_never_given_twice(runtime):
    world = runtime.world("ids")
    assert await world.spawn(Position(), entity_id=40) == 40
    assert await world.spawn(Position()) == 41
    with pytest.raises(StateConflictError, match="next free one was 42"):
        await world.spawn(Position(), entity_id=41)


@pytest.mark.parametrize(
    "make",
    [
        lambda data: [
            [Position(x=x, y=y)] for x, y in zip(data["position__x"], data["position__y"], strict=True)
        ],
        pa.table,
        pd.DataFrame,
        pl.DataFrame,
        from_pydict,
    ],
    ids=["components", "arrow", "pandas", "polars", "daft"],
)
async def test_many_are_spawned_with_one_command_in_the_order_of_the_rows(runtime, make):
    world = runtime.world("many")
    data = {"position__x": [3.0, 1.0, 2.0], "position__y": [0.0, 1.0, 0.5]}
    ids = await world.spawn_many(make(data))
    await world.step()
    found = dict(await rows(await world.query(Position), "entity_id", "position__x"))
    assert [found[entity_id] for entity_id in ids] == data["position__x"]
    assert [command.type.value for command in await world.command_history()] == [
        "create_world",
        "spawn",
        "step",
    ]


async def test_many_of_different_kinds_and_none_at_all(runtime):
    world = runtime.world("mixed")
    ids = await world.spawn_many([[Position(x=1)], [Position(x=2), Velocity(dx=3)], [Health()]])
    assert ids == [1, 2, 3]
    assert await world.spawn_many([]) == []
    await world.step()
    info = await world.info()
    assert info.archetype_signatures == (("Health",), ("Position",), ("Position", "Velocity"))


async def test_many_are_updated_with_one_command(runtime):
    world = runtime.world("updates")
    ids = await world.spawn_many(pa.table({"position__x": [0.0] * 4}))
    await world.step()
    await world.update_many(pa.table({"entity_id": ids[1:3], "position__x": [7.0, 8.0]}))
    await world.step()
    assert await rows(await world.query(Position), "position__x") == [(0.0,), (7.0,), (8.0,), (0.0,)]


async def test_inputs_of_a_step_reach_processors_and_the_log(runtime):
    world = runtime.world("inputs", processors=[Drift(by=1.0)])
    await world.spawn(Position())
    await world.step(wind=0.5)
    await world.run(RunConfig.benchmark(steps=2, trial=3), wind=0.25)
    assert await rows(await world.query(Position), "position__x") == [(4.0,)]
    payloads = [command.payload for command in await world.command_history() if command.type.value == "run"]
    described = {"suite": "benchmark", "trial": 3}
    assert payloads == [{"debug": False, "inputs": {"wind": 0.25}, "metadata": described, "num_steps": 2}]
    with pytest.raises(InvalidInputError, match="no JSON form"):
        await world.step(wind=object())
    with pytest.raises(InvalidInputError, match="two configs"):
        await world.run(RunConfig(), config=RunConfig())


async def test_processors_of_a_script_are_adopted_once_and_replaced_when_they_change(database_url):
    async def run(*processors):
        async with ArchetypeRuntime(database_url) as runtime:
            world = runtime.world("adopted", processors=processors)
            if (await world.info()).tick == 0:
                await world.spawn(Position())
            await world.step()
            ((x,),) = await rows(await world.query(Position), "position__x")
            changes = [
                c.type.value for c in await world.command_history() if c.type.value.endswith("processor")
            ]
            return x, changes

    assert await run(Drift(by=1.0)) == (1.0, ["add_processor"])
    assert await run(Drift(by=1.0)) == (2.0, ["add_processor"])
    assert await run(Drift(by=10.0)) == (12.0, ["add_processor", "replace_processor"])
    assert (await run())[0] == 22.0, "what a script does not name goes on"


async def test_many_who_open_a_world_at_once_make_it_once_with_its_processors(database_url):
    async def open_it():
        async with ArchetypeRuntime(database_url) as runtime:
            await runtime.world("crowded", processors=[Drift(by=1.0), Gift()]).info()

    await asyncio.gather(*(open_it() for _ in range(6)))
    async with ArchetypeRuntime(database_url) as runtime:
        types = [command.type.value for command in await runtime.world("crowded").command_history()]
        assert types == ["create_world", "add_processor", "add_processor"]


async def test_processors_come_and_go_as_commands(runtime):
    world = runtime.world("commands")
    await world.spawn(Position())
    await world.add_processor(Drift(by=2.0))
    await world.step()
    await world.remove_processor(Drift)
    await world.step()
    assert await rows(await world.query(Position), "position__x") == [(2.0,)]


async def test_resources_reach_processors(runtime):
    world = runtime.world("resources", processors=[Gift()], resources=[Windfall(3.0)])
    await world.spawn(Position())
    await world.step()
    world.resources.insert(Windfall(4.0))
    await world.step()
    assert await rows(await world.query(Position), "position__y") == [(7.0,)]


async def test_a_fork_goes_its_own_way_with_the_processors_and_resources_of_its_parent(runtime):
    world = runtime.world("base", processors=[Gift()], resources=[Windfall(1.0)])
    await world.spawn(Position())
    await world.run(2)
    fork = await world.fork("what-if")
    fork.resources.insert(Windfall(100.0))
    await fork.step()
    await world.step()
    assert await rows(await fork.query(Position), "position__y") == [(102.0,)]
    assert await rows(await world.query(Position), "position__y") == [(3.0,)]
    assert (fork.tick, (await fork.info()).parent_id) == (3, world.world_id)
    with pytest.raises(NameTakenError):
        await world.fork("what-if")


async def test_hooks_hear_what_is_accepted_and_what_is_committed(runtime):
    world = runtime.world("hooks")
    heard = []
    told = []
    handles = [
        world.add_hook(kind, lambda event: heard.append(type(event).__name__))
        for kind in (OnSpawn, OnDespawn, OnComponentAdded, PostTick)
    ]
    handles.append(world.add_hook(OnSpawn, lambda event: told.extend([event.entity_id, *event.components])))
    entity_id = await world.spawn(Position())
    await world.add_components(entity_id, Health())
    await world.despawn(entity_id)
    await world.step()
    assert heard == ["OnSpawn", "OnComponentAdded", "OnDespawn", "PostTick"]
    assert told == [entity_id, Position()]
    for handle in (*handles, handles[0]):
        world.remove_hook(handle)
    await world.step()
    assert len(heard) == 4


async def test_commands_are_their_actors(runtime):
    world = runtime.world("actors")
    actor = ActorCtx(roles={"player"})
    await world.spawn(Position())
    await world.as_actor(actor).spawn(Position())
    actors = [command.actor_id for command in await world.command_history() if command.type.value == "spawn"]
    assert actors == [None, actor.id]


async def test_the_handles_of_a_world_see_the_same_tick_and_run(runtime):
    world = runtime.world("shared")
    await world.info()
    assert (world.tick, world.run_id) == (0, None)
    result = await world.run(3)
    view = world.as_actor(ActorCtx(roles={"operator"}))
    assert (view.tick, view.run_id) == (3, result.run_id)
    await view.step()
    assert world.tick == 4
    assert (await world.fork("later")).tick == 4


async def test_a_retry_with_the_same_id_is_accepted_once(runtime):
    world = runtime.world("retries")
    ids = [uuid.uuid4() for _ in range(3)]
    table = pa.table({"position__x": [1.0, 2.0]})
    for _ in range(2):
        assert await world.spawn(Position(), command_id=ids[0]) == 1
        assert await world.spawn_many(table, command_id=ids[1]) == [2, 3]
        assert await world.send("hello", command_id=ids[2]) == ids[2]
    assert (await world.info()).version == 4
    with pytest.raises(StateConflictError, match="other content"):
        await world.spawn(Velocity(), command_id=ids[0])
    with pytest.raises(TypeError, match="unexpected keyword argument 'tik'"):
        await world.spawn(Position(), tik=3)


async def test_ids_go_on_behind_the_largest_that_may_be_asked_for(runtime):
    world = runtime.world("ids")
    await world.spawn(Position(), entity_id=ENTITY_ID_GIVEN_MAX)
    last = await world.spawn(Position())
    await world.step()
    await world.despawn(last)
    await world.step()
    assert (await world.info()).entity_count == 1
    with pytest.raises(InvalidInputError, match="entity_id"):
        await world.spawn(Position(), entity_id=ENTITY_ID_GIVEN_MAX + 1)


class Holder(AsyncProcessor):
    """Was given something that no log can hold."""

    components = (Position,)
    gift = None

    async def process(self, df, **kwargs):
        return df.with_column("position__x", col("position__x") + self.gift)


async def test_a_fork_runs_the_instances_of_its_parent(runtime):
    holder = Holder()
    holder.gift = 5.0
    world = runtime.world("holding", processors=[holder])
    await world.spawn(Position())
    await world.step()
    fork = await world.fork("holds-too")
    assert await (await fork.fork("and-this")).step() == 0
    await fork.step()
    assert await rows(await fork.query(Position), "position__x") == [(10.0,)]


async def test_worlds_let_go_of_leave_nothing_in_memory(runtime):
    services = await runtime.services()
    world = runtime.world("passing", processors=[Drift()])
    held = weakref.ref(world._processors[0])
    await world.step()
    live = services.world_service.live_worlds.of(world.world_id)
    view = world.as_actor(ActorCtx(roles={"operator"}))
    await view.shutdown()
    assert live.is_in_use
    await world.shutdown()
    assert not live.is_in_use
    await world.destroy()
    del world, view
    gc.collect()
    assert held() is None


async def test_a_handle_does_nothing_before_its_first_use(runtime):
    world = runtime.world("lazy")
    for read in (lambda: world.world_id, lambda: world.tick, lambda: world.resources):
        with pytest.raises(RuntimeError, match="not been activated yet"):
            read()
    services = await runtime.services()
    assert await services.world_service.list_worlds() == []


async def test_a_seed_is_the_worlds_for_good(runtime):
    first = await runtime.world("seeded", seed=5).info()
    assert first.seed == 5
    assert (await runtime.world("seeded").info()).seed == 5
    with pytest.raises(StateConflictError, match="seed 5, not 6"):
        await runtime.world("seeded", seed=6).info()


async def test_destroy_frees_the_name_and_keeps_the_history(runtime):
    world = runtime.world("short")
    await world.spawn(Position())
    await world.destroy(reason="enough")
    again = runtime.world("short")
    assert (await again.info()).world_id != world.world_id
    services = await runtime.services()
    reasons = await services.database.read(
        lambda connection: connection.scalars(
            sa.text("SELECT payload FROM command_log WHERE type = 'destroy_world'")
        ).all()
    )
    assert "enough" in str(reasons)


def test_the_sync_face_does_the_same(sqlite_url):
    with ArchetypeRuntime.sync(sqlite_url) as runtime:
        world = runtime.world("sync", processors=[MovementProcessor()])
        entity_id = world.spawn(Position(), Velocity(dx=2))
        assert world.run(2).final_tick == 2
        assert world.query(Position).to_pydict()["position__x"] == [4.0]
        assert [fork.info().fork_tick for fork in world.fork_many("many", 2)] == [1, 1]
        assert world.label("end").tick == 1
        fork = world.fork("other", tick="end")
        fork.despawn(entity_id)
        fork.step()
        assert (fork.info().entity_count, world.info().entity_count, fork.name) == (0, 1, "other")
    with ArchetypeRuntime(sqlite_url).sync() as runtime:
        assert runtime.world("sync").info().tick == 2


def test_the_sync_face_is_shut_down_once_however_often_it_is_asked(sqlite_url):
    with ArchetypeRuntime.sync(sqlite_url) as runtime:
        world = runtime.world("sync")
        world.info()
        runtime.shutdown()
        runtime.shutdown()
    with pytest.raises(InvalidInputError, match="shut down"):
        world.info()


async def test_the_sync_face_is_refused_where_a_loop_runs(sqlite_url):
    """A notebook has one; neither a new runtime nor one from outside would be of use there."""
    with pytest.raises(InvalidInputError, match=r"async with ArchetypeRuntime\(\)"):
        ArchetypeRuntime.sync(sqlite_url)
    made = await asyncio.to_thread(ArchetypeRuntime.sync, sqlite_url)
    with pytest.raises(InvalidInputError, match=r"async with ArchetypeRuntime\(\)"):
        made.tree()
    await asyncio.to_thread(made.shutdown)


async def test_an_empty_postgres_is_not_migrated_behind_anyones_back(postgres_database_url):
    from archetype.store import migrate
    from archetype.store.database import Database

    database = Database(postgres_database_url)
    await migrate.downgrade(database, "base")
    await database.close()
    with pytest.raises(SchemaOutdatedError, match="archetype db upgrade"):
        await ArchetypeRuntime(postgres_database_url).services()


async def test_a_database_that_is_none_is_named(tmp_path):
    for url in ("mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(InvalidInputError, match="sqlite:///"):
            ArchetypeRuntime(url)
