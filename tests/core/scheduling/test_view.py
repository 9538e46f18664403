import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.core.component import Component
from archetype.core.scheduling.query import QueryResult
from archetype.core.scheduling.view import View
from archetype.errors import EntityNotFoundError


class VwA(Component):
    n: int


class VwB(Component):
    n: int


class VwC(Component):
    n: int


KINDS = (VwA, VwB, VwC)

components = st.lists(st.sampled_from(KINDS), unique=True).flatmap(
    lambda kinds: st.tuples(*(st.builds(kind, n=st.integers(0, 9)) for kind in kinds))
)
ids = st.integers(0, 4)
steps = st.one_of(
    st.tuples(st.just("write"), ids, st.one_of(*(st.builds(kind, n=st.integers(10, 19)) for kind in KINDS))),
    st.tuples(st.just("remove"), ids, st.sampled_from(KINDS)),
    st.tuples(st.just("begin"), ids, components),
    st.tuples(st.just("end"), ids, st.none()),
)


class Model:
    """A dict of dicts, and the order of spawns."""

    def __init__(self, entities):
        self.entities = {each: {type(c): c for c in held} for each, held in entities.items()}
        self.spawned = []

    def step(self, verb, entity_id, what):
        if verb == "begin":
            self.entities[entity_id] = {type(c): c for c in what}
            self.spawned.append(entity_id)
        elif entity_id not in self.entities:
            raise EntityNotFoundError("")
        elif verb == "write":
            self.entities[entity_id][type(what)] = what
        elif verb == "remove":
            self.entities[entity_id].pop(what, None)
        else:
            del self.entities[entity_id]

    def query(self, kinds):
        stored = sorted(each for each in self.entities if each not in self.spawned)
        order = stored + [each for each in self.spawned if each in self.entities]
        held = [(each, self.entities[each]) for each in order]
        return [(each, *(have[k] for k in kinds)) for each, have in held if all(k in have for k in kinds)]


def step(view, verb, entity_id, what):
    if verb == "begin":
        view.begin(entity_id, what)
    elif verb == "write":
        view.write(entity_id, type(what).__name__, what)
    elif verb == "remove":
        view.remove(entity_id, what.__name__)
    else:
        view.end(entity_id)


def queried(view, kinds):
    return QueryResult(view, view.select([kind.__name__ for kind in kinds]), kinds, nests=False)


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except EntityNotFoundError:
        return EntityNotFoundError


@given(st.dictionaries(ids, components), st.lists(steps, max_size=40))
def test_a_view_is_its_state_with_its_own_changes_over_it(state_of, entities, changes):
    view, model = View(state_of(entities)), Model(entities)
    taken = []
    known = set(entities)
    for spawn_count, (verb, number, what) in enumerate(changes):
        entity_id = -1000 - spawn_count if verb == "begin" else number
        if verb != "begin" and model.spawned and number > 2:
            entity_id = model.spawned[number % len(model.spawned)]
        known.add(entity_id)
        assert outcome(step, view, verb, entity_id, what) == outcome(model.step, verb, entity_id, what)
        kinds = KINDS[number % 3 : number % 3 + number % 2 + 1]
        taken.append((queried(view, kinds), model.query(kinds)))
    for result, expected in taken:
        assert list(result) == list(result) == expected
        assert result.entities() == [row[0] for row in expected]
        assert len(result) == len(expected)
    for kinds in ((), KINDS, (VwB,)):
        assert list(queried(view, kinds)) == model.query(kinds)
    for entity_id in known | {99}:
        held = model.entities.get(entity_id)
        assert view.exists(entity_id) == (held is not None)
        for kind in KINDS:
            assert view.get(entity_id, kind) == (held or {}).get(kind)
            assert view.has(entity_id, kind.__name__) == (kind in (held or {}))
        names = sorted(kind.__name__ for kind in held) if held is not None else EntityNotFoundError
        assert outcome(view.component_names, entity_id) == names


def test_what_the_state_holds_stays_readable_below_own_changes(state_of):
    view = View(state_of({1: [VwA(n=1)]}))
    view.write(1, "VwA", VwA(n=2))
    assert view.stored(1, VwA) == VwA(n=1)
    assert view.stored(1, VwB) is None
    assert view.get(1, VwA) == VwA(n=2)


@pytest.mark.parametrize("verb", ["require", "component_names", "end"])
def test_an_empty_state_has_no_entity(state_of, verb):
    with pytest.raises(EntityNotFoundError, match="Entity 3 is not active") as caught:
        getattr(View(state_of({})), verb)(3)
    assert caught.value.details == {"entity_id": 3}
