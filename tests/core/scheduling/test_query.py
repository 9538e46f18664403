from archetype.core.component import Component


class QryA(Component):
    items: list[int]


class QryB(Component):
    n: int


WORLD = {
    2: [QryA(items=[2])],
    5: [QryA(items=[5]), QryB(n=5)],
    1: [QryA(items=[1]), QryB(n=1)],
    4: [QryB(n=4)],
    3: [QryA(items=[3])],
}


def test_rows_are_flat_or_nested_tuples_by_entity_id(access_to):
    access = access_to(WORLD)
    assert list(access(QryA)) == [(each, QryA(items=[each])) for each in (1, 2, 3, 5)]
    assert list(access(QryB, QryA)) == [
        (1, QryB(n=1), QryA(items=[1])),
        (5, QryB(n=5), QryA(items=[5])),
    ]
    assert list(access.query(QryA, QryB))[1] == (5, (QryA(items=[5]), QryB(n=5)))
    assert list(access()) == [(1,), (2,), (3,), (4,), (5,)]
    assert list(access.query()) == [(1, ()), (2, ()), (3, ()), (4, ()), (5, ())]


def test_a_result_has_a_length_and_ids_without_any_component(access_to):
    result = access_to(WORLD)(QryA)
    assert len(result) == 4
    assert result.entities() == [1, 2, 3, 5]
    result.entities().clear()
    assert result.entities() == [1, 2, 3, 5]
    assert {type(each) for each in result.entities()} == {int}
    assert repr(result) == "QueryResult(QryA: 4 entities)"
    assert not access_to({})(QryA)


def test_a_result_shows_the_moment_of_its_query(access_to):
    access = access_to(WORLD)
    before = access(QryA, QryB)
    for entity_id, b in access(QryB):
        access[entity_id, QryB] = QryB(n=b.n + 10)
    access.destroy(1)
    access.remove(5, QryA)
    access[2, QryB] = QryB(n=2)
    spawned = access.spawn(QryA(items=[6]), QryB(n=6))
    after = access(QryA, QryB)
    access[2, QryB] = QryB(n=3)
    assert list(before) == [(1, QryA(items=[1]), QryB(n=1)), (5, QryA(items=[5]), QryB(n=5))]
    assert list(after) == [(2, QryA(items=[2]), QryB(n=2)), (spawned, QryA(items=[6]), QryB(n=6))]
    assert access(QryB).entities() == [2, 4, 5, spawned]


def test_components_are_the_callers_to_change(access_to):
    access = access_to(WORLD)
    access[4, QryA] = QryA(items=[4])
    access[1, QryA] = QryA(items=[0])
    spawned = access.spawn(QryA(items=[6]))
    result = access(QryA)
    for _, a in result:
        a.items.append(9)
    expected = [(1, [0]), (2, [2]), (3, [3]), (4, [4]), (5, [5]), (spawned, [6])]
    assert [(each, a.items) for each, a in result] == expected
    assert [(each, a.items) for each, a in access(QryA)] == expected


def test_what_is_removed_and_written_again_is_found_again(access_to):
    access = access_to(WORLD)
    access.remove(5, QryA)
    assert access(QryA).entities() == [1, 2, 3]
    access[5, QryA] = QryA(items=[50])
    assert list(access(QryA, QryB))[1] == (5, QryA(items=[50]), QryB(n=5))
