"""Scheduling of worlds: what the log holds of it, and that what ran can be computed again."""

import asyncio
import json

import pytest
import sqlalchemy as sa
from daft import col
from pydantic import ValidationError

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    AccessViolationError,
    ConflictError,
    PayloadError,
    PlanError,
    ProcessorError,
    TickFailedError,
)
from archetype.scheduling import (
    RetryPolicy,
    SchedulerConfig,
    SimpleScheduler,
    SingleGroupBuilder,
    system,
)
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.queries import Selection
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

N = "tally__n"
TOGETHER = SimpleScheduler(group_builder=SingleGroupBuilder())


class Tally(Component):
    """A number."""

    n: int = 0


class Weather:
    """A live resource that makes processors fail, as a service out there might."""

    def __init__(self, *failing):
        self.failing = list(failing)
        self.calls = 0


@system(reads=(Tally,), writes=(Tally,))
def tally_one(access):
    for entity_id, tally in access(Tally):
        access[entity_id, Tally] = Tally(n=tally.n + 1)


@system(reads=(Tally,), writes=(Tally,))
async def tally_ten(access):
    for entity_id, tally in access(Tally):
        access[entity_id, Tally] = Tally(n=tally.n + 10)


@system(priority=20)
async def tally_child(access):
    """Each entity has a child that counts where it comes from."""
    for entity_id, tally in access(Tally):
        if tally.n < 100:
            access.spawn(Tally(n=100 + entity_id))
            access[entity_id, Tally] = Tally(n=1000)


@system(priority=30, retry_policy=RetryPolicy(max_attempts=2, on_exhausted="skip"))
async def tally_flaky(access):
    weather = access.resources.get(Weather)
    if weather is not None:
        weather.calls += 1
        if access.tick in weather.failing:
            raise OSError("no answer")
    for entity_id, tally in access(Tally):
        access[entity_id, Tally] = Tally(n=tally.n + 1)


@system(priority=99)
async def tally_fails(access):
    if access.inputs.get("fails"):
        raise OSError("as told")


class TallyDoubles(AsyncProcessor):
    components = (Tally,)
    priority = 5

    async def process(self, df):
        return df.with_column(N, col(N) * 2)


class TallyGate(AsyncProcessor):
    """Waits in the middle of its tick until it is let go."""

    components = (Tally,)
    priority = 1

    async def process(self, df, resources):
        gate = resources.get(Gate)
        if gate is not None:
            gate.entered.set()
            await gate.release.wait()
        return df


class Gate:
    def __init__(self):
        self.entered, self.release = asyncio.Event(), asyncio.Event()


async def a_world(services, *processors, scheduler=None, count=2, **config):
    info = await services.world_service.create_world(
        WorldConfig(name=new_id().hex, seed=7, scheduler=scheduler, **config)
    )
    requests = [CommandRequest("add_processor", {"processor": each}) for each in processors]
    requests += [CommandRequest("spawn", {"components": [{"type": "Tally"}]}) for _ in range(count)]
    await services.command_service.submit_batch(info.world_id, requests)
    return info.world_id


async def step(services, world_id, steps=1, **inputs):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps, inputs=inputs))


async def tallies(services, world_id, tick=None):
    world = await services.world_service.find(world_id)
    slices = await services.query_service.select(
        world, world.committed_tick if tick is None else tick, Selection()
    )
    return {row["entity_id"]: row[N] for each in slices for row in each.rows.to_pylist() if N in row}


async def ran(services, world_id):
    world = await services.world_service.find(world_id)
    return await services.execution_service.of_ticks(world, 0, world.tick)


async def rows(services, statement):
    return await services.database.read(lambda connection: connection.execute(sa.text(statement)).all())


async def is_sound(services):
    report = await verify(services.database)
    return report.faults == ()


async def test_by_default_each_processor_sees_the_one_before(services):
    world_id = await a_world(services, "tally_one", "tally_ten")
    await step(services, world_id)
    assert await tallies(services, world_id) == {1: 11, 2: 11}
    assert (await ran(services, world_id))[0].conflicts == []


