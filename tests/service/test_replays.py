"""Replaying: what is compared, and what is said of the first tick that differs."""

import daft
import pytest
from daft import col

from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor, Processor
from archetype.core.scheduling.extended_frame import ExtendedFrame
from archetype.errors import CodeChangedError, CodeNotLoadedError, InvalidInputError, TickNotFoundError
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify

X = "mass__x"


class Mass(Component):
    """A weight and where it is."""

    x: float = 0.0
    note: str | None = None


class Pulling(AsyncProcessor):
    """Moves everything; from `breaks_at` on by a little too much, if the class is told to."""

    components = (Mass,)
    error = 0.0
    breaks_at = 10**9

    async def process(self, df, *, tick, rng, **kwargs):
        shift = float(rng.normal()) + (Pulling.error if tick >= Pulling.breaks_at else 0.0)
        return df.with_column(X, col(X) + shift)


class Guessing(AsyncProcessor):
    """Is no function of its inputs, and says so."""

    components = (Mass,)
    deterministic = False
    priority = 20
    count = 0

    async def process(self, df, **kwargs):
        Guessing.count += 1
        return df.with_column(X, col(X) + float(Guessing.count))


async def world_of(services, *names, snapshots=1, spawns=3):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1, snapshots=snapshots))
    start = [CommandRequest("add_processor", {"processor": name}) for name in names]
    start += [
        CommandRequest("spawn", {"components": [{"type": "Mass", "x": float(n)}]}) for n in range(spawns)
    ]
    await services.command_service.submit_batch(info.world_id, start)
    return info.world_id


async def run(services, world_id, steps):
    return await services.simulation_service.run(world_id, RunRequest(steps=steps))


async def replay(services, reference="demo", **options):
    world = await services.world_service.find(reference)
    return await services.replay_service.replay(world, **options)


@pytest.fixture(autouse=True)
def sound():
    yield
    Pulling.error, Pulling.breaks_at = 0.0, 10**9


async def test_a_sound_world_comes_out_the_same(services):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 5)
    seen = []

    async def hear(tick):
        seen.append(tick)

    report = await replay(services, on_tick=hear)
    assert (report.ticks_compared, report.ticks_skipped, report.divergence) == (5, 0, None)
    assert seen == [0, 1, 2, 3, 4]
    assert (await replay(services, from_tick=2, to_tick=4)).ticks_compared == 2


@pytest.mark.parametrize("by_query", ["run", "replay"])
async def test_with_and_without_queries_a_tick_has_the_same_hash(by_query, services, monkeypatch):
    world_id = await world_of(services, "Pulling")
    frames = []

    def plain(rows):
        frames.append(daft.from_arrow(rows))
        return frames[-1]

    with monkeypatch.context() as patched:
        if by_query == "run":
            patched.setattr(ExtendedFrame, "of", plain)
        await run(services, world_id, 5)
    with monkeypatch.context() as patched:
        if by_query == "replay":
            patched.setattr(ExtendedFrame, "of", plain)
        report = await replay(services)
    assert (report.ticks_compared, report.divergence, len(frames)) == (5, None, 5)


async def test_the_first_divergence_is_named_to_the_value(services):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 6)
    Pulling.error, Pulling.breaks_at = 0.5, 3
    found = (await replay(services)).divergence
    assert (found.tick, found.archetype, found.column) == (3, "Mass", X)
    assert [value.entity_id for value in found.values] == [1, 2, 3]
    assert all(value.computed == pytest.approx(value.recorded + 0.5) for value in found.values)
    assert (await replay(services, to_tick=3)).divergence is None


async def test_a_divergence_where_nothing_is_stored_is_named_by_its_tick(services, database_url):
    world_id = await world_of(services, "Pulling", snapshots="needed")
    await run(services, world_id, 6)
    Pulling.error, Pulling.breaks_at = 0.5, 3
    found = (await replay(services)).divergence
    assert (found.tick, found.column, found.values) == (3, None, ())
    assert "not stored" in found.what


async def test_a_replay_writes_nothing(services):
    world_id = await world_of(services, "Pulling", snapshots="needed")
    await run(services, world_id, 3)
    before = await services.world_service.find(world_id)
    await replay(services)
    assert await services.world_service.find(world_id) == before


async def test_ticks_that_nobody_can_compute_again_are_passed_over(services):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 2)
    await services.command_service.submit(
        world_id, CommandRequest("add_processor", {"processor": "Guessing"})
    )
    await run(services, world_id, 2)
    await services.command_service.submit(
        world_id, CommandRequest("remove_processor", {"processor": "Guessing"})
    )
    await run(services, world_id, 2)
    count = Guessing.count
    report = await replay(services)
    assert (report.ticks_compared, report.ticks_skipped, report.divergence) == (4, 2, None)
    assert Guessing.count == count


async def test_inputs_and_debug_of_a_run_are_given_again(services):
    class Blown(AsyncProcessor):
        components = (Mass,)

        async def process(self, df, *, wind=0.0, debug=False, **kwargs):
            return df.with_column(X, col(X) + wind + (1.0 if debug else 0.0))

    world_id = await world_of(services, "Blown")
    for wind, debug in ((0.5, False), (2.0, True)):
        request = RunRequest(steps=2, inputs={"wind": wind}, is_debug=debug)
        await services.simulation_service.run(world_id, request)
    assert (await replay(services)).divergence is None


