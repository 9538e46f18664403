"""Runs: what is sealed, computed, committed, refused, retried and taken over."""

import asyncio
import itertools
import json
from datetime import timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa
from daft import col

from archetype.clock import new_id, utc_now
from archetype.core.config import WorldConfig
from archetype.core.hooks import PostTick, PreTick
from archetype.core.processor import AsyncProcessor
from archetype.errors import (
    CommandConflictError,
    ProcessorError,
    StateConflictError,
    UnavailableError,
    VersionConflictError,
    WorldArchivedError,
    WorldBusyError,
    WorldNotFoundError,
)
from archetype.examples.movement import Position
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from archetype.store.database import Database
from archetype.store.schema import worlds

X = "position__x"


class Stumbling(AsyncProcessor):
    """Moves everything by `by`, or raises where the inputs tell it to."""

    components = (Position,)

    def __init__(self, by: float = 1.0) -> None:
        self.by = by

    async def process(self, df, *, tick, fail_at=-1, **kwargs):
        if tick == fail_at:
            message = "as told"
            raise ValueError(message)
        return df.with_column(X, col(X) + self.by)


class Gated(AsyncProcessor):
    """Waits in the middle of its tick until it is let go."""

    components = (Position,)

    async def process(self, df, *, resources, **kwargs):
        gate = resources.require(Gate)
        gate.entered.set()
        await gate.release.wait()
        return df


class Gate:
    def __init__(self) -> None:
        self.entered, self.release = asyncio.Event(), asyncio.Event()


async def a_world(services, *processors):
    info = await services.world_service.create_world(WorldConfig(name=new_id().hex, seed=7))
    requests = [CommandRequest("add_processor", {"processor": each}) for each in processors]
    await services.command_service.submit_batch(info.world_id, requests)
    return info.world_id


async def spawn(services, world_id, x=0.0, **options):
    payload = {"components": [{"type": "Position", "x": x}]}
    receipt = await services.command_service.submit(world_id, CommandRequest("spawn", payload, **options))
    return receipt.entity_ids[0]


async def send(services, world_id, kind, payload, **options):
    return await services.command_service.submit(world_id, CommandRequest(kind, payload, **options))


async def step(services, world_id, steps=1, **options):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps, **options))


async def xs(services, world_id, tick=None):
    world = await services.world_service.find(world_id)
    ticks = None if tick is None else [tick]
    table = await services.query_service.frame(world, components=["Position"], ticks=ticks)
    return dict(zip(table["entity_id"].to_pylist(), table[X].to_pylist(), strict=True))


async def rows(services, statement, **parameters):
    return await services.database.read(
        lambda connection: connection.execute(sa.text(statement), parameters).all()
    )


async def test_an_entity_is_processed_in_the_tick_in_which_it_appears(services):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    result = await step(services, world_id, 3)
    assert [(await xs(services, world_id, tick))[entity_id] for tick in (0, 1, 2)] == [1.0, 2.0, 3.0]
    assert (result.ticks_completed, result.final_tick, result.commands_applied) == (3, 3, 2)


async def test_a_command_of_the_future_waits_for_its_tick_and_one_of_the_past_does_not(services):
    world_id = await a_world(services)
    future = await spawn(services, world_id, tick=2)
    await step(services, world_id, 2)
    assert await xs(services, world_id) == {}
    past = await spawn(services, world_id, tick=0)
    assert await services.command_service.pending_count(world_id) == 2
    await step(services, world_id)
    assert set(await xs(services, world_id)) == {future, past}
    assert await services.command_service.pending_count(world_id) == 0


async def test_every_due_command_is_applied_however_many_there_are(services):
    world_id = await a_world(services)
    request = CommandRequest("spawn", {"components": [{"type": "Position"}]})
    await services.command_service.submit_batch(world_id, [request] * 1500)
    result = await step(services, world_id)
    assert result.commands_applied == 1500
    assert len(await xs(services, world_id)) == 1500