async def test_a_group_sees_one_state_and_the_last_registered_wins(services):
    world_id = await a_world(services, "tally_one", "tally_ten", scheduler=TOGETHER)
    await step(services, world_id)
    assert await tallies(services, world_id) == {1: 10, 2: 10}
    (tick,) = await ran(services, world_id)
    (conflict,) = tick.conflicts
    assert (conflict["component"], conflict["writers"], conflict["winners"]) == (
        "Tally",
        ["tally_one", "tally_ten"],
        ["tally_ten"],
    )
    assert (conflict["resolution"], conflict["entity_count"], conflict["entity_ids"]) == ("last", 2, [1, 2])
    assert [(each["group"], each["processor"], each["cells"]) for each in tick.executions] == [
        (0, "tally_one", 2),
        (0, "tally_ten", 2),
    ]


async def test_a_scheduler_stands_in_the_log_and_in_the_code_of_its_ticks(services):
    scheduler = SimpleScheduler(
        config=SchedulerConfig(
            max_concurrent=10, retry_policy=RetryPolicy(max_attempts=3, backoff="exponential")
        )
    )
    world_id = await a_world(services, "tally_one", scheduler=scheduler)
    await step(services, world_id)
    world = await services.world_service.find(world_id)
    expected = {
        "scheduler": {
            "max_concurrent": 10,
            "retry_policy": {"max_attempts": 3, "backoff": "exponential"},
        }
    }
    assert json.loads(world.config) == expected
    (payload,) = (await rows(services, "SELECT payload FROM events WHERE type = 'create_world'"))[0]
    assert json.loads(payload)["config"] == expected
    await services.world_service.configure_world(world, {"scheduler": {"group_builder": "single"}})
    await step(services, world_id)
    info = await services.world_service.info(await services.world_service.find(world_id))
    assert info.scheduler is not None
    assert info.scheduler.group_builder.name == "single"
    await services.world_service.configure_world(world, {"scheduler": None, "snapshots": 3})
    await step(services, world_id)
    world = await services.world_service.find(world_id)
    assert json.loads(world.config) == {"snapshots": 3}
    codes = await rows(services, "SELECT DISTINCT code_hash FROM ticks")
    assert len(codes) == 3
    assert await is_sound(services)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({}, "payload.config"),
        ({"scheduler": {"max_concurrent": 0}}, "payload.config.scheduler.max_concurrent"),
        (
            {"scheduler": {"retry_policy": {"backoff": "slow"}}},
            "payload.config.scheduler.retry_policy",
        ),
        ({"scheduler": {"group_builder": "nothing"}}, "payload.config.scheduler.group_builder"),
    ],
    ids=["nothing", "concurrency", "backoff", "builder"],
)
async def test_nonsense_is_refused_by_field_and_changes_nothing(services, change, path):
    world = await services.world_service.find(await a_world(services))
    with pytest.raises(PayloadError) as caught:
        await services.world_service.configure_world(world, change)
    assert any(fault["path"].startswith(path) for fault in caught.value.faults)
    assert (await services.world_service.find(world.world_id)).head_version == world.head_version


async def test_settings_that_are_not_named_stay(services):
    world_id = await a_world(services, scheduler=TOGETHER, snapshots=5)
    world = await services.world_service.find(world_id)
    await services.world_service.configure_world(world, {"snapshots": 2})
    world = await services.world_service.find(world_id)
    assert json.loads(world.config) == {"snapshots": 2, "scheduler": {"group_builder": {"name": "single"}}}
    assert await is_sound(services)


