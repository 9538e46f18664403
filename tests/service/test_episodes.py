"""Episodes: over at exactly the right tick, whatever becomes of the process, with the right return."""

import pytest
import sqlalchemy as sa
from daft import col

from archetype.clock import new_id
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    CommandConflictError,
    InvalidInputError,
    PayloadError,
    TickFailedError,
    UnavailableError,
    VersionConflictError,
)
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify


class Lap(Component):
    """How far an entity has come, and what its last step was worth."""

    count: int = 0
    worth: float = 0.0


class Finished(Component):
    """Marks an entity that is done."""


class Lapping(AsyncProcessor):
    """Counts one lap a tick; a lap is worth half of its number."""

    components = (Lap,)

    async def process(self, df, *, tick, fail_at=-1, **kwargs):
        if tick == fail_at:
            message = "as told"
            raise ValueError(message)
        worth = (col("lap__count") + 1) / 2.0
        return df.with_column("lap__worth", worth).with_column("lap__count", col("lap__count") + 1)


async def a_track(services, *, runners=2, snapshots=1):
    info = await services.world_service.create_world(
        WorldConfig(name=new_id().hex, seed=7, snapshots=snapshots)
    )
    requests = [CommandRequest("add_processor", {"processor": "Lapping"})]
    requests += [CommandRequest("spawn", {"components": [{"type": "Lap"}]})] * runners
    await services.command_service.submit_batch(info.world_id, requests)
    return info.world_id


def asked(steps=20, *, command_id=None, expected_version=None, inputs=None, **rules):
    return RunRequest(
        steps=steps,
        kind=CommandType.RUN_EPISODE,
        episode=EpisodeRules(**rules),
        command_id=command_id,
        expected_version=expected_version,
        inputs=inputs or {},
    )


async def is_sound(services):
    report = await verify(services.database)
    assert report.faults == ()
    return report.is_sound


WORTH = Return(column="Lap.worth")


async def test_an_episode_ends_with_the_first_tick_for_which_its_condition_holds(services):
    world_id = await a_track(services)
    rules = {"condition": Condition.parse("Lap.count >= 6"), "returns": WORTH}
    result = await services.episode_service.run(world_id, asked(**rules))
    assert (result.from_tick, result.to_tick, result.steps, result.reason) == (0, 6, 6, "condition")
    assert result.return_value == sum(2 * count / 2 for count in range(1, 7))
    world = await services.world_service.find(world_id)
    assert (world.committed_tick, world.open_tick) == (5, 6)
    assert await is_sound(services)


async def test_an_episode_ends_with_the_tick_in_which_an_entity_gets_the_terminal_component(services):
    world_id = await a_track(services)
    finish = CommandRequest("add_component", {"entity_id": 2, "components": [{"type": "Finished"}]}, 4)
    await services.command_service.submit(world_id, finish)
    rules = {"terminal": "Finished", "condition": Condition.parse("Lap.count >= 5"), "returns": WORTH}
    result = await services.episode_service.run(world_id, asked(**rules))
    assert (result.steps, result.reason) == (5, "terminal")
    assert result.return_value == sum(range(1, 6))


async def test_an_episode_that_begins_where_it_is_over_takes_no_tick_and_seals_none(services):
    world_id = await a_track(services)
    first = await services.episode_service.run(world_id, asked(3))
    assert (first.steps, first.reason, first.return_value) == (3, "max_steps", None)
    again = await services.episode_service.run(
        world_id, asked(condition=Condition.parse("all Lap.count == 3"), returns=WORTH)
    )
    assert (again.from_tick, again.to_tick, again.steps, again.reason) == (3, 3, 0, "condition")
    assert (again.return_value, again.commit_hash) == (0.0, first.commit_hash)
    receipt = await services.command_service.submit(world_id, CommandRequest("despawn", {"entity_id": 1}))
    assert receipt.tick == 3
    assert await is_sound(services)


async def test_a_started_episode_seals_nothing_before_it_is_judged(services):
    world_id = await a_track(services)
    await services.episode_service.run(world_id, asked(1))
    started = await services.episode_service.start(world_id, asked(terminal="Lap"))
    info = await services.run_service.wait(started.run_id)
    assert (info.status, info.ticks_completed, info.reason) == ("completed", 0, "terminal")
    world = await services.world_service.find(world_id)
    assert world.open_tick == world.tick