async def test_what_cannot_be_applied_is_recorded_with_its_reason_and_not_counted(services):
    world_id = await a_world(services)
    entity_id = await spawn(services, world_id)
    update = {"entity_id": 999, "components": [{"type": "Position", "x": 1}]}
    refused = await send(services, world_id, "update", update)
    await send(services, world_id, "remove_processor", {"processor": "Nobody"})
    result = await step(services, world_id)
    assert (result.commands_applied, result.commands_rejected) == (1, 2)
    assert await xs(services, world_id) == {entity_id: 0.0}
    history = await services.command_service.history(world_id)
    reasons = {entry.command.type.value: entry.reason for entry in history}
    assert "999" in reasons["update"]
    assert "'Nobody'" in reasons["remove_processor"]
    assert reasons["spawn"] is None
    trail = await rows(
        services, "SELECT type, outcome, reason FROM audit_trail WHERE outcome <> 'done' ORDER BY position"
    )
    assert [tuple(row)[:2] for row in trail] == [
        ("create_world", "applied"),
        ("spawn", "applied"),
        ("update", "rejected"),
        ("remove_processor", "rejected"),
        ("run", "applied"),
    ]
    assert refused.version == 3


async def test_a_failed_tick_leaves_nothing_and_keeps_its_inputs(services):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    await step(services, world_id)
    await send(
        services, world_id, "update", {"entity_id": entity_id, "components": [{"type": "Position", "x": 10}]}
    )
    with pytest.raises(ProcessorError) as caught:
        await step(services, world_id, inputs={"fail_at": 1})
    assert {"Stumbling", "Position", "1"} <= {str(value) for value in caught.value.details.values()}
    assert await xs(services, world_id) == {entity_id: 1.0}
    late = await send(services, world_id, "despawn", {"entity_id": entity_id})
    assert late.tick == 2, "the failed tick is sealed: later commands go to the one behind it"
    await step(services, world_id)
    assert await xs(services, world_id) == {entity_id: 11.0}
    await step(services, world_id)
    assert await xs(services, world_id) == {}
    statuses = await rows(services, "SELECT status, error FROM runs ORDER BY run_id")
    assert [status for status, _ in statuses] == ["completed", "failed", "completed", "completed"]
    assert "as told" in statuses[1][1]


async def test_a_run_that_fails_on_its_way_keeps_the_ticks_before(services):
    world_id = await a_world(services, "Stumbling")
    await spawn(services, world_id)
    with pytest.raises(ProcessorError):
        await step(services, world_id, 5, inputs={"fail_at": 3})
    assert (await services.world_service.find(world_id)).committed_tick == 2
    ((requested, completed, status),) = await rows(
        services, "SELECT ticks_requested, ticks_completed, status FROM runs"
    )
    assert (requested, completed, status) == (5, 3, "failed")


async def test_commands_accepted_while_a_tick_is_computed_go_to_the_next_one(services):
    world_id = await a_world(services, "Gated")
    gate = Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    first = await spawn(services, world_id)
    running = asyncio.create_task(step(services, world_id))
    await gate.entered.wait()
    receipt = await send(services, world_id, "despawn", {"entity_id": first})
    gate.release.set()
    await running
    assert receipt.tick == 1
    assert set(await xs(services, world_id)) == {first}
    await step(services, world_id)
    assert await xs(services, world_id) == {}


async def test_a_retry_of_a_run_answers_as_the_first_time_and_runs_nothing(services):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    command_id = new_id()
    first = await step(services, world_id, 2, command_id=command_id)
    again = await step(services, world_id, 2, command_id=command_id)
    assert again == first
    assert await xs(services, world_id) == {entity_id: 2.0}
    with pytest.raises(CommandConflictError):
        await step(services, world_id, 3, command_id=command_id)


async def as_if_killed(services):
    """Give the leases to a process that had the id of this one, and is gone."""
    host, pid, started, *rest = services.simulation_service.owner.split(":")
    gone = ":".join([host, pid, str(int(started) + 1), *rest])
    await services.database.write(
        lambda connection: connection.execute(
            sa.text("UPDATE worlds SET lease_owner = :gone"), {"gone": gone}
        )
    )


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_retry_of_a_run_that_was_cut_short_does_the_rest_of_it(services, database_url, how):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    await send(services, world_id, "despawn", {"entity_id": 99})
    command_id = new_id()

    async def cut(tick):
        if tick == 2:
            if how == "killed":
                await as_if_killed(services)
                message = "as if the process had died"
                raise UnavailableError(message)
            services.simulation_service.stop()

    request = RunRequest(steps=7, command_id=command_id)
    with pytest.raises(UnavailableError):
        await services.simulation_service.run(world_id, request, on_tick=cut)
    async with ServiceContainer(database_url) as other:
        result = await other.simulation_service.run(world_id, request)
        assert (result.ticks_completed, result.final_tick, result.commands_rejected) == (7, 7, 1)
        assert await xs(other, world_id) == {entity_id: 7.0}
        assert await other.simulation_service.run(world_id, request) == result
    ((completed, status),) = await rows(services, "SELECT ticks_completed, status FROM runs")
    assert (completed, status) == (7, "completed")