async def test_a_fork_has_its_parents_scheduler(services):
    world_id = await a_world(services, "tally_one", "tally_ten", scheduler=TOGETHER)
    await step(services, world_id)
    parent = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(parent, "fork")
    await services.world_service.configure_world(
        await services.world_service.find(fork.world_id), {"scheduler": None}
    )
    await step(services, world_id)
    await step(services, fork.world_id)
    assert await tallies(services, world_id) == {1: 20, 2: 20}
    assert await tallies(services, fork.world_id) == {1: 21, 2: 21}


async def test_entities_that_a_tick_spawns_get_ids_of_the_log_and_are_replayed_to_them(
    services, database_url
):
    world_id = await a_world(services, "tally_child", snapshots="needed")
    await step(services, world_id, 3)
    first = await tallies(services, world_id, 0)
    assert first == {1: 1000, 2: 1000, 3: 101, 4: 102}
    receipt = await services.command_service.submit(
        world_id, CommandRequest("spawn", {"components": [{"type": "Tally", "n": 5}]})
    )
    assert list(receipt.entity_ids) == [5]
    await step(services, world_id, 2)
    last = await tallies(services, world_id)
    assert last == {**first, 5: 1000, 6: 105}
    recorded = await ran(services, world_id)
    assert [tick.spawned for tick in recorded] == [[(3, 2)], [], [], [(6, 1)], []]
    assert [each["spawned"] for tick in recorded for each in tick.executions if "spawned" in each] == [2, 1]
    async with ServiceContainer(database_url) as other:
        assert await tallies(other, world_id, 0) == first
        assert await tallies(other, world_id, 3) == last
        world = await other.world_service.find(world_id)
        report = await other.replay_service.replay(world)
        assert report.divergence is None
        assert await is_sound(other)


async def test_ids_of_a_tick_and_of_commands_that_come_meanwhile_are_not_the_same(services):
    world_id = await a_world(services, "TallyGate", "tally_child")
    gate = Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    stepping = asyncio.ensure_future(step(services, world_id))
    await gate.entered.wait()
    receipt = await services.command_service.submit(
        world_id, CommandRequest("spawn", {"components": [{"type": "Tally", "n": 500}]})
    )
    gate.release.set()
    await stepping
    assert list(receipt.entity_ids) == [3]
    assert await tallies(services, world_id) == {1: 1000, 2: 1000, 4: 101, 5: 102}
    await step(services, world_id)
    assert (await tallies(services, world_id))[3] == 500
    assert await is_sound(services)


async def test_a_fork_goes_on_behind_the_ids_that_its_tick_spawned(services):
    world_id = await a_world(services, "tally_child")
    await step(services, world_id, 2)
    fork = await services.world_service.fork_world(
        await services.world_service.find(world_id), "fork", tick=0
    )
    receipt = await services.command_service.submit(
        fork.world_id, CommandRequest("spawn", {"components": [{"type": "Tally", "n": 7}]})
    )
    assert list(receipt.entity_ids) == [5]
    await step(services, fork.world_id)
    assert await tallies(services, fork.world_id) == {1: 1000, 2: 1000, 3: 101, 4: 102, 5: 1000, 6: 105}
    assert await is_sound(services)


async def test_a_tick_that_fails_behind_its_spawns_leaves_nothing_but_their_ids(services):
    world_id = await a_world(services, "tally_child", "tally_fails")
    with pytest.raises(ProcessorError, match="as told") as caught:
        await step(services, world_id, fails=True)
    assert [each["error"] for each in caught.value.details["attempts"]] == ["raised OSError: as told"]
    world = await services.world_service.find(world_id)
    assert (world.committed_tick, world.next_entity_id) == (-1, 5)
    await step(services, world_id)
    assert await tallies(services, world_id) == {1: 1000, 2: 1000, 5: 101, 6: 102}
    assert await is_sound(services)