async def test_an_episode_that_had_to_wait_and_took_no_tick_stands_where_it_was_judged(services):
    world_id = await a_track(services)
    request = asked(command_id=new_id(), condition=Condition.parse("Lap.count >= 3"))
    first = await services.run_service.start(world_id, RunRequest(steps=3))
    waiting = await services.episode_service.start(world_id, request)
    for each in (first, waiting):
        assert (await services.run_service.wait(each.run_id)).status == "completed"
    result = await services.episode_service.run(world_id, request)
    assert (result.from_tick, result.to_tick, result.steps, result.reason) == (3, 3, 0, "condition")
    other = await services.episode_service.run(world_id, asked(condition=Condition.parse("Lap.count >= 3")))
    assert (result.commit_hash, other.steps) == (other.commit_hash, 0)


async def test_a_retry_is_answered_as_the_first_time(services):
    world_id, command_id = await a_track(services), new_id()
    request = asked(2, command_id=command_id, returns=WORTH)
    first = await services.episode_service.run(world_id, request)
    await services.episode_service.run(world_id, asked(2))
    assert await services.episode_service.run(world_id, request) == first
    with pytest.raises(CommandConflictError):
        await services.episode_service.run(world_id, asked(3, command_id=command_id, returns=WORTH))


@pytest.mark.parametrize("snapshots", [1, "needed"])
async def test_an_episode_that_a_crash_cut_short_ends_where_it_would_have(services, snapshots):
    rules = {"condition": Condition.parse("Lap.count >= 5"), "returns": WORTH}
    expected = await services.episode_service.run(await a_track(services), asked(**rules))
    world_id = await a_track(services, snapshots=snapshots)

    async def die(tick):
        if tick == 2:
            raise UnavailableError("as if the process had died")

    with pytest.raises(UnavailableError):
        await services.simulation_service.run(world_id, asked(**rules), on_tick=die)
    services.world_service.forget(world_id)
    (run_id,) = await services.run_service.resume_interrupted()
    info = await services.run_service.wait(run_id)
    found = (info.ticks_completed, info.reason, info.return_value)
    assert found == (5, "condition", expected.return_value)
    assert await is_sound(services)


async def test_an_episode_whose_tick_fails_has_no_return(services):
    world_id, request = await a_track(services), asked(inputs={"fail_at": 2}, returns=WORTH)
    with pytest.raises(TickFailedError):
        await services.episode_service.run(world_id, request)
    (info,) = await services.run_service.list_runs(await services.world_service.find(world_id))
    assert (info.status, info.ticks_completed, info.reason, info.return_value) == ("failed", 2, None, None)
    assert await is_sound(services)


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        pytest.param({"terminal": "Nobody"}, "terminal", id="terminal"),
        pytest.param({"condition": Condition(component="Nobody")}, "condition.component", id="component"),
        pytest.param({"condition": Condition.parse("Lap.age > 1")}, "condition.field", id="field"),
        pytest.param({"condition": Condition.parse("Lap.count > old")}, "condition.value", id="value"),
        pytest.param({"returns": Return(column="Lap.age")}, "returns.column", id="returns"),
    ],
)
async def test_rules_that_fit_nothing_are_refused_and_change_nothing(services, rules, path):
    world_id = await a_track(services)
    before = (await services.world_service.find(world_id)).head_version
    with pytest.raises(InvalidInputError) as refused:
        await services.episode_service.run(world_id, asked(**rules))
    assert [fault["path"] for fault in refused.value.faults] == [path]
    assert (await services.world_service.find(world_id)).head_version == before


async def test_an_episode_passes_at_its_version_only_and_needs_a_step(services):
    world_id = await a_track(services)
    with pytest.raises(VersionConflictError):
        await services.episode_service.run(world_id, asked(expected_version=99))
    with pytest.raises(PayloadError):
        await services.episode_service.run(world_id, asked(0))


@pytest.mark.parametrize(
    "damage", ["reason = 'terminal'", "return_value = 4.5", "return_value = NULL", "reason = NULL"]
)
async def test_an_edited_outcome_is_found(services, damage):
    await services.episode_service.run(await a_track(services), asked(2, returns=WORTH))
    await services.database.write(lambda connection: connection.execute(sa.text(f"UPDATE runs SET {damage}")))
    assert [fault.kind for fault in (await verify(services.database)).faults][:1] == ["run"]


async def test_an_episode_shows_in_the_audit_trail_as_applied(services):
    await services.episode_service.run(await a_track(services), asked(1))
    statement = sa.text("SELECT outcome FROM audit_trail WHERE type = 'run_episode'")
    assert await services.database.read(lambda each: each.execute(statement).scalars().all()) == ["applied"]
