"""Rollouts: many forks of one state, each with its seed; recorded, repeatable, resumed where they broke."""

import asyncio
import logging
import statistics

import pytest
import sqlalchemy as sa
from daft import col, lit

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.episodes import derived_seed
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    RunCancelledError,
    TickNotFoundError,
    UnavailableError,
    VersionConflictError,
    WorldBusyError,
)
from archetype.log.run_payloads import RunRollout
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.rollout_results import RolloutRequest
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from damaged import empty_payloads

RUN_ONE = RunRequest(steps=1)


class Purse(Component):
    """What a gambler has left, and won in the last tick."""

    coins: int = 5
    won: int = 0


class Gate:
    """Lets ticks pass once it is open; says when the first one waits."""

    def __init__(self):
        self.is_reached = asyncio.Event()
        self.is_open = asyncio.Event()


class Gambling(AsyncProcessor):
    """Wins or loses a coin each tick; fails in the worlds it is told to."""

    components = (Purse,)

    async def process(self, df, *, rng, resources, unlucky=(), world_id=None, seed=None, **kwargs):
        gate = resources.get(Gate)
        if gate is not None:
            gate.is_reached.set()
            await gate.is_open.wait()
        won = int(rng.integers(0, 2)) * 2 - 1
        if won in unlucky:
            message = "out of luck"
            raise ValueError(message)
        return df.with_column("purse__won", lit(won).cast("int64")).with_column(
            "purse__coins", col("purse__coins") + won
        )


RULES = {
    "condition": {"component": "Purse", "field": "coins", "comparison": "<=", "value": 3},
    "returns": {"column": "Purse.won"},
}


async def a_casino(services, *, seed=7):
    info = await services.world_service.create_world(WorldConfig(name=new_id().hex, seed=seed))
    requests = [
        CommandRequest("add_processor", {"processor": "Gambling"}),
        CommandRequest("spawn", {"components": [{"type": "Purse"}]}),
    ]
    await services.command_service.submit_batch(info.world_id, requests)
    await services.simulation_service.run(info.world_id, RUN_ONE)
    return info.world_id


def asked(episodes=6, *, command_id=None, expected_version=None, **options):
    payload = {**RULES, "episodes": episodes, "max_steps": 5, **options}
    return RolloutRequest(
        RunRollout.model_validate(payload), command_id=command_id, expected_version=expected_version
    )


async def is_sound(services):
    report = await verify(services.database)
    assert report.faults == ()
    return report.is_sound


def outcomes(result):
    return [(each.index, each.seed, each.steps, each.reason, each.return_value) for each in result.episodes]


async def coins(services, world):
    table = await services.query_service.frame(world, components=["Purse"])
    return table["purse__coins"].to_pylist()


async def live_names(services):
    return {info.name for info in await services.world_service.list_worlds()}


async def count(services, table):
    statement = sa.text(f"SELECT count(*) FROM {table}")
    return await services.database.read(lambda connection: connection.scalar(statement))


async def test_a_rollout_runs_an_episode_for_each_seed_and_removes_its_forks(services):
    world_id = await a_casino(services)
    before = await live_names(services)
    result = await services.rollout_service.run(world_id, asked(seed=3))
    assert [each.seed for each in result.episodes] == [derived_seed(3, index) for index in range(6)]
    assert (result.status, result.tick, result.episodes_requested) == ("completed", 0, 6)
    returns = [each.return_value for each in result.episodes]
    assert (result.returns.count, result.returns.mean) == (6, statistics.fmean(returns))
    assert (result.returns.min, result.returns.max) == (min(returns), max(returns))
    assert result.returns.std == statistics.stdev(returns)
    assert sum(result.reasons.values()) == 6
    for each in result.episodes:
        assert each.steps == 5 or each.reason == "condition"
        assert each.reason in {"condition", "max_steps"}
    assert await live_names(services) == before
    assert await is_sound(services)


async def test_the_same_base_and_seed_give_the_same_returns_however_many_run_at_once(services):
    world_id = await a_casino(services)
    one = await services.rollout_service.run(world_id, asked(seed=3, parallel=1))
    await services.simulation_service.run(world_id, RUN_ONE)
    other = await services.rollout_service.run(world_id, asked(seed=3, parallel=6, tick=0))
    assert outcomes(one) == outcomes(other)
    assert len({each.return_value for each in one.episodes}) > 1