async def test_a_skip_is_recorded_and_skipped_again_by_a_replay(services, database_url):
    world_id = await a_world(services, "tally_flaky", snapshots="needed")
    weather = Weather(1)
    services.world_service.live_worlds.of(world_id).resources.insert(weather)
    await step(services, world_id, 4)
    assert weather.calls == 5
    assert await tallies(services, world_id) == {1: 3, 2: 3}
    recorded = [tick.executions[0] for tick in await ran(services, world_id)]
    assert [each["status"] for each in recorded] == ["done", "skipped", "done", "done"]
    assert [each["attempts"] for each in recorded] == [1, 2, 1, 1]
    assert ["no answer" in each["error"] for each in recorded[1]["failures"]] == [True, True]
    async with ServiceContainer(database_url) as other:
        # Here nothing would fail: what was skipped is skipped because it is recorded.
        assert await tallies(other, world_id, 1) == {1: 1, 2: 1}
        world = await other.world_service.find(world_id)
        assert (await other.replay_service.replay(world)).divergence is None


async def test_a_failed_run_records_every_attempt(services):
    scheduler = SimpleScheduler(config=SchedulerConfig(retry_policy=RetryPolicy(max_attempts=3)))
    world_id = await a_world(services, "tally_fails", scheduler=scheduler)
    with pytest.raises(ProcessorError):
        await step(services, world_id, fails=True)
    ((payload,),) = await rows(services, "SELECT payload FROM events WHERE type = 'run_finished'")
    failure = json.loads(payload)["failure"]
    assert failure["processor"] == "tally_fails"
    assert len(failure["attempts"]) == 3


async def test_a_failure_in_the_third_group_leaves_nothing_of_the_first_two(services):
    world_id = await a_world(
        services, "TallyDoubles", "tally_one", "tally_fails", scheduler=SimpleScheduler()
    )
    await step(services, world_id)
    before = await tallies(services, world_id)
    with pytest.raises(ProcessorError):
        await step(services, world_id, fails=True)
    assert await tallies(services, world_id) == before
    assert (await services.world_service.find(world_id)).committed_tick == 0
    await step(services, world_id)
    assert await tallies(services, world_id) == {1: 3, 2: 3}
    assert await is_sound(services)


async def test_a_world_may_refuse_conflicts_and_then_let_them_be(services):
    scheduler = SimpleScheduler(SchedulerConfig(conflicts="error"), SingleGroupBuilder())
    world_id = await a_world(services, "tally_one", "tally_ten", scheduler=scheduler)
    with pytest.raises(ConflictError, match=r"tally_one and tally_ten wrote Tally of 2 entities"):
        await step(services, world_id)
    world = await services.world_service.find(world_id)
    assert world.committed_tick == -1
    await services.world_service.configure_world(world, {"scheduler": {"group_builder": "single"}})
    await step(services, world_id)
    assert await tallies(services, world_id) == {1: 10, 2: 10}


@system(reads=(Tally,))
async def tally_reader(access):
    """Writes though it may not, and hides that from itself."""
    for entity_id, tally in access(Tally):
        try:
            access[entity_id, Tally] = tally
        except AccessViolationError:
            continue


async def test_a_violation_fails_the_tick_even_where_failures_are_skipped(services):
    policy = RetryPolicy(max_attempts=3, on_exhausted="skip")
    scheduler = SimpleScheduler(SchedulerConfig(retry_policy=policy))
    world_id = await a_world(services, "tally_reader", scheduler=scheduler)
    with pytest.raises(AccessViolationError, match="tally_reader may not write Tally") as caught:
        await step(services, world_id)
    assert {"processor": "tally_reader", "component": "Tally", "access": "write"}.items() <= (
        caught.value.details.items()
    )
    assert len(caught.value.details["attempts"]) == 1


@system(every=3, offset=1)
async def tally_seldom(access):
    for entity_id, tally in access(Tally):
        access[entity_id, Tally] = Tally(n=tally.n + 1)


