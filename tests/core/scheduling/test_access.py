from uuid import UUID

import numpy as np
import pytest

from archetype.core.combine import Delta
from archetype.core.component import Component
from archetype.core.context import rng_for
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.writes import Despawn, Remove, Spawn, Write, provisional_id
from archetype.errors import (
    AccessViolationError,
    ComponentError,
    EntityNotFoundError,
    InvalidInputError,
    NotFoundError,
    StateConflictError,
)


class AccA(Component):
    items: list[int]


class AccB(Component):
    n: int


class AccHeir(AccB):
    pass


class AccC(Component):
    n: int


class ACCC(Component):
    n: int


WORLD = {1: [AccA(items=[1])], 2: [AccA(items=[2]), AccB(n=2)], 3: [], 4: [AccC(n=4)]}


def test_single_reads(access_to):
    access = access_to(WORLD)
    assert access[2, AccB] == AccB(n=2)
    assert access[np.int64(2), AccB] == AccB(n=2)
    assert access.get(2, AccA) == AccA(items=[2])
    assert access.get(1, AccB) is None
    assert access.get(99, AccB) is None
    assert (2, AccB) in access
    assert (1, AccB) not in access
    assert not access.has(99, AccB)
    assert access.exists(3)
    assert not access.exists(99)
    assert access.entities() == [1, 2, 3, 4]
    assert (access.count(), access.count(AccA), access.count(AccA, AccB)) == (4, 2, 1)
    assert access.components(2) == (AccA(items=[2]), AccB(n=2))
    assert access.components(3) == ()
    assert access.operations == []


def test_what_is_not_there_is_said_at_the_access(access_to):
    access = access_to(WORLD)
    with pytest.raises(NotFoundError, match="Entity 1 has no AccB"):
        access[1, AccB]
    attempts = [
        lambda: access[99, AccB],
        lambda: access.__setitem__((99, AccB), AccB(n=1)),
        lambda: access.update(99, Delta(AccB(n=1))),
        lambda: access.insert(99, AccB(n=1)),
        lambda: access.remove(99, AccB),
        lambda: access.__delitem__((99, AccB)),
        lambda: access.destroy(99),
        lambda: access.components(99),
    ]
    for attempt in attempts:
        with pytest.raises(EntityNotFoundError, match="Entity 99 is not active"):
            attempt()
    assert access.operations == []


def test_writes_are_recorded_in_order_and_read_back(access_to):
    access = access_to(WORLD, index=3)
    access[1, AccA] = AccA(items=[5])
    access.update(1, AccB(n=1))
    access.insert(1, AccB(n=2))
    access[2, AccB] = Delta(AccB(n=7))
    spawned = access.spawn(AccB(n=8))
    access[spawned, AccA] = AccA(items=[8])
    del access[2, AccA]
    access.destroy(3)
    assert access.operations == [
        Write(1, AccA(items=[5])),
        Write(1, AccB(n=1)),
        Write(1, AccB(n=2)),
        Write(2, AccB(n=7), is_delta=True),
        Spawn(spawned, (AccB(n=8),)),
        Write(spawned, AccA(items=[8])),
        Remove(2, AccA),
        Despawn(3),
    ]
    assert access[1, AccB] == AccB(n=2)
    assert access[2, AccB] == AccB(n=2)
    assert access.components(spawned) == (AccA(items=[8]), AccB(n=8))
    assert (2, AccA) not in access
    assert access.entities() == [1, 2, 4, spawned]
    with pytest.raises(EntityNotFoundError):
        access[3, AccB] = AccB(n=1)


def test_a_write_is_the_value_at_its_moment(access_to):
    access = access_to(WORLD)
    a = access[1, AccA]
    a.items.append(2)
    assert access[1, AccA].items == [1]
    access[1, AccA] = a
    spawned = access.spawn(a)
    a.items.append(3)
    access.update(1, Delta(a))
    a.items.append(4)
    access[1, AccA].items.append(5)
    assert access[1, AccA].items == access[spawned, AccA].items == [1, 2]
    first, begun, delta = access.operations
    assert (first.component.items, begun.components[0].items) == ([1, 2], [1, 2])
    assert delta.component.items == [1, 2, 3]