async def test_a_run_may_insist_on_the_version_it_saw(services):
    world_id = await a_world(services)
    with pytest.raises(VersionConflictError) as caught:
        await step(services, world_id, expected_version=77)
    assert caught.value.details == {"expected_version": 77, "actual_version": 1}
    assert (await step(services, world_id, expected_version=1)).ticks_completed == 1


async def test_a_run_id_is_used_once(services):
    world_id, run_id = await a_world(services), new_id()
    await step(services, world_id, run_id=run_id)
    with pytest.raises(StateConflictError, match="run_id"):
        await step(services, world_id, run_id=run_id)
    assert (await services.world_service.find(world_id)).committed_tick == 0


async def test_a_run_of_no_ticks_is_recorded_and_changes_nothing(services):
    world_id = await a_world(services)
    result = await step(services, world_id, 0)
    assert (result.ticks_completed, result.final_tick) == (0, 0)
    assert (await services.world_service.find(world_id)).open_tick == 0


async def test_unknown_and_removed_worlds_cannot_be_run(services):
    with pytest.raises(WorldNotFoundError):
        await step(services, new_id())
    world_id = await a_world(services)
    await services.world_service.remove_world(await services.world_service.find(world_id))
    with pytest.raises(WorldArchivedError):
        await step(services, world_id)


async def test_a_world_removed_in_the_middle_of_a_tick_does_not_commit_it(services):
    world_id = await a_world(services, "Gated")
    gate = Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    await spawn(services, world_id)
    running = asyncio.create_task(step(services, world_id))
    await gate.entered.wait()
    await services.world_service.remove_world(await services.world_service.find(world_id))
    gate.release.set()
    with pytest.raises(WorldArchivedError):
        await running
    assert await rows(services, "SELECT * FROM ticks") == []


async def held_elsewhere(services, world_id, *, for_s):
    """Let another machine's process hold a world."""
    until = utc_now() + timedelta(seconds=for_s)
    held = {"lease_owner": "elsewhere:1:1", "lease_epoch": 4, "lease_until": until}
    taken = sa.update(worlds).where(worlds.c.world_id == world_id).values(held)
    await services.database.write(lambda connection: connection.execute(taken))


async def test_another_living_process_keeps_its_world(services):
    world_id = await a_world(services)
    await held_elsewhere(services, world_id, for_s=15)
    with pytest.raises(WorldBusyError, match="elsewhere"):
        await step(services, world_id)
    world = await services.world_service.find(world_id)
    assert (world.head_version, world.open_tick) == (1, 0), "a refused run leaves nothing behind"


async def test_a_lease_from_before_the_clock_was_set_back_keeps_no_world(services):
    """It ends later than any could that this clock wrote; the new epoch keeps its owner from committing."""
    world_id = await a_world(services)
    await held_elsewhere(services, world_id, for_s=3_600)
    await step(services, world_id)
    world = await services.world_service.find(world_id)
    assert (world.committed_tick, world.lease_epoch) == (0, 5)
    assert world.lease_until <= utc_now()


async def test_a_world_is_free_for_another_process_as_soon_as_its_run_ends(services, database_url):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    services.simulation_service._owner = "elsewhere:1:1"
    await step(services, world_id, 2)
    with pytest.raises(ProcessorError):
        await step(services, world_id, inputs={"fail_at": 2})
    async with ServiceContainer(database_url) as other:
        await step(other, world_id)
        assert await xs(other, world_id) == {entity_id: 3.0}
        assert (await other.world_service.find(world_id)).lease_epoch == 2