async def test_a_fork_is_replayed_down_its_whole_past(services):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 4)
    root = await services.world_service.find(world_id)
    fork = await services.world_service.fork_world(root, "fork", tick=1, seed=99)
    await run(services, fork.world_id, 2)
    report = await replay(services, "fork")
    assert (report.ticks_compared, report.divergence) == (4, None)
    assert (await replay(services, "fork", from_tick=2)).ticks_compared == 2


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 1), (0, 4), (4, 4)])
async def test_a_range_that_is_not_committed_is_refused(services, start, end):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 3)
    with pytest.raises((TickNotFoundError, InvalidInputError), match=r"0 to 3|before"):
        await replay(services, from_tick=start, to_tick=end)


async def test_other_code_is_run_and_named(services, monkeypatch):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 2)
    recorded = Pulling.source_fingerprint()
    monkeypatch.setattr(Pulling, "_fingerprint", "f" * 64)
    report = await replay(services)
    assert [(each.processor, each.recorded, each.loaded) for each in report.code_changes] == [
        ("Pulling", recorded, "f" * 64)
    ]
    assert report.divergence is None


async def test_code_that_changed_is_not_run_until_the_log_says_so(services, monkeypatch):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 2)
    version = (await services.world_service.find(world_id)).head_version
    monkeypatch.setattr(Pulling, "_fingerprint", "f" * 64)
    with pytest.raises(CodeChangedError, match="processor replace"):
        await run(services, world_id, 1)
    world = await services.world_service.find(world_id)
    assert (world.head_version, world.open_tick) == (version, 2)
    (info,) = await services.program_service.processors(world)
    assert (info.is_loaded, info.is_current) == (True, False)
    await services.command_service.submit(
        world_id, CommandRequest("replace_processor", {"processor": "Pulling"})
    )
    await run(services, world_id, 2)
    entries = await services.command_service.history(world_id)
    (replaced,) = [each for each in entries if each.command.type == "replace_processor"]
    assert replaced.applied_tick == 2
    (info,) = await services.program_service.processors(await services.world_service.find(world_id))
    assert info.is_current


async def test_a_sealed_tick_takes_code_that_is_mended_behind_it(services, database_url, monkeypatch):
    class Failing(AsyncProcessor):
        components = (Mass,)
        is_broken = True

        async def process(self, df, **kwargs):
            if Failing.is_broken:
                message = "broken"
                raise ValueError(message)
            return df

    world_id = await world_of(services, "Failing")
    with pytest.raises(Exception, match="broken"):
        await run(services, world_id, 1)
    assert (await services.world_service.find(world_id)).open_tick == 1
    Failing.is_broken = False
    monkeypatch.setattr(Failing, "_fingerprint", "e" * 64)
    async with ServiceContainer(database_url) as other:
        with pytest.raises(CodeChangedError):
            await run(other, world_id, 1)
        await other.command_service.submit(
            world_id, CommandRequest("replace_processor", {"processor": "Failing"})
        )
        await run(other, world_id, 2)
        assert (await replay(other)).divergence is None
        assert (await verify(other.database)).faults == ()


async def test_replacing_keeps_parameters_unless_they_are_given(services):
    class Shifting(AsyncProcessor):
        components = (Mass,)

        def __init__(self, by: float = 1.0) -> None:
            self.by = by

        async def process(self, df, **kwargs):
            return df.with_column(X, col(X) + self.by)

    world_id = await world_of(services)
    submit = services.command_service.submit
    add = {"processor": "Shifting", "parameters": {"by": 2.0}, "priority": 3}
    await submit(world_id, CommandRequest("add_processor", add))
    await submit(world_id, CommandRequest("replace_processor", {"processor": "Shifting"}))
    world = await services.world_service.find(world_id)
    (info,) = await services.program_service.processors(world)
    assert (info.parameters, info.priority) == ({"by": 2.0}, 3)
    await submit(
        world_id,
        CommandRequest("replace_processor", {"processor": "Shifting", "parameters": {"by": 5.0}}),
    )
    (info,) = await services.program_service.processors(world)
    assert (info.parameters, info.priority) == ({"by": 5.0}, 3)


async def test_replacing_what_is_not_there_is_rejected(services):
    world_id = await world_of(services)
    await services.command_service.submit(
        world_id, CommandRequest("replace_processor", {"processor": "Pulling"})
    )
    result = await run(services, world_id, 1)
    assert result.commands_rejected == 1
    (entry,) = [each for each in await services.command_service.history(world_id) if each.reason]
    assert "no processor named 'Pulling'" in entry.reason


async def test_a_replay_without_the_code_says_which_to_load(services, database_url, monkeypatch):
    world_id = await world_of(services, "Pulling")
    await run(services, world_id, 1)

    def gone(name, parameters):
        raise CodeNotLoadedError("gone", name=name)

    monkeypatch.setattr(Processor, "from_recorded", staticmethod(gone))
    with pytest.raises(CodeNotLoadedError, match="--module"):
        await replay(services)
