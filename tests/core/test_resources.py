"""Resources of a tick, and models by their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from archetype.core.models import find_model
from archetype.core.resources import Resources
from archetype.errors import InvalidInputError


class Climate(BaseModel):
    warmth: float = 1.0
    winds: list[str] = []


class Other(BaseModel):
    amount: int = 1


class Socket:
    pass


def test_processors_get_live_handles_and_copies_of_what_is_recorded():
    """What one does to a model, neither another nor the next tick sees; unrecorded models are not there."""
    world, recorded = Resources(), Climate(winds=["north"])
    handle = Socket()
    world.insert(handle)
    world.insert(Climate(warmth=99))
    tick = world.in_tick([recorded])
    mine, others = tick.for_processor(), tick.for_processor()
    mine.require(Climate).winds.append("south")
    mine.require(Climate).warmth = 7
    assert others.require(Climate) == tick.for_processor().require(Climate) == Climate(winds=["north"])
    assert recorded == Climate(winds=["north"])
    assert mine.require(Socket) is others.require(Socket) is handle
    assert not world.in_tick([]).contains(Climate)


def test_live_handles_that_a_processor_inserts_stay_and_models_do_not():
    """The world's container has the first, also when they are removed again."""
    world = Resources()
    mine = world.in_tick([Climate()]).for_processor()
    handle = Socket()
    mine.insert(handle)
    mine.insert(Climate(warmth=2))
    assert (mine.require(Climate).warmth, world.get(Socket), len(world)) == (2, handle, 1)
    assert mine.remove(Climate) is not None
    assert mine.remove(Socket) is handle
    assert (len(world), mine.remove(Socket)) == (0, None)


@given(st.booleans(), st.booleans())
def test_a_model_that_a_processor_inserts_is_gone_after_it_whatever_else_is_there(is_recorded, has_model):
    """Neither the processors behind it nor the next tick see it, nor does the world."""
    world = Resources()
    if has_model:
        world.insert(Other())
    tick = world.in_tick([Other()] if is_recorded else [])
    mine = tick.for_processor()
    mine.insert(Climate(warmth=2))
    assert mine.require(Climate).warmth == 2
    assert not tick.for_processor().contains(Climate)
    assert not world.contains(Climate)
    assert not world.in_tick([]).contains(Climate)


def test_a_model_is_found_by_its_name():
    """Plain, with its module, and in full; several of a name are refused, and those not loaded are None."""

    def another(base: type[BaseModel]) -> type[BaseModel]:
        class Ambiguous(base):
            pass

        return Ambiguous

    class Ambiguous(BaseModel):
        pass

    for name in ("Climate", f"{__name__}.Climate"):
        assert find_model(name) is Climate
    for name in ("Socket", "Clima", "BaseModel", f"{__name__}.Socket", "os.path"):
        assert find_model(name) is None
    other = another(BaseModel)
    with pytest.raises(InvalidInputError, match=r"Write it as module\.Name"):
        find_model("Ambiguous")
    full = f"{__name__}.{other.__qualname__}"
    assert find_model(full) is other
    newer = another(BaseModel)
    assert find_model(full) is newer
