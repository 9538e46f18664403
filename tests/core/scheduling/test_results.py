import pytest

from archetype.core.combine import Delta
from archetype.core.component import Component
from archetype.core.scheduling.results import SystemResult, operations_of
from archetype.core.scheduling.writes import Despawn, Remove, Spawn, Write, provisional_id
from archetype.errors import AccessViolationError, EntityNotFoundError


class ResA(Component):
    items: list[int]


class ResB(Component):
    n: int


WORLD = {1: [ResA(items=[1])], 2: [ResB(n=2)]}
B = ResB(n=7)
A = ResA(items=[7])

SHAPES = {
    "none": (None, []),
    "empty": ({}, []),
    "typed": ({1: {ResB: B, ResA: A}}, [Write(1, B), Write(1, A)]),
    "plain": ({2: B, 1: A}, [Write(2, B), Write(1, A)]),
    "several": ({1: [A, B], 2: (B,)}, [Write(1, A), Write(1, B), Write(2, B)]),
    "pairs": ([(1, A), (1, B), [2, B]], [Write(1, A), Write(1, B), Write(2, B)]),
    "deltas": ({1: {ResB: Delta(B)}, 2: Delta(B)}, [Write(1, B, True), Write(2, B, True)]),
}


@pytest.mark.parametrize(("returned", "written"), SHAPES.values(), ids=SHAPES)
def test_what_is_returned_follows_what_was_written(access_to, returned, written):
    access = access_to(WORLD)
    access[2, ResB] = ResB(n=1)
    assert operations_of(access, returned) == (Write(2, ResB(n=1)), *written)


@pytest.mark.parametrize(
    "returned",
    [
        5,
        "ab",
        {1: 5},
        {1: None},
        {1: {ResA: None}},
        {"1": B},
        {1: [5]},
        [1],
        [(1, A, B)],
        [(1, None)],
        {3},
        B,
    ],
    ids=repr,
)
def test_other_shapes_are_refused(access_to, returned):
    with pytest.raises(TypeError, match=r"System Sut returned \w+, not None, a SystemResult, .*entity_id: a"):
        operations_of(access_to(WORLD), returned)


def test_a_value_under_another_type_is_refused(access_to):
    with pytest.raises(TypeError, match=r"access\[entity_id, ResA\] of Sut was given a ResB"):
        operations_of(access_to(WORLD), {1: {ResA: B}})


def test_a_result_records_operations_in_order(access_to):
    access = access_to(WORLD, index=1)
    first = access.spawn()
    result = SystemResult()
    a = ResA(items=[1])
    result.record_update(1, a)
    a.items.append(2)
    new = result.record_spawn(B)
    other = result.record_spawn()
    result.record_insert(new, a)
    result.record_update(2, Delta(B))
    result.record_remove(new, ResB)
    result.record_destroy(other)
    spawned, ended = provisional_id(1, 1), provisional_id(1, 2)
    assert operations_of(access, result) == (
        Spawn(first, ()),
        Write(1, ResA(items=[1])),
        Spawn(spawned, (B,)),
        Spawn(ended, ()),
        Write(spawned, ResA(items=[1, 2])),
        Write(2, B, is_delta=True),
        Remove(spawned, ResB),
        Despawn(ended),
    )
    assert access.components(spawned) == (ResA(items=[1, 2]),)


def test_a_result_takes_components_only():
    for wrong in (None, 5, ResA):
        with pytest.raises(TypeError, match="A SystemResult records components, not"):
            SystemResult().record_update(1, wrong)


def recorded(verb, *arguments):
    result = SystemResult()
    getattr(result, verb)(*arguments)
    return result


FORBIDDEN = {
    "typed": {1: {ResB: B}},
    "plain": {1: B},
    "pair": [(1, B)],
    "update": recorded("record_update", 1, B),
    "remove": recorded("record_remove", 2, ResB),
    "spawn": recorded("record_spawn", B),
    "destroy": recorded("record_destroy", 2),
}


@pytest.mark.parametrize("returned", FORBIDDEN.values(), ids=FORBIDDEN)
def test_returning_cannot_do_what_writing_may_not(access_to, returned):
    access = access_to(WORLD, reads=(ResA, ResB), writes=(ResA,))
    with pytest.raises(AccessViolationError, match="Processor Sut may not write ResB") as caught:
        operations_of(access, returned)
    assert access.violation is caught.value


def test_returned_writes_need_an_active_entity(access_to):
    access = access_to(WORLD)
    access.destroy(1)
    for returned in ({1: B}, {99: {ResB: B}}, [(1, A)], recorded("record_destroy", 1)):
        with pytest.raises(EntityNotFoundError, match="is not active"):
            operations_of(access, returned)


@pytest.mark.parametrize("returned", [None, 5, {1: A}], ids=repr)
def test_a_violation_that_was_caught_is_raised_again(access_to, returned):
    access = access_to(WORLD, reads=(ResA,))
    with pytest.raises(AccessViolationError) as caught:
        access.get(2, ResB)
    with pytest.raises(AccessViolationError) as again:
        operations_of(access, returned)
    assert again.value is caught.value
