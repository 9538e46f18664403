"""Making sure of a past, for scripts: replaying, verifying, thinning, collecting garbage."""

from __future__ import annotations

import pytest
from daft import col

from archetype import ActorCtx, AsyncProcessor, Component, ThinPlan, ThinResult
from archetype.errors import InvalidInputError, LabelNotFoundError, TickNotFoundError, WorldNotFoundError


class Weight(Component):
    kg: float = 0.0


class Growing(AsyncProcessor):
    """Grows by what the class says, which its source does not."""

    components = (Weight,)
    by = 1.0

    async def process(self, df, **kwargs):
        return df.with_column("weight__kg", col("weight__kg") + Growing.by)


@pytest.fixture
async def world(runtime):
    """A world of one weight with six ticks, the second of which is labelled `base`."""
    made = runtime.world("demo", processors=[Growing()], seed=5)
    await made.spawn(Weight())
    await made.run(6)
    await made.label("base", 1)
    return made


async def test_a_world_is_replayed(world):
    """All ticks or some; whoever listens hears of each, with or without async."""
    report = await world.replay()
    assert (report.world_id, report.from_tick, report.to_tick) == (world.world_id, 0, 6)
    assert (report.ticks_compared, report.divergence) == (6, None)
    heard: list[int] = []

    async def hear(tick):
        heard.append(tick)

    assert (await world.replay(1, 3, hear)).ticks_compared == 2
    assert (await world.replay(from_tick=4, on_tick=heard.append)).ticks_compared == 2
    assert heard == [1, 2, 4, 5]
    with pytest.raises(TickNotFoundError):
        await world.replay(to_tick=7)


async def test_a_divergence_is_reported(world, monkeypatch):
    """The first tick that differs ends it."""
    monkeypatch.setattr(Growing, "by", 2.0)
    divergence = (await world.replay(2)).divergence
    assert (divergence.tick, divergence.column) == (2, "weight__kg")
    assert [(each.recorded, each.computed) for each in divergence.values] == [(3.0, 4.0)]


async def test_a_world_is_verified_against_a_hash_that_was_kept(runtime, world):
    """Of its last tick, or of one that is named by number or label; faults are reported."""
    whole = await runtime.verify()
    assert (whole.is_sound, whole.ticks, whole.commit) == (True, 6, None)
    by_tick = {each.tick: each.commit_hash for each in await world.log()}
    for tick, at in ((None, 5), (1, 1), ("base", 1)):
        report = await world.verify(by_tick[at], tick)
        assert (report.is_sound, report.commit.tick, report.commit.commit_hash.hex()) == (
            True,
            at,
            by_tick[at],
        )
    assert (await runtime.verify("demo@base", expect=by_tick[1])).is_sound
    for report in (
        await world.verify(expect=by_tick[2]),
        await world.verify(expect=by_tick[2], tick="base"),
        await runtime.verify("demo@3", expect=by_tick[2]),
    ):
        assert [each.kind for each in report.faults] == ["commit"]
    with pytest.raises(InvalidInputError, match="64 hex digits"):
        await world.verify("abc")
    with pytest.raises(TickNotFoundError):
        await world.verify(tick=6)
    with pytest.raises(LabelNotFoundError):
        await world.verify(tick="late")
    with pytest.raises(WorldNotFoundError):
        await runtime.verify("nowhere")


async def test_a_world_without_ticks_is_verified(runtime):
    """There is no commit yet."""
    report = await runtime.world("young").verify()
    assert (report.is_sound, report.commit) == (True, None)


async def test_snapshots_are_thinned_and_their_pages_collected(runtime, world):
    """A plan first; then what it said, as this actor's, with its reason; every state stays readable."""
    before = [(await world.entity(1, tick)).components for tick in range(6)]
    plan = await world.thin(3, dry_run=True)
    assert isinstance(plan, ThinPlan)
    assert (await world.thin(keep_every=3, dry_run=True)).ticks == plan.ticks
    assert (await world.thin(keep="log-spaced", dry_run=True)).ticks == []
    actor = ActorCtx(roles={"admin"})
    result = await world.as_actor(actor).thin(3, reason="too much")
    assert isinstance(result, ThinResult)
    assert (result.ticks_dropped, result.unproved) == (len(plan.ticks), {})
    (command,) = await world.command_history(types=["thin_world"])
    assert (command.actor_id, command.payload["reason"], command.payload["keep_every"]) == (
        actor.id, "too much", 3,
    )  # fmt: skip
    counted = await runtime.collect_garbage(dry_run=True)
    assert counted == plan.freed
    assert counted.page_count > 0
    assert await runtime.collect_garbage() == counted
    assert (await runtime.collect_garbage(dry_run=True)).page_count == 0
    assert [(await world.entity(1, tick)).components for tick in range(6)] == before
    assert (await runtime.verify()).is_sound
