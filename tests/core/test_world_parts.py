import asyncio
import logging
import uuid

import pytest
from pydantic import ValidationError

from archetype.core.config import RunConfig
from archetype.core.hooks import Hooks, OnDespawn, PreTick
from archetype.core.resources import Resources
from archetype.errors import InvalidInputError

WORLD = uuid.UUID(int=1)


class Gravity:
    pass


class HeavyGravity(Gravity):
    pass


def test_resources_are_kept_by_exact_type():
    resources, one, two = Resources(), Gravity(), Gravity()
    resources.insert(one)
    resources.insert(two)
    assert resources.get(Gravity) is two
    assert resources.require(Gravity) is two
    assert resources.get(HeavyGravity) is None
    assert HeavyGravity not in resources
    with pytest.raises(KeyError, match="HeavyGravity"):
        resources.require(HeavyGravity)
    twin = resources.copy()
    assert resources.remove(Gravity) is two
    assert resources.remove(Gravity) is None
    assert Gravity in twin
    assert twin.contains(Gravity)
    assert len(twin) == 1
    assert not resources.contains(Gravity)
    assert repr(twin) == "Resources(Gravity)"
    assert dict(twin.items()) == {Gravity: two}


async def test_hooks_run_in_order_and_their_errors_stay_inside(caplog):
    hooks, seen = Hooks(), []

    async def later(event):
        seen.append(("async", event.tick))

    hooks.add(PreTick, lambda event: 1 / 0)
    hooks.add(PreTick, later)
    hooks.add(PreTick, lambda event: seen.append(("sync", event.tick)))
    hooks.add(OnDespawn, lambda event: seen.append("wrong"))
    with caplog.at_level(logging.WARNING):
        await hooks.fire(PreTick(WORLD, 3))
    assert seen == [("async", 3), ("sync", 3)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert hooks.has(PreTick)
    assert len(hooks.registrations()) == 4


async def test_a_handle_removes_its_own_registration_only():
    hooks, other, seen = Hooks(), Hooks(), []
    handle = hooks.add(PreTick, seen.append)
    other.add(PreTick, seen.append)
    other.remove(handle)
    hooks.remove(handle)
    hooks.remove(handle)
    assert not hooks.has(PreTick)
    assert other.has(PreTick)
    with pytest.raises(InvalidInputError, match="blocking"):
        hooks.add(PreTick, seen.append, mode="sometimes")
    with pytest.raises(InvalidInputError, match=r"no type of event; pass one of .*: PreTick, PostTick"):
        hooks.add("post_tick", seen.append)
    with pytest.raises(InvalidInputError, match="a function that takes the event, not 5"):
        hooks.add(PreTick, 5)


async def test_a_spawned_hook_does_not_hold_up_the_tick():
    hooks, gate, done = Hooks(), asyncio.Event(), asyncio.Event()

    async def slow(event):
        await gate.wait()
        done.set()

    hooks.add(PreTick, slow, mode="spawn")
    await hooks.fire(PreTick(WORLD, 1))
    assert not done.is_set()
    gate.set()
    await done.wait()


async def test_cancellation_passes_through_a_hook():
    hooks = Hooks()

    async def cancelled(event):
        raise asyncio.CancelledError

    hooks.add(PreTick, cancelled)
    with pytest.raises(asyncio.CancelledError):
        await hooks.fire(PreTick(WORLD, 1))


def test_run_configurations_have_their_documented_defaults():
    assert RunConfig().model_dump() == {
        "run_id": None,
        "num_steps": 1,
        "debug": False,
        "enable_validation": False,
        "show_rows": 3,
        "explain": False,
        "prefer_live_reads": False,
        "suite": None,
        "trial": None,
        "metadata": None,
    }
    dev, bench, check = RunConfig.dev(steps=2), RunConfig.benchmark(steps=3), RunConfig.validate()
    assert (dev.num_steps, dev.debug, dev.prefer_live_reads, dev.show_rows) == (2, True, True, 5)
    assert (bench.num_steps, bench.debug, bench.show_rows, bench.suite) == (3, False, 0, "benchmark")
    assert (check.num_steps, check.debug, check.enable_validation) == (1, True, True)
    with pytest.raises(ValidationError):
        RunConfig(num_steps=-1)
    with pytest.raises(ValidationError):
        dev.num_steps = 5