async def test_an_episode_returns_what_a_run_of_the_same_fork_would(services):
    world_id = await a_casino(services)
    result = await services.rollout_service.run(world_id, asked(2, seeds=[11, 12], keep=True, condition=None))
    world = await services.world_service.find(world_id)
    (before,) = await coins(services, world)
    for each in result.episodes:
        twin = await services.world_service.fork_world(world, new_id().hex, seed=each.seed)
        await services.simulation_service.run(twin.world_id, RunRequest(steps=5))
        (after,) = await coins(services, await services.world_service.find(twin.world_id))
        kept = await services.world_service.find(each.world_id)
        assert await coins(services, kept) == [after]
        assert each.return_value == after - before


async def test_many_forks_store_their_base_once(services):
    world_id = await a_casino(services)
    pages = await count(services, "pages")
    await services.rollout_service.run(world_id, asked(20, condition=None, parallel=8))
    # A purse after five throws holds one of few sums: what it costs is the values that are new.
    assert await count(services, "pages") - pages <= 20
    assert await count(services, "snapshots") == 1 + 20


async def test_a_retry_is_answered_as_the_first_time_and_doubles_nothing(services):
    world_id, command_id = await a_casino(services), new_id()
    first = await services.rollout_service.run(world_id, asked(command_id=command_id))
    await services.simulation_service.run(world_id, RUN_ONE)
    worlds = await count(services, "worlds")
    assert await services.rollout_service.run(world_id, asked(command_id=command_id)) == first
    assert await count(services, "worlds") == worlds


async def test_an_episode_that_fails_is_recorded_and_the_others_go_on(services):
    world_id = await a_casino(services)
    plain = await services.rollout_service.run(world_id, asked(12))
    unlucky = await services.rollout_service.run(world_id, asked(12, inputs={"unlucky": [-1]}))
    for before, each in zip(plain.episodes, unlucky.episodes, strict=True):
        if before.return_value == before.steps:
            assert (each.reason, each.return_value) == (before.reason, before.return_value)
        else:
            assert (each.reason, each.return_value) == ("failed", None)
            assert "out of luck" in each.error
    assert unlucky.status == "completed"
    assert await is_sound(services)


@pytest.mark.parametrize("error", [UnavailableError, WorldBusyError], ids=["stops", "dies"])
async def test_a_rollout_that_was_cut_short_completes_exactly_the_episodes_that_are_missing(services, error):
    expected = await services.rollout_service.run(
        await a_casino(services), asked(5, parallel=1, condition=None)
    )
    world_id = await a_casino(services)
    run, begun = services.simulation_service.run, []

    async def run_twice(fork_id, request, *, on_tick, slot):
        begun.append(fork_id)

        async def die(tick):
            if len(begun) > 2 and tick > 1:
                raise error("as if the process had died")

        return await run(fork_id, request, on_tick=die, slot=slot)

    services.simulation_service.run = run_twice
    started = await services.run_service.start(world_id, asked(5, parallel=1, condition=None))
    await services.run_service.close()
    assert len((await services.rollout_service.find(started.run_id)).episodes) == 2
    services.simulation_service.run = run
    assert started.run_id in await services.run_service.resume_interrupted()
    result = await services.rollout_service.run(
        world_id, asked(5, parallel=1, condition=None, command_id=started.command_id)
    )
    assert (result.status, outcomes(result)) == ("completed", outcomes(expected))
    assert await count(services, "worlds") == 12
    assert await is_sound(services)


async def test_a_cancelled_rollout_ends_its_episodes_and_removes_its_forks(services):
    world_id, gate = await a_casino(services), Gate()
    before = await live_names(services)
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    waiting = asyncio.create_task(services.rollout_service.run(world_id, asked(8, parallel=2)))
    await gate.is_reached.wait()
    (info, *_) = await services.run_service.list_runs(await services.world_service.find(world_id))
    cancelled = await services.run_service.cancel(info.run_id, reason="enough")
    assert cancelled.status == "cancelling"
    gate.is_open.set()
    with pytest.raises(RunCancelledError, match="enough"):
        await waiting
    result = await services.rollout_service.find(info.run_id)
    assert (result.status, result.error) == ("cancelled", "enough")
    assert len(result.episodes) < 8
    assert await live_names(services) == before
    assert await is_sound(services)


