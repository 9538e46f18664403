"""Processors and their records: what is recorded, and which instances run."""

from __future__ import annotations

import enum
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype import AsyncProcessor
from archetype.errors import InvalidInputError
from archetype.scheduling import system
from archetype.service.processors import ProcessorPool
from archetype.service.program import ProcessorRecord, Program

WORLD = uuid.UUID(int=1)


class Kept(AsyncProcessor):
    def __init__(self, value, *rest, rate: float = 0.5, **named):
        self.value, self.rest, self.rate, self.named = value, rest, rate, named


class Mode(enum.StrEnum):
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 3


def spelled(value):
    """Spell a value with the types of all that it holds."""
    return f"{type(value).__name__} {value!r}"


def runs(pool, *processors):
    program = Program(tuple(map(ProcessorRecord.of, processors)))
    return list(pool.load(WORLD, program).processors)


texts = st.text("abc", max_size=2)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values, st.lists(values, max_size=2), floats | st.integers(-9, 9))
def test_what_runs_live_has_the_parameters_of_what_is_built_from_its_record(value, rest, rate):
    """What a script handed over runs itself, unless its record spells its parameters differently."""
    given_by_script = Kept(value, *rest, rate=rate, named=value)
    pool = ProcessorPool()
    pool.bind(WORLD, given_by_script)
    (live,) = runs(pool, given_by_script)
    built = ProcessorRecord.of(given_by_script).build()
    assert spelled(live.parameters) == spelled(built.parameters)
    is_alike = spelled(given_by_script.parameters) == spelled(built.parameters)
    assert (live is given_by_script) == is_alike


def test_an_instance_in_the_place_of_one_with_other_numbers_is_built_once():
    pool = ProcessorPool()
    pool.bind(WORLD, Kept(2.0))
    (first,) = runs(pool, Kept(2.0))
    pool.bind(WORLD, Kept(2.0))
    assert runs(pool, Kept(2.0)) == [first]
    assert spelled(first.value) == "int 2"


def test_a_priority_of_its_own_stays():
    pool = ProcessorPool()
    pool.bind(WORLD, Kept(2.0).with_priority(3))
    (live,) = runs(pool, Kept(2.0).with_priority(3))
    assert (live.priority, live.value) == (3, 2)


LOST = {
    "text of an enum": Mode.FAST,
    "number of an enum": Level.HIGH,
    "tuple": (1, 2),
    "tuple in a list": [(1, 2)],
    "enum in a dict": {"mode": Mode.FAST},
}


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("place", ["value", "rest", "named"])
def test_a_parameter_that_its_record_does_not_give_again_is_refused(kind, place):
    value = LOST[kind]
    made = {
        "value": lambda: Kept(value),
        "rest": lambda: Kept(1, value),
        "named": lambda: Kept(1, named=value),
    }
    with pytest.raises(
        InvalidInputError, match=f"processor Kept cannot be recorded: its parameter {place} is"
    ) as caught:
        ProcessorPool().bind(WORLD, made[place]())
    assert caught.value.faults[0]["path"] == f"parameters.{place}"


def made_system(amount):
    @system
    def made(access):
        return amount

    return made


def made_class(amount):
    class Made(AsyncProcessor):
        async def process(self, df):
            return {"x": amount}

    return Made()


@pytest.mark.parametrize("make", [made_system, made_class])
def test_processors_that_differ_in_what_they_close_over_alone_are_refused(make):
    """Their records are equal; where all that they close over is equal too, either of them will do."""
    pool = ProcessorPool()
    pool.bind(WORLD, make(1))
    pool.bind(WORLD, make(1))
    with pytest.raises(InvalidInputError, match="with amount = 1 where this one has 10"):
        pool.bind(WORLD, make(10))
    pool.bind(uuid.UUID(int=2), make(10))
