"""What a script's actor is refused is in the same record as what is refused over HTTP."""

import pytest

from archetype import ActorCtx
from archetype.errors import QuotaExceededError, TickNotFoundError
from archetype.examples.movement import Position

VERBS = {
    "spawn": lambda world: world.spawn(Position()),
    "step": lambda world: world.step(),
    "start_run": lambda world: world.start_run(2),
    "run_episode": lambda world: world.run_episode(1),
    "start_rollout": lambda world: world.start_rollout(1, 1),
    "fork": lambda world: world.fork("fork"),
    "label": lambda world: world.label("good"),
    "configure": lambda world: world.configure(snapshots=2),
    "send": lambda world: world.send("hi"),
    "create": lambda world: world._runtime.world("made").as_actor(world._actor).info(),
}


@pytest.fixture
async def broke(runtime):
    """A world as an actor handles it who may do everything, and has nothing to pay with."""
    await runtime.world("demo").step()
    services = await runtime.services()
    ann = await services.identity_service.create_actor("ann", roles=["admin"])
    await services.quota_service.set("ann", {"tokens_per_day": 0})
    return runtime.world("demo").as_actor(ActorCtx(id=ann.actor_id, roles=frozenset({"admin"})))


async def denials(runtime):
    services = await runtime.services()
    return await services.audit_service.list_denials(limit=100)


@pytest.mark.parametrize("verb", VERBS)
async def test_what_goes_beyond_a_quota_is_recorded_once(runtime, broke, verb):
    with pytest.raises(QuotaExceededError) as caught:
        await VERBS[verb](broke)
    (denial,) = await denials(runtime)
    assert (denial.code, denial.reason, denial.count) == ("quota_exceeded", "beyond tokens_per_day", 1)
    assert str(denial.actor_id) == caught.value.details["actor_id"]
    assert (denial.address, denial.world) == ("local", "made" if verb == "create" else "demo")


async def test_what_is_accepted_or_refused_otherwise_is_no_denial(runtime, broke):
    await broke.info()
    with pytest.raises(TickNotFoundError):
        await broke.label("future", tick=99)
    assert await denials(runtime) == []