def test_spawns_count_down_from_the_processors_own_number(access_to):
    access = access_to({}, index=2)
    assert [access.spawn(AccB(n=1)), access.spawn()] == [provisional_id(2, 0), provisional_id(2, 1)]
    access.destroy(provisional_id(2, 0))
    assert access.spawn() == provisional_id(2, 2)
    with pytest.raises(InvalidInputError, match="Sut spawned an entity with two components of type AccB"):
        access.spawn(AccB(n=1), AccB(n=2))
    with pytest.raises(ComponentError, match="would share the column prefix"):
        access.spawn(AccC(n=1), ACCC(n=1))
    assert access.entities() == [provisional_id(2, 1), provisional_id(2, 2)]


def test_removing_what_is_not_there_is_passed_over(access_to):
    access = access_to(WORLD)
    access.remove(1, AccB)
    assert access.components(1) == (AccA(items=[1]),)
    assert access.operations == [Remove(1, AccB)]


def test_singletons(access_to):
    access = access_to(WORLD)
    assert access.singleton(AccB) == AccB(n=2)
    assert access.update_singleton(AccB(n=3)) == 2
    assert access.singleton(AccB) == AccB(n=3)
    with pytest.raises(StateConflictError, match="2 entities have AccA, 1 and 2 among them"):
        access.singleton(AccA)
    with pytest.raises(StateConflictError, match="2 entities have AccA"):
        access.update_singleton(AccA(items=[]))
    with pytest.raises(NotFoundError, match="No entity has AccHeir"):
        access.singleton(AccHeir)
    made = access.update_singleton(AccHeir(n=1))
    assert access.update_singleton(AccHeir(n=2)) == made == provisional_id(0, 0)
    assert access.singleton(AccHeir) == AccHeir(n=2)


def test_a_write_stands_under_its_own_type(access_to):
    access = access_to(WORLD)
    for value in (AccA(items=[]), AccHeir(n=1), Delta(AccHeir(n=1)), {"n": 1}, None):
        with pytest.raises(TypeError, match=r"access\[entity_id, AccB\] of Sut was given a"):
            access[1, AccB] = value
    assert access.operations == []


MISTAKES = {
    "no_pair": lambda access: access[1],
    "text_id": lambda access: access["1", AccA],
    "three": lambda access: access[1, AccA, AccB],
    "no_pair_in": lambda access: 1 in access,
    "base_class": lambda access: access(Component),
    "instance": lambda access: access(AccA(items=[])),
    "no_component": lambda access: access.get(1, int),
    "text_id_get": lambda access: access.get("1", AccA),
    "number": lambda access: access.update(1, 5),
    "delta_of_number": lambda access: access.update(1, Delta(5)),
    "class": lambda access: access.spawn(AccA),
    "delta": lambda access: access.spawn(Delta(AccB(n=1))),
    "none": lambda access: access.update_singleton(None),
}