async def test_an_owner_that_lost_its_lease_cannot_commit(services, database_url):
    world_id = await a_world(services, "Gated")
    gate = Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    await spawn(services, world_id)
    running = asyncio.create_task(step(services, world_id))
    await gate.entered.wait()
    await services.database.write(
        lambda connection: connection.execute(sa.text("UPDATE worlds SET lease_epoch = lease_epoch + 1"))
    )
    gate.release.set()
    with pytest.raises(WorldBusyError, match="taken over"):
        await running
    assert await rows(services, "SELECT * FROM ticks") == []


async def test_two_services_of_one_process_are_two_owners(services, database_url):
    """Neither runs what the other holds, and one that lost its lease to the other cannot commit."""
    world_id = await a_world(services, "Gated")
    await spawn(services, world_id)
    gate = Gate()
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    running = asyncio.create_task(step(services, world_id))
    await gate.entered.wait()
    async with ServiceContainer(database_url) as other:
        free = Gate()
        free.release.set()
        other.world_service.live_worlds.adopt(world_id).resources.insert(free)
        with pytest.raises(WorldBusyError, match="is run by"):
            await step(other, world_id)
        await services.database.write(
            lambda connection: connection.execute(sa.text("UPDATE worlds SET lease_until = created_at"))
        )
        await step(other, world_id)
        gate.release.set()
        with pytest.raises(WorldBusyError, match="taken over"):
            await running
        await step(other, world_id)
    assert [row.tick for row in await rows(services, "SELECT tick FROM ticks ORDER BY tick")] == [0, 1]
    assert (await services.world_service.find(world_id)).lease_epoch == 2


async def test_another_container_goes_on_where_the_first_stopped(services, database_url):
    world_id = await a_world(services, "Stumbling")
    entity_id = await spawn(services, world_id)
    await step(services, world_id, 2)
    waiting = await spawn(services, world_id, x=5.0)
    async with ServiceContainer(database_url) as other:
        await step(other, world_id)
        assert await xs(other, world_id) == {entity_id: 3.0, waiting: 6.0}
        await step(services, world_id)
        assert await xs(other, world_id) == {entity_id: 4.0, waiting: 7.0}
        infos = await other.program_service.processors(await other.world_service.find(world_id))
        assert [(info.name, info.parameters) for info in infos] == [("Stumbling", {"by": 1})]


async def test_commits_chain_and_cover_the_commands(services):
    world_id = await a_world(services, "Stumbling")
    await spawn(services, world_id)
    await step(services, world_id, 3)
    found = await rows(services, "SELECT tick, parent_hash, commit_hash, position FROM ticks ORDER BY tick")
    assert bytes(found[0].parent_hash) == bytes(32)
    assert all(bytes(b.parent_hash) == bytes(a.commit_hash) for a, b in itertools.pairwise(found))
    facts = await rows(
        services, "SELECT position, payload FROM events WHERE type = 'tick_committed' ORDER BY tick"
    )
    assert [row.position for row in facts] == [row.position for row in found]
    assert [json.loads(row.payload)["commit_hash"] for row in facts] == [
        bytes(row.commit_hash).hex() for row in found
    ]


async def test_the_same_commands_seed_and_code_give_the_same_state(services):
    hashes = []
    for _ in range(2):
        world_id = await a_world(services, "Stumbling")
        for x in range(5):
            await spawn(services, world_id, x=float(x))
        await step(services, world_id, 3)
        found = await rows(
            services,
            "SELECT t.state_hash FROM ticks t JOIN worlds w USING (world_id) WHERE w.name = :name",
            name=(await services.world_service.find(world_id)).name,
        )
        hashes.append([bytes(row.state_hash) for row in found])
    assert hashes[0] == hashes[1]


async def test_a_column_that_did_not_change_is_stored_once(services):
    world_id = await a_world(services, "Stumbling")
    await services.command_service.submit(
        world_id, CommandRequest("spawn", {}, batch=_batch(pa.table({X: [float(n) for n in range(1000)]})))
    )
    await step(services, world_id, 5)
    ((pages,),) = await rows(services, "SELECT count(*) FROM pages")
    assert pages == 1 + 1 + 5, "entity ids and y once, x in each of five ticks"


def _batch(table):
    from archetype.core.bulk import encode_batch

    return encode_batch(table)


