"""Runs in the background: durable, followed, cancelled from anywhere, taken up again and complete."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from daft import col

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    CodeNotLoadedError,
    CommandConflictError,
    RunCancelledError,
    RunEndedError,
    RunNotFoundError,
    TickFailedError,
    UnavailableError,
    VersionConflictError,
    WorldArchivedError,
    WorldNotFoundError,
)
from archetype.examples.movement import Position
from archetype.service import run_service
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.run_service import RunService
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from archetype.store import moments
from archetype.store.schema import worlds
from damaged import empty_payloads


class Turnstile:
    """Says which tick is being computed, and lets ticks pass one by one or all."""

    def __init__(self) -> None:
        self.entered = asyncio.Queue()
        self.passes = asyncio.Semaphore(0)
        self.is_open = False

    def open(self) -> None:
        self.is_open = True
        self.passes.release()


class Queueing(AsyncProcessor):
    """Moves everything by 1 as soon as its turnstile, if there is one, lets it."""

    components = (Position,)

    async def process(self, df, *, tick, resources, fail_at=-1, **kwargs):
        turnstile = resources.get(Turnstile)
        if turnstile is not None:
            turnstile.entered.put_nowait(tick)
            if not turnstile.is_open:
                await turnstile.passes.acquire()
        if tick == fail_at:
            message = "as told"
            raise ValueError(message)
        return df.with_column("position__x", col("position__x") + 1.0)


async def a_world(services, *, turnstile=None):
    info = await services.world_service.create_world(WorldConfig(name=new_id().hex, seed=7))
    requests = [
        CommandRequest("add_processor", {"processor": "Queueing"}),
        CommandRequest("spawn", {"components": [{"type": "Position"}]}),
    ]
    await services.command_service.submit_batch(info.world_id, requests)
    if turnstile is not None:
        services.world_service.live_worlds.of(info.world_id).resources.insert(turnstile)
    return info.world_id


async def moved(services, world_id):
    world = await services.world_service.find(world_id)
    table = await services.query_service.frame(world, components=["Position"])
    return table["position__x"].to_pylist()


async def ends(services):
    found = await services.database.read(
        lambda connection: connection.execute(
            sa.text("SELECT status, ticks_completed, error FROM runs ORDER BY run_id")
        ).all()
    )
    return [tuple(row) for row in found]


async def is_sound(services):
    report = await verify(services.database)
    assert report.faults == ()
    return report.is_sound


async def as_if_dead(services, world_id, steps, *, at, command_id=None):
    """Leave a run as a process leaves it that dies behind a tick, and give its lease to a dead process."""

    async def die(tick):
        if tick == at:
            raise UnavailableError("as if the process had died")

    request = RunRequest(steps=steps, command_id=command_id)
    with pytest.raises(UnavailableError):
        await services.simulation_service.run(world_id, request, on_tick=die)
    await services.database.write(
        lambda connection: connection.execute(sa.text("UPDATE worlds SET lease_until = created_at"))
    )


async def test_a_started_run_is_durable_at_once_and_completes_by_itself(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=5))
    assert started.status == "waiting"
    assert (started.ticks_requested, started.ticks_completed, started.from_tick) == (5, 0, 0)
    assert await turnstile.entered.get() == 0
    assert (await services.run_service.find(started.run_id)).status == "running"
    assert await is_sound(services)
    turnstile.open()
    done = await services.run_service.wait(started.run_id)
    assert (done.status, done.ticks_completed, done.error) == ("completed", 5, None)
    assert done.finished_at >= done.started_at == started.started_at
    assert await moved(services, world_id) == [5.0]
    assert await is_sound(services)


async def test_runs_of_one_world_take_their_turns(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    first, second, third = [
        await services.run_service.start(world_id, RunRequest(steps=steps)) for steps in (2, 3, 0)
    ]
    await turnstile.entered.get()
    assert await is_sound(services)
    assert (await services.run_service.find(second.run_id)).status == "waiting"
    turnstile.open()
    for each in (third, second, first):
        assert (await services.run_service.wait(each.run_id)).status == "completed"
    assert await moved(services, world_id) == [5.0]
    ran = await services.database.read(
        lambda connection: connection.scalars(sa.select(sa.text("run_id FROM ticks ORDER BY tick"))).all()
    )
    assert [str(each) for each in ran] == [str(first.run_id)] * 2 + [str(second.run_id)] * 3
    assert await is_sound(services)


async def test_a_run_that_waited_says_its_last_tick_when_it_is_asked_for_again(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    await services.run_service.start(world_id, RunRequest(steps=2))
    request = RunRequest(steps=3, command_id=new_id())
    second = await services.run_service.start(world_id, request)
    turnstile.open()
    await services.run_service.wait(second.run_id)
    result = await services.simulation_service.run(world_id, request)
    assert (result.run_id, result.ticks_completed, result.final_tick) == (second.run_id, 3, 5)


async def test_a_retry_of_a_started_run_is_the_same_run(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    request = RunRequest(steps=2, command_id=new_id(), expected_version=3)
    first = await services.run_service.start(world_id, request)
    again = await services.run_service.start(world_id, request)
    assert again.run_id == first.run_id
    turnstile.open()
    done = await services.run_service.wait(first.run_id)
    assert await services.run_service.start(world_id, request) == done
    assert await moved(services, world_id) == [2.0]
    with pytest.raises(CommandConflictError):
        await services.run_service.start(world_id, RunRequest(steps=3, command_id=request.command_id))


async def test_what_cannot_be_accepted_leaves_no_run(services):
    with pytest.raises(WorldNotFoundError):
        await services.run_service.start(new_id(), RunRequest())
    world_id = await a_world(services)
    with pytest.raises(VersionConflictError):
        await services.run_service.start(world_id, RunRequest(expected_version=1))
    assert await ends(services) == []


async def test_a_tick_that_fails_ends_the_run_and_stays_in_its_row(services):
    world_id = await a_world(services)
    started = await services.run_service.start(world_id, RunRequest(steps=5, inputs={"fail_at": 2}))
    done = await services.run_service.wait(started.run_id)
    assert (done.status, done.ticks_completed) == ("failed", 2)
    assert "as told" in done.error
    assert await services.run_service.resume_interrupted() == []
    with pytest.raises(TickFailedError, match="as told"):
        await services.simulation_service.run(
            world_id, RunRequest(steps=5, inputs={"fail_at": 2}, command_id=started.command_id)
        )
    assert await is_sound(services)


async def test_a_follower_sees_progress_grow_to_the_end(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=4))
    seen = []
    async for info in services.run_service.follow(started.run_id):
        seen.append((info.ticks_completed, info.has_ended))
        turnstile.passes.release()
    counts = [count for count, _ in seen]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert seen[-1] == (4, True)
    assert [has_ended for _, has_ended in seen[:-1]] == [False] * (len(seen) - 1)
    rest = [info async for info in services.run_service.follow(started.run_id, after=4)]
    assert [info.ticks_completed for info in rest] == [4]


async def test_another_service_follows_by_reading_the_row(services, database_url):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=3))
    async with ServiceContainer(database_url) as other:

        async def sleep(seconds):
            assert seconds == run_service.FOLLOW_INTERVAL_S
            turnstile.passes.release()
            await asyncio.sleep(0)

        reader = RunService(
            other.database, other.simulation_service, other.run_service._rollouts, sleep=sleep
        )
        seen = [info.ticks_completed async for info in reader.follow(started.run_id)]
    assert (seen[0], seen[-1]) == (0, 3)
    assert seen == sorted(seen)


@pytest.mark.parametrize("from_another_service", [False, True], ids=["here", "elsewhere"])
async def test_a_cancelled_run_ends_behind_the_tick_being_computed(
    services, database_url, from_another_service
):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=9))
    await turnstile.entered.get()
    turnstile.passes.release()
    assert await turnstile.entered.get() == 1
    async with ServiceContainer(database_url) as other:
        canceller = other if from_another_service else services
        info = await canceller.run_service.cancel(started.run_id, reason="wrong inputs")
        assert (info.status, info.error) == ("cancelling", "wrong inputs")
        assert await is_sound(services)
        again = await canceller.run_service.cancel(started.run_id, reason="another reason")
        assert again == info
    turnstile.open()
    done = await services.run_service.wait(started.run_id)
    assert (done.status, done.ticks_completed, done.error) == ("cancelled", 2, "wrong inputs")
    world = await services.world_service.find(world_id)
    assert (world.committed_tick, world.open_tick) == (1, 2), "nothing is sealed behind its last tick"
    assert (await services.run_service.cancel(started.run_id)).status == "cancelled"
    assert await services.run_service.resume_interrupted() == []
    assert await is_sound(services)
    with pytest.raises(RunCancelledError, match="2 of 9 ticks: wrong inputs"):
        await services.simulation_service.run(world_id, RunRequest(steps=9, command_id=started.command_id))
    await services.simulation_service.run(world_id, RunRequest(steps=1))
    assert await moved(services, world_id) == [3.0]
    assert await is_sound(services)


async def test_whoever_waits_for_a_run_is_told_that_it_was_cancelled(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    run_id = new_id()
    waiting = asyncio.create_task(
        services.simulation_service.run(world_id, RunRequest(steps=3, run_id=run_id))
    )
    await turnstile.entered.get()
    await services.run_service.cancel(run_id)
    turnstile.open()
    with pytest.raises(RunCancelledError) as caught:
        await waiting
    assert caught.value.details == {"run_id": str(run_id), "ticks_completed": 1}


async def test_a_run_that_waits_is_cancelled_at_once(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    first = await services.run_service.start(world_id, RunRequest(steps=2))
    second = await services.run_service.start(world_id, RunRequest(steps=5))
    await turnstile.entered.get()
    assert (await services.run_service.cancel(second.run_id)).status == "cancelled"
    assert await is_sound(services)
    turnstile.open()
    assert (await services.run_service.wait(first.run_id)).ticks_completed == 2
    assert await moved(services, world_id) == [2.0]
    assert await is_sound(services)


async def test_a_run_whose_last_tick_is_being_computed_completes_all_the_same(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=1))
    await turnstile.entered.get()
    assert (await services.run_service.cancel(started.run_id)).status == "cancelling"
    turnstile.open()
    assert (await services.run_service.wait(started.run_id)).status == "completed"
    assert await is_sound(services)


async def test_a_cancellation_is_a_command_and_its_retry_succeeds(services):
    world_id = await a_world(services)
    started = await services.run_service.start(world_id, RunRequest(steps=1))
    await services.run_service.wait(started.run_id)
    before = (await services.world_service.find(world_id)).head_version
    with pytest.raises(RunEndedError) as caught:
        await services.run_service.cancel(started.run_id)
    assert caught.value.details == {"run_id": str(started.run_id), "run_status": "completed"}
    assert (await services.world_service.find(world_id)).head_version == before
    with pytest.raises(RunNotFoundError):
        await services.run_service.cancel(new_id())
    await as_if_dead(services, world_id, 4, at=2)
    (newest, _) = await services.run_service.list_runs(await services.world_service.find(world_id))
    key = new_id()
    version = (await services.world_service.find(world_id)).head_version
    with pytest.raises(VersionConflictError):
        await services.run_service.cancel(newest.run_id, expected_version=1)
    for _ in range(2):
        info = await services.run_service.cancel(
            newest.run_id, reason="x", command_id=key, expected_version=version
        )
        assert (info.status, info.ticks_completed) == ("cancelled", 2)
    trail = await services.database.read(
        lambda connection: connection.execute(
            sa.text("SELECT type, outcome FROM audit_trail WHERE type = 'cancel_run'")
        ).all()
    )
    assert [tuple(row) for row in trail] == [("cancel_run", "applied")]
    assert await is_sound(services)


async def test_everyone_who_cancels_a_run_is_recorded_and_the_first_reason_counts(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=3))
    await turnstile.entered.get()
    actors = [
        await services.identity_service.create_actor(name, roles=["operator"]) for name in ("ann", "bob")
    ]
    keys = [new_id(), new_id()]
    for actor, key in (*zip(actors, keys, strict=True), (actors[1], keys[1])):
        info = await services.run_service.cancel(
            started.run_id, reason=f"{actor.name} wants it", command_id=key, actor_id=actor.actor_id
        )
        assert info.status == "cancelling"
        assert await is_sound(services)
    turnstile.open()
    done = await services.run_service.wait(started.run_id)
    assert (done.status, done.error) == ("cancelled", "ann wants it")
    await services.run_service.cancel(started.run_id, reason="too late", actor_id=actors[1].actor_id)
    trail = await services.database.read(
        lambda connection: connection.execute(
            sa.text("SELECT actor, outcome FROM audit_trail WHERE type = 'cancel_run' ORDER BY position")
        ).all()
    )
    assert [tuple(row) for row in trail] == [("ann", "applied"), ("bob", "applied")]
    assert await is_sound(services)


async def test_a_run_of_a_removed_world_has_failed_and_cannot_be_cancelled(services):
    world_id = await a_world(services)
    await as_if_dead(services, world_id, 4, at=0)
    world = await services.world_service.find(world_id)
    (info,) = await services.run_service.list_runs(world)
    await services.world_service.remove_world(world)
    assert (await services.run_service.wait(info.run_id)).error == "its world was removed"
    assert await services.run_service.resume_interrupted() == []
    with pytest.raises(WorldArchivedError):
        await services.run_service.cancel(info.run_id)


async def test_the_second_service_takes_over_after_the_first_is_dead(services, database_url):
    world_id = await a_world(services)
    command_id = new_id()
    await as_if_dead(services, world_id, 7, at=2, command_id=command_id)
    assert await ends(services) == [("running", 3, None)]
    async with ServiceContainer(database_url) as other:
        (run_id,) = await other.run_service.resume_interrupted()
        assert (await other.run_service.wait(run_id)).status == "completed"
        assert await other.run_service.resume_interrupted() == []
        assert await moved(other, world_id) == [7.0]
        result = await other.simulation_service.run(world_id, RunRequest(steps=7, command_id=command_id))
        assert result.final_tick == 7
    assert await ends(services) == [("completed", 7, None)]
    assert await is_sound(services)


async def test_a_world_that_another_living_process_runs_is_left_to_it(services, database_url):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    first = await services.run_service.start(world_id, RunRequest(steps=2))
    await turnstile.entered.get()
    async with ServiceContainer(database_url) as other:
        assert await other.run_service.resume_interrupted() == []
        second = await other.run_service.start(world_id, RunRequest(steps=3))
        await other.run_service.close()
        assert (await other.run_service.find(second.run_id)).status == "waiting"
        assert await is_sound(services)
        turnstile.open()
        await services.run_service.wait(first.run_id)
        assert await other.run_service.resume_interrupted() == [second.run_id]
        assert (await other.run_service.wait(second.run_id)).ticks_completed == 3
        assert await moved(other, world_id) == [5.0]
    assert await is_sound(services)


async def test_an_owner_that_only_seemed_dead_cannot_go_on_with_a_cancelled_run(services):
    turnstile = Turnstile()
    world_id = await a_world(services, turnstile=turnstile)
    started = await services.run_service.start(world_id, RunRequest(steps=5))
    await turnstile.entered.get()
    await services.database.write(
        lambda connection: connection.execute(sa.text("UPDATE worlds SET lease_until = created_at"))
    )
    assert (await services.run_service.cancel(started.run_id)).status == "cancelled"
    turnstile.open()
    await services.run_service.close()
    assert await ends(services) == [("cancelled", 0, None)]
    assert (await services.world_service.find(world_id)).committed_tick == -1
    assert await is_sound(services)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["resumed", "cancelled"])
async def test_a_graceful_stop_leaves_a_run_to_the_next_start(services, database_url, is_cancelled):
    turnstile = Turnstile()
    async with ServiceContainer(database_url) as stopping:
        world_id = await a_world(stopping, turnstile=turnstile)
        started = await stopping.run_service.start(world_id, RunRequest(steps=6))
        behind = await stopping.run_service.start(world_id, RunRequest(steps=2))
        await turnstile.entered.get()
        stopping.simulation_service.stop()
        turnstile.open()
        assert (await stopping.run_service.wait(started.run_id)).status in {"running", "stopped"}
    assert await ends(services) == [("stopped", 1, "the server stopped"), ("waiting", 0, None)]
    assert await is_sound(services)
    if is_cancelled:
        assert (await services.run_service.cancel(started.run_id, reason="late")).status == "cancelled"
        assert await is_sound(services)
    taken = await services.run_service.resume_interrupted()
    assert taken == ([behind.run_id] if is_cancelled else [started.run_id, behind.run_id])
    for run_id in taken:
        assert (await services.run_service.wait(run_id)).status == "completed"
    assert await moved(services, world_id) == [3.0 if is_cancelled else 8.0]
    assert await is_sound(services)


async def test_a_cancellation_that_its_owner_did_not_live_to_see_ends_the_run(services):
    world_id = await a_world(services)

    async def die(_tick):
        raise UnavailableError("as if the process had lost its database")

    with pytest.raises(UnavailableError):
        await services.simulation_service.run(world_id, RunRequest(steps=4), on_tick=die)
    (info,) = await services.run_service.list_runs(await services.world_service.find(world_id))
    assert (await services.run_service.cancel(info.run_id)).status == "cancelling"
    assert await is_sound(services)
    assert await services.run_service.resume_interrupted() == [info.run_id]
    done = await services.run_service.wait(info.run_id)
    assert (done.status, done.ticks_completed) == ("cancelled", 1)
    assert await is_sound(services)


async def test_a_run_whose_code_is_not_loaded_stays_as_it_is_and_is_logged_once(
    services, caplog, monkeypatch
):
    world_id = await a_world(services)
    await as_if_dead(services, world_id, 4, at=1)

    def not_loaded(*_):
        raise CodeNotLoadedError("Queueing is not loaded")

    monkeypatch.setattr(services.simulation_service.pool, "load", not_loaded)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (run_id,) = await services.run_service.resume_interrupted()
            await services.run_service.close()
    told = [record for record in caplog.records if "cannot go on here" in record.message]
    assert len(told) == 1
    assert str(run_id) in told[0].message
    assert await ends(services) == [("running", 2, None)]


async def test_a_run_whose_command_is_damaged_is_logged_once_and_keeps_no_other_waiting(services, caplog):
    damaged, sound = [await a_world(services) for _ in range(2)]
    first = await services.simulation_service.accept(damaged, RunRequest(steps=3))
    await empty_payloads(services.database, "run")
    second = await services.simulation_service.accept(sound, RunRequest(steps=3))
    with caplog.at_level(logging.WARNING):
        assert await services.run_service.resume_interrupted() == [second.run_id]
        assert (await services.run_service.wait(second.run_id)).ticks_completed == 3
        assert await services.run_service.resume_interrupted() == []
    (told,) = [record.message for record in caplog.records if "cannot go on here" in record.message]
    assert str(first.run_id) in told
    assert "does not match its hash" in told
    assert (await services.run_service.find(first.run_id)).status == "waiting"


async def test_a_watch_takes_up_at_once_and_looks_again(services):
    world_id = await a_world(services)
    await as_if_dead(services, world_id, 3, at=0)
    slept = asyncio.Queue()

    async def sleep(seconds):
        assert seconds == run_service.TAKE_UP_INTERVAL_S
        slept.put_nowait(seconds)
        await asyncio.Event().wait() if slept.qsize() > 2 else await asyncio.sleep(0)

    watching = RunService(
        services.database, services.simulation_service, services.run_service._rollouts, sleep=sleep
    )
    heard = []

    async def on_tick(tick):
        heard.append(tick)

    watching.watch(on_tick=on_tick)
    while slept.qsize() < 3:
        await asyncio.sleep(0)
    await watching.close()
    assert heard == [1, 2]
    assert await ends(services) == [("completed", 3, None)]


async def test_a_watch_outlives_what_nobody_expected(services, monkeypatch, caplog):
    """A server that stopped looking would leave interrupted runs alone for good."""
    looked = []

    async def look():
        looked.append(len(looked))
        if len(looked) == 1:
            message = "unheard of"
            raise RuntimeError(message)
        return []

    async def sleep(_seconds):
        await asyncio.Event().wait() if len(looked) > 1 else await asyncio.sleep(0)

    watching = RunService(
        services.database, services.simulation_service, services.run_service._rollouts, sleep=sleep
    )
    monkeypatch.setattr(watching, "resume_interrupted", look)
    watching.watch()
    while len(looked) < 2:
        await asyncio.sleep(0)
    await watching.close()
    assert "unheard of" in caplog.text


async def test_whether_a_lease_has_ended_is_the_databases_clock_to_say(postgres_database_url, monkeypatch):
    """A server whose own clock is wrong neither disturbs others nor leaves their runs alone."""
    async with ServiceContainer(postgres_database_url) as services:
        world_id = await a_world(services)
        await as_if_dead(services, world_id, 2, at=0)
        held = sa.text(
            "UPDATE worlds SET lease_owner = 'elsewhere:1:1', lease_until = now() + interval '15 seconds'"
        )
        await services.database.write(lambda connection: connection.execute(held))
        late = datetime(2999, 1, 1, tzinfo=UTC)
        monkeypatch.setattr(moments, "utc_now", lambda: late)
        assert await services.run_service.resume_interrupted() == []


async def test_a_run_is_taken_up_whose_lease_is_from_before_the_clock_was_set_back(services):
    world_id = await a_world(services)
    await as_if_dead(services, world_id, 2, at=0)
    late = sa.update(worlds).values(lease_owner="elsewhere:1:1", lease_until=datetime(2999, 1, 1, tzinfo=UTC))
    await services.database.write(lambda connection: connection.execute(late))
    (run_id,) = await services.run_service.resume_interrupted()
    assert (await services.run_service.wait(run_id)).status == "completed"


async def test_runs_are_listed_page_by_page_newest_first(services):
    world_id = await a_world(services)
    ids = [(await services.run_service.start(world_id, RunRequest(steps=0))).run_id for _ in range(5)]
    for run_id in ids:
        await services.run_service.wait(run_id)
    world = await services.world_service.find(world_id)
    listed = [info.run_id for info in await services.run_service.list_runs(world, limit=3)]
    listed += [info.run_id for info in await services.run_service.list_runs(world, before=listed[-1])]
    assert listed == ids[::-1]
    with pytest.raises(RunNotFoundError, match="archetype runs list"):
        await services.run_service.find(new_id())