async def test_forks_go_with_their_base_world(services):
    world_id, gate = await a_casino(services), Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    started = await services.run_service.start(world_id, asked(4, parallel=2))
    await gate.is_reached.wait()
    await services.world_service.remove_world(await services.world_service.find(world_id))
    gate.is_open.set()
    await services.run_service.close()
    info = await services.run_service.find(started.run_id)
    assert (info.status, info.error) == ("failed", "its world was removed")
    assert await live_names(services) == set()
    assert await is_sound(services)


async def test_a_rollout_whose_command_is_damaged_keeps_no_run_waiting(services, database_url, caplog):
    async with ServiceContainer(database_url) as stopping:
        world_id, gate = await a_casino(stopping), Gate()
        stopping.world_service.live_worlds.of(world_id).resources.insert(gate)
        started = await stopping.run_service.start(world_id, asked(4, parallel=1))
        await gate.is_reached.wait()
        stopping.simulation_service.stop()
        gate.is_open.set()
    await empty_payloads(services.database, "run_rollout")
    waiting = await services.simulation_service.accept(await a_casino(services), RUN_ONE)
    with caplog.at_level(logging.WARNING):
        assert waiting.run_id in await services.run_service.resume_interrupted()
        assert (await services.run_service.wait(waiting.run_id)).status == "completed"
        assert (await services.run_service.cancel(started.run_id)).status == "cancelling"
    told = [record.message for record in caplog.records if str(started.run_id) in record.message]
    assert len(told) == 1


async def test_a_rollout_nobody_computes_is_cleared_up_when_it_is_cancelled(services):
    world_id = await a_casino(services)
    before = await live_names(services)
    services.run_service._take_up = lambda *_: None
    started = await services.run_service.start(world_id, asked(3))
    del services.run_service._take_up
    assert (await services.run_service.cancel(started.run_id)).status == "cancelling"
    assert (await services.run_service.wait(started.run_id)).status == "cancelled"
    assert await live_names(services) == before
    assert await is_sound(services)


async def test_rules_may_name_their_components_with_their_modules(services):
    world_id, named = await a_casino(services), f"{Purse.__module__}.Purse"
    rules = {"condition": {"component": named}, "returns": {"column": f"{named}.coins", "reducer": "last"}}
    result = await services.rollout_service.run(world_id, asked(2, **rules))
    assert result.reasons == {"condition": 2}
    rules["condition"] |= {"field": "coins", "comparison": "<", "value": -99}
    result = await services.rollout_service.run(world_id, asked(2, **rules))
    assert (result.reasons, result.returns.count) == ({"max_steps": 2}, 2)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"tick": 9}, TickNotFoundError, id="tick"),
        pytest.param({"expected_version": 99}, VersionConflictError, id="version"),
    ],
)
async def test_what_cannot_be_begun_changes_nothing(services, options, error):
    world_id = await a_casino(services)
    before = (await services.world_service.find(world_id)).head_version, await count(services, "worlds")
    with pytest.raises(error):
        await services.rollout_service.run(world_id, asked(**options))
    world = await services.world_service.find(world_id)
    assert (world.head_version, await count(services, "worlds")) == before


async def test_pending_commands_go_along_if_they_are_asked_for(services):
    world_id = await a_casino(services)
    spawn = CommandRequest("spawn", {"components": [{"type": "Purse"}]})
    await services.command_service.submit(world_id, spawn)
    result = await services.rollout_service.run(world_id, asked(1, include_pending=True, keep=True))
    fork = await services.world_service.find(result.episodes[0].world_id)
    assert (await services.world_service.info(fork)).entity_count == 2


async def test_nothing_of_removed_forks_is_kept_in_memory(services):
    world_id = await a_casino(services)
    result = await services.rollout_service.run(world_id, asked(4))
    assert list(services.world_service.live_worlds._live) == [world_id]
    pool = services.simulation_service.pool._built
    assert [pool.get(each.world_id) for each in result.episodes] == [None] * 4
    assert pool.get(world_id) is not None