@pytest.mark.parametrize("attempt", MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_entity_or_component_is_a_type_error(access_to, attempt):
    access = access_to(WORLD)
    with pytest.raises(TypeError, match=r"component class|derived from Component|as an integer"):
        attempt(access)
    assert access.operations == []


READS = {
    "query": lambda access: access(AccA, AccB),
    "nested": lambda access: access.query(AccB),
    "item": lambda access: access[2, AccB],
    "absent": lambda access: access[99, AccB],
    "get": lambda access: access.get(1, AccB),
    "in": lambda access: (1, AccB) in access,
    "has": lambda access: access.has(1, AccB),
    "count": lambda access: access.count(AccB),
    "singleton": lambda access: access.singleton(AccB),
    "components": lambda access: access.components(2),
}
WRITES = {
    "item": lambda access: access.__setitem__((1, AccB), AccB(n=1)),
    "absent": lambda access: access.__setitem__((99, AccB), AccB(n=1)),
    "update": lambda access: access.update(2, AccB(n=1)),
    "delta": lambda access: access.update(2, Delta(AccB(n=1))),
    "insert": lambda access: access.insert(1, AccB(n=1)),
    "remove": lambda access: access.remove(2, AccB),
    "del": lambda access: access.__delitem__((2, AccB)),
    "spawn": lambda access: access.spawn(AccA(items=[]), AccB(n=1)),
    "destroy": lambda access: access.destroy(2),
    "singleton": lambda access: access.update_singleton(AccB(n=1)),
}


@pytest.mark.parametrize("attempt", READS.values(), ids=READS)
def test_reading_what_is_not_declared_is_a_violation(access_to, attempt):
    access = access_to(WORLD, reads=(AccA,))
    with pytest.raises(
        AccessViolationError, match="Processor Sut may not read AccB: its reads are AccA"
    ) as caught:
        attempt(access)
    assert caught.value.details == {"processor": "Sut", "component": "AccB", "access": "read"}
    assert access.violation is caught.value


@pytest.mark.parametrize("attempt", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(
    "declared", [{"reads": (AccA, AccB)}, {"reads": (AccB,), "writes": (AccA,)}], ids=str
)
def test_writing_what_is_not_declared_is_a_violation(access_to, attempt, declared):
    access = access_to(WORLD, **declared)
    with pytest.raises(AccessViolationError, match="Processor Sut may not write Acc") as caught:
        attempt(access)
    assert access.violation is caught.value
    assert access.operations == []
    assert access.has(2, AccB)


def test_the_first_violation_is_kept(access_to):
    access = access_to(WORLD, reads=(AccA,))
    assert access.violation is None
    for attempt in (READS["get"], WRITES["insert"]):
        with pytest.raises(AccessViolationError):
            attempt(access)
    assert access.violation.details["access"] == "read"


def test_what_is_written_may_be_read_and_declared_writes_pass(access_to):
    access = access_to(WORLD, reads=(AccA,), writes=(AccB,))
    access[2, AccB] = AccB(n=access[2, AccB].n + 1)
    assert access[2, AccB] == AccB(n=3)
    assert access[1, AccA] == AccA(items=[1])
    assert access.violation is None


def test_an_entity_without_components_takes_some_right_to_write(access_to):
    access = access_to(WORLD, reads=(AccA,))
    for attempt in (access.spawn, lambda: access.destroy(3)):
        with pytest.raises(AccessViolationError, match="an entity: it writes nothing"):
            attempt()
    access = access_to(WORLD, writes=(AccB,))
    access.destroy(3)
    access.destroy(access.spawn())
    assert access.entities() == [1, 2, 4]


def test_the_class_component_stands_for_every_one(access_to):
    assert Rights.declared((Component,), ()) == Rights(None, frozenset())
    assert Rights.declared((Component,), (AccB,)) == Rights(None, frozenset({"AccB"}))
    assert Rights.declared((AccA,), (Component,)).is_full
    access = access_to(WORLD, reads=(Component,), writes=())
    assert access.components(2) == (AccA(items=[2]), AccB(n=2))
    with pytest.raises(AccessViolationError):
        access.destroy(3)


def test_what_a_system_is_told(access_to):
    access = access_to(WORLD, inputs={"push": 2}, debug=True)
    assert (access.processor, access.tick, access.world_id, access.run_id) == (
        "Sut",
        3,
        UUID(int=1),
        UUID(int=2),
    )
    assert (access.inputs, access.debug, len(access.resources)) == ({"push": 2}, True, 0)


def test_random_numbers_are_those_of_the_plain_name_and_ordinal(access_to):
    first, second = access_to({}), access_to({}, name="Sut#2", ordinal=1)
    for access, ordinal in ((first, 0), (second, 1)):
        expected = rng_for(access._context, "Sut", ordinal, b"").random(3).tolist()
        assert [*access.rng.random(2), access.rng.random()] == expected