async def test_hooks_hear_of_ticks_and_their_failures_are_not_fatal(services):
    world_id = await a_world(services, "Stumbling")
    await spawn(services, world_id)
    heard = []
    hooks = services.world_service.live_worlds.of(world_id).hooks
    hooks.add(PreTick, lambda event: heard.append(("pre", event.tick)))
    hooks.add(PostTick, lambda event: 1 / 0)
    hooks.add(PostTick, lambda event: heard.append(("post", event.tick, list(event.results))))
    await step(services, world_id)
    assert heard == [("pre", 0), ("post", 1, [("Position",)])]


async def test_a_step_is_a_run_of_one_tick_recorded_as_what_it_is(services):
    world_id = await a_world(services)
    await step(services, world_id, kind=CommandType.STEP)
    assert await rows(services, "SELECT type FROM events WHERE type = 'step'") != []


async def test_processors_that_wait_for_the_next_tick_are_listed(services):
    world_id = await a_world(services, "Stumbling")
    world = await services.world_service.find(world_id)
    assert [info.name for info in await services.program_service.processors(world)] == ["Stumbling"]
    await send(services, world_id, "remove_processor", {"processor": "Stumbling"}, tick=5)
    assert len(await services.program_service.processors(world)) == 1
    await send(services, world_id, "remove_processor", {"processor": "Stumbling"})
    assert await services.program_service.processors(world) == []


async def test_a_listener_that_fails_after_the_last_tick_does_not_undo_the_run(services):
    """The run's end was recorded with its last tick; a second end would contradict it."""
    info = await services.world_service.create_world(WorldConfig(name="demo"))

    async def on_tick(tick):
        if tick == 1:
            message = "hung up"
            raise OSError(message)

    with pytest.raises(OSError, match="hung up"):
        await services.simulation_service.run(info.world_id, RunRequest(steps=2), on_tick=on_tick)
    ends = await services.database.read(
        lambda connection: connection.scalars(
            sa.text("SELECT payload FROM events WHERE type = 'run_finished'")
        ).all()
    )
    assert [json.loads(end)["status"] for end in ends] == ["completed"]
    with pytest.raises(OSError, match="hung up"):
        await services.simulation_service.run(
            info.world_id, RunRequest(steps=2), on_tick=lambda tick: on_tick(tick - 1)
        )
    world = await services.world_service.find("demo")
    assert world.committed_tick == 2


@pytest.mark.parametrize("steps", [1, 3])
async def test_a_caller_that_is_cancelled_while_a_tick_commits_leaves_what_is_committed(
    services, monkeypatch, steps
):
    world_id = await a_world(services)
    request = RunRequest(steps=steps, command_id=new_id())
    write, writes = Database.write, itertools.count(1)

    async def write_and_cancel(self, use):
        done = await write(self, use)
        if next(writes) == 2:  # the first one began the run
            raise asyncio.CancelledError
        return done

    monkeypatch.setattr(Database, "write", write_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await services.simulation_service.run(world_id, request)
    (run,) = await rows(services, "SELECT status, ticks_completed FROM runs")
    assert run == (("completed" if steps == 1 else "failed"), 1)
    ends = await rows(services, "SELECT tick, payload FROM events WHERE type = 'run_finished'")
    assert [(end.tick, json.loads(end.payload)["ticks_completed"]) for end in ends] == [(steps > 1, 1)]
    assert (await verify(services.database)).faults == ()
    if steps == 1:
        assert (await services.simulation_service.run(world_id, request)).ticks_completed == 1


async def test_a_callers_timeout_is_one_though_the_end_cannot_be_recorded(services, monkeypatch, caplog):
    """The run stays unfinished, and a retry goes on with it."""
    world_id, gate = await a_world(services, "Gated"), Gate()
    await spawn(services, world_id)
    services.world_service.live_worlds.of(world_id).resources.insert(gate)
    request, limit = RunRequest(steps=1, command_id=new_id()), asyncio.timeout(None)

    async def away(self, use):
        message = "the database is away"
        raise UnavailableError(message)

    async def give_up():
        await gate.entered.wait()
        monkeypatch.setattr(Database, "write", away)
        limit.reschedule(asyncio.get_running_loop().time())

    giving_up = asyncio.create_task(give_up())
    with pytest.raises(TimeoutError):
        async with limit:
            await services.simulation_service.run(world_id, request)
    await giving_up
    assert "the database is away" in caplog.text
    monkeypatch.undo()
    gate.release.set()
    assert (await services.simulation_service.run(world_id, request)).ticks_completed == 1