async def test_a_declaration_that_the_builder_does_not_look_at_is_refused_until_one_does(services):
    world_id = await a_world(services, "tally_seldom")
    with pytest.raises(PlanError, match="FrequencyGroupBuilder"):
        await step(services, world_id)
    world = await services.world_service.find(world_id)
    assert world.committed_tick == -1
    await services.world_service.configure_world(world, {"scheduler": {"group_builder": "frequency"}})
    await step(services, world_id, 6)
    assert [(await tallies(services, world_id, tick))[1] for tick in range(6)] == [0, 1, 1, 1, 2, 2]
    plan = await services.plan_service.plan(await services.world_service.find(world_id))
    assert (plan.groups, plan.not_due) == ([], ["tally_seldom"])


async def test_what_overflows_fails_the_tick_and_says_where(services):
    world_id = await a_world(services, "tally_overflows", scheduler=TOGETHER)
    with pytest.raises(TickFailedError, match=r"tally__n|Tally\.n"):
        await step(services, world_id)


@system(writes=(Tally,))
async def tally_overflows(access):
    for entity_id in access.entities():
        access[entity_id, Tally] = Tally(n=2**63)


async def test_a_plan_shows_groups_and_where_declared_writes_overlap(services):
    world_id = await a_world(
        services, "tally_ten", "TallyDoubles", "tally_one", "tally_fails", scheduler=SimpleScheduler()
    )
    await step(services, world_id)
    plan = await services.plan_service.plan(await services.world_service.find(world_id))
    assert plan.tick == 1
    assert [[each.name for each in group.processors] for group in plan.groups] == [
        ["TallyDoubles"],
        ["tally_ten", "tally_one"],
        ["tally_fails"],
    ]
    (overlap,) = plan.groups[1].overlaps
    assert (overlap.component, overlap.processors) == ("Tally", ("tally_ten", "tally_one"))
    assert [group.processors[0].writes for group in plan.groups] == [None, ["Tally"], None]


async def test_what_ran_can_be_asked_by_sql(services):
    world_id = await a_world(services, "tally_one", "tally_ten", "tally_flaky", scheduler=TOGETHER)
    services.world_service.live_worlds.of(world_id).resources.insert(Weather(0))
    await step(services, world_id)
    found = await rows(
        services,
        "SELECT processor, status, group_number, cell_count, attempt_count FROM executions "
        "ORDER BY processor_index",
    )
    assert [tuple(each) for each in found] == [
        ("tally_one", "done", 0, 2, 1),
        ("tally_ten", "done", 0, 2, 1),
        ("tally_flaky", "skipped", 0, 0, 2),
    ]
    ((component, count),) = await rows(services, "SELECT component, entity_count FROM conflicts")
    assert (component, count) == ("Tally", 2)


async def test_a_fork_shows_what_ran_in_the_past_that_it_shares(services):
    world_id = await a_world(services, "tally_one")
    await step(services, world_id, 2)
    fork = await services.world_service.fork_world(
        await services.world_service.find(world_id), "fork", tick=0
    )
    await step(services, fork.world_id, 1)
    world = await services.world_service.find(fork.world_id)
    found = await services.execution_service.of_ticks(world, 0, 2)
    assert [(each.tick, [one["processor"] for one in each.executions]) for each in found] == [
        (0, ["tally_one"]),
        (1, ["tally_one"]),
    ]


async def test_a_processor_of_another_priority_is_another_instance(services):
    first = await a_world(services, "tally_one", "tally_ten", scheduler=SimpleScheduler())
    second = await a_world(services, scheduler=SimpleScheduler())
    await services.command_service.submit_batch(
        second,
        [
            CommandRequest("add_processor", {"processor": "tally_one", "priority": 11}),
            CommandRequest("add_processor", {"processor": "tally_ten"}),
        ],
    )
    for world_id in (first, second, first):
        await step(services, world_id)
    assert await tallies(services, first) == {1: 20, 2: 20}
    assert await tallies(services, second) == {1: 11, 2: 11}


def test_a_builder_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValidationError, match=r"names tests\.nowhere\.Builder.*choose one of priority"):
        WorldConfig(name="x", scheduler={"group_builder": "tests.nowhere.Builder"})
