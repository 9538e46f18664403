import math
import types

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from archetype.core.apply import apply_changes
from archetype.core.archetype import Archetype
from archetype.core.bulk import batch_from_components, check_spawn_batch, check_update_batch
from archetype.core.changes import (
    AddComponents,
    Despawn,
    RemoveComponents,
    Spawn,
    SpawnBatch,
    Update,
    UpdateBatch,
)
from archetype.core.component import Component
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import CodeNotLoadedError


class AppPos(Component):
    x: float
    y: float = 0.0


class AppVel(Component):
    d: int


class AppName(Component):
    s: str | None = None
    tags: list[int] = Field(default_factory=list)


class AppTag(Component):
    pass


KINDS = {kind.__name__: kind for kind in (AppPos, AppVel, AppName, AppTag)}


class Model:
    """What apply_changes must mean, with plain dicts: entity id -> component name -> fields."""

    def __init__(self, entities):
        self.incoming = {k: {n: dict(f) for n, f in v.items()} for k, v in entities.items()}
        self.entities = {k: {n: dict(f) for n, f in v.items()} for k, v in entities.items()}
        self.tombstones = {}
        self.rejected = []

    def apply(self, change):
        code = getattr(self, type(change).__name__.lower())(change)
        if code:
            self.rejected.append((change.version, code))

    def spawn(self, c):
        if c.entity_id in self.entities or c.entity_id in self.incoming:
            return "entity_exists"
        self.entities[c.entity_id] = {p["type"]: fields(p) for p in c.components}
        return None

    def spawnbatch(self, c):
        rows = c.model_rows
        ids = range(c.first_entity_id, c.first_entity_id + len(rows))
        if any(i in self.entities or i in self.incoming for i in ids):
            return "entity_exists"
        for i, row in zip(ids, rows, strict=True):
            self.entities[i] = {p["type"]: fields(p) for p in row}
        return None

    def despawn(self, c):
        if c.entity_id not in self.entities:
            return "entity_not_found"
        del self.entities[c.entity_id]
        if c.entity_id in self.incoming:
            self.tombstones[c.entity_id] = self.incoming[c.entity_id]
        return None

    def update(self, c):
        entity = self.entities.get(c.entity_id)
        if entity is None:
            return "entity_not_found"
        if any(p["type"] not in entity for p in c.components):
            return "component_not_present"
        for p in c.components:
            entity[p["type"]].update(fields(p))
        return None

    def updatebatch(self, c):
        rows = c.batch.to_pylist()
        if any(row["entity_id"] not in self.entities for row in rows):
            return "entity_not_found"
        if any("AppPos" not in self.entities[row["entity_id"]] for row in rows):
            return "component_not_present"
        for row in rows:
            self.entities[row["entity_id"]]["AppPos"]["x"] = row["apppos__x"]
        return None

    def addcomponents(self, c):
        if c.entity_id not in self.entities:
            return "entity_not_found"
        self.entities[c.entity_id].update({p["type"]: fields(p) for p in c.components})
        return None

    def removecomponents(self, c):
        entity = self.entities.get(c.entity_id)
        if entity is None:
            return "entity_not_found"
        if any(name not in entity for name in c.component_types):
            return "component_not_present"
        for name in c.component_types:
            del entity[name]
        return None


def fields(payload):
    return {k: v for k, v in payload.items() if k != "type"}


class ModelledSpawnBatch(SpawnBatch):
    model_rows = ()


def dump(tables):
    entities = {}
    for table in tables:
        ids = table.entity_ids.tolist()
        assert ids == sorted(set(ids))
        assert ids
        assert table.rows.schema == table.archetype.table_schema
        assert all(column.num_chunks == 1 for column in table.rows.columns)
        table.rows.validate(full=True)
        for row in table.rows.to_pylist():
            entities[row["entity_id"]] = {
                name: {
                    f.name.removeprefix(f"{name.lower()}__"): row[f.name]
                    for f in table.archetype.component_fields(name)
                }
                for name in table.archetype.components
            }
    return entities


floats = st.floats(allow_nan=False, allow_infinity=False)
pos = st.builds(AppPos, x=floats, y=floats)
payloads = (
    st.fixed_dictionaries(
        {},
        optional={
            "AppPos": pos,
            "AppVel": st.builds(AppVel, d=st.integers(-(2**63), 2**63 - 1)),
            "AppName": st.builds(
                AppName, s=st.none() | st.text(max_size=3), tags=st.lists(st.integers(0, 9), max_size=2)
            ),
            "AppTag": st.just(AppTag()),
        },
    )
    .map(lambda d: list(d.values()))
    .flatmap(st.permutations)
)
partial = st.one_of(
    st.builds(lambda v: {"type": "AppPos", "x": v}, floats),
    st.builds(lambda v: {"type": "AppPos", "y": v}, floats),
    st.builds(lambda v: {"type": "AppVel", "d": v}, st.integers(0, 9)),
    st.builds(lambda v: {"type": "AppName", "s": v}, st.none() | st.just("new")),
)
ids = st.integers(1, 9)


def jsons(components):
    return [component.to_payload() for component in components]


def spawn_batch(first, rows):
    change = object.__new__(ModelledSpawnBatch)
    object.__setattr__(change, "version", 0)
    object.__setattr__(change, "first_entity_id", first)
    object.__setattr__(change, "batch", check_spawn_batch(batch_from_components(rows)))
    object.__setattr__(change, "model_rows", [jsons(row) for row in rows])
    return change


def update_batch(entity_ids, values):
    n = len(entity_ids)
    return UpdateBatch(0, check_update_batch(pa.table({"entity_id": entity_ids, "apppos__x": values[:n]})))


ModelledSpawnBatch.__name__ = "SpawnBatch"

change = st.one_of(
    st.builds(lambda i, c: Spawn(0, i, jsons(c)), ids, payloads),
    st.builds(lambda i: Despawn(0, i), ids),
    st.builds(
        lambda i, p: Update(0, i, p),
        ids,
        st.lists(partial, min_size=1, max_size=2, unique_by=lambda p: p["type"]),
    ),
    st.builds(lambda i, c: AddComponents(0, i, jsons(c)), ids, payloads),
    st.builds(
        lambda i, n: RemoveComponents(0, i, n),
        ids,
        st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=2, unique=True),
    ),
    st.builds(spawn_batch, ids, st.lists(payloads, min_size=1, max_size=4).filter(any)),
    st.builds(
        update_batch,
        st.lists(ids, min_size=1, max_size=3, unique=True),
        st.lists(floats, min_size=3, max_size=3),
    ),
)


@settings(max_examples=400)
@given(st.lists(st.lists(change, max_size=12), min_size=1, max_size=4))
def test_applying_means_what_the_model_says(ticks):
    state = WorldState.empty()
    entities = {}
    for changes in ticks:
        for version, single in enumerate(changes):
            object.__setattr__(single, "version", version)
        model = Model(entities)
        for single in changes:
            model.apply(single)
        before = dump(state)
        applied = apply_changes(state, changes)
        assert dump(state) == before
        assert dump(applied.state) == model.entities
        assert dump(applied.tombstones.values()) == model.tombstones
        assert [(r.version, r.code) for r in applied.rejections] == model.rejected
        state, entities = applied.state, model.entities


def start():
    rows = [[AppPos(x=float(i)), AppVel(d=i)] for i in range(1, 5)]
    batch = check_spawn_batch(batch_from_components(rows))
    return apply_changes(WorldState.empty(), [SpawnBatch(0, 1, batch)]).state


def test_nothing_changed_is_the_same_object():
    state = start()
    changes = [Spawn(1, 9, [{"type": "AppTag"}]), Despawn(2, 9), Update(3, 77, [{"type": "AppVel", "d": 1}])]
    applied = apply_changes(state, changes)
    assert applied.state is state
    assert applied.tombstones == {}
    assert apply_changes(state, []).state is state
    there_and_back = [
        AddComponents(1, 1, [{"type": "AppName", "s": "a", "tags": []}]),
        RemoveComponents(2, 1, ["AppName"]),
    ]
    assert apply_changes(state, there_and_back).state is state


def test_columns_that_are_not_written_stay_the_same_objects():
    state = start()
    [before] = state
    [after] = apply_changes(state, [Update(1, 2, [{"type": "AppPos", "x": 5.0}])]).state
    same = {name: after.array(name) is before.array(name) for name in before.rows.column_names}
    assert same == {"entity_id": True, "apppos__x": False, "apppos__y": True, "appvel__d": True}


def test_reasons_name_entity_and_component():
    changes = [
        Update(1, 77, [{"type": "AppPos", "x": 1.0}]),
        Update(2, 1, [{"type": "AppPos", "x": 9.0}, {"type": "AppName", "s": "a"}]),
        RemoveComponents(3, 1, ["AppTag"]),
        UpdateBatch(
            4, check_update_batch(pa.table({"entity_id": [1, 80, 81], "apppos__x": [1.0, 2.0, 3.0]}))
        ),
        SpawnBatch(5, 4, check_spawn_batch(pa.table({"apppos__x": [1.0]}))),
    ]
    state = start()
    applied = apply_changes(state, changes)
    assert applied.state is state
    reasons = [(r.version, r.code, r.reason) for r in applied.rejections]
    assert reasons[0] == (1, "entity_not_found", "Entity 77 is not active.")
    assert reasons[1] == (2, "component_not_present", "Entity 1 has no AppName.")
    assert reasons[2] == (3, "component_not_present", "Entity 1 has no AppTag.")
    assert "2 entities (80, 81) of 3" in reasons[3][2]
    assert reasons[4][1] == "entity_exists"


def test_a_tombstone_is_the_row_and_archetype_of_the_incoming_state():
    changes = [
        Update(1, 2, [{"type": "AppPos", "x": 50.0}]),
        AddComponents(2, 2, [{"type": "AppTag"}]),
        UpdateBatch(3, check_update_batch(pa.table({"entity_id": [2], "apppos__x": [60.0]}))),
        Despawn(4, 2),
    ]
    applied = apply_changes(start(), changes)
    [tombstone] = applied.tombstones.values()
    assert tombstone.archetype == Archetype.of([AppPos, AppVel])
    assert tombstone.rows.to_pylist() == [
        {"entity_id": 2, "apppos__x": 2.0, "apppos__y": 0.0, "appvel__d": 2}
    ]


def test_values_that_json_cannot_hold_survive_a_move():
    batch = check_spawn_batch(pa.table({"apppos__x": [math.nan], "apppos__y": [-math.inf]}))
    state = apply_changes(
        WorldState.empty(), [SpawnBatch(0, 1, batch), AddComponents(1, 1, [{"type": "AppTag"}])]
    ).state
    [table] = state
    assert math.isnan(table.rows.to_pylist()[0]["apppos__x"])
    assert table.archetype == Archetype.of([AppPos, AppTag])


def test_a_component_type_twice_in_one_spawn_is_a_bug_upstream():
    with pytest.raises(AssertionError):
        apply_changes(WorldState.empty(), [Spawn(1, 1, [{"type": "AppTag"}, {"type": "AppTag"}])])


def test_a_class_that_is_not_loaded_stops_the_tick():
    with pytest.raises(CodeNotLoadedError) as caught:
        apply_changes(WorldState.empty(), [Spawn(1, 1, [{"type": "some.module.AppGone"}])])
    assert caught.value.details == {"name": "some.module.AppGone", "module": "some.module"}


def edited(**annotations):
    body = {"__annotations__": annotations, "__module__": "app_edit", "__qualname__": "AppEdited"}
    return types.new_class("AppEdited", (Component,), {}, lambda ns: ns.update(body))


def test_rows_of_an_edited_class_are_not_updated_but_can_be_replaced():
    old = edited(a=int)
    payload = {"type": "AppEdited", "a": 1}
    state = apply_changes(WorldState.empty(), [Spawn(1, 1, [payload])]).state
    batch = check_update_batch(pa.table({"entity_id": [1], "appedited__a": [2]}))
    new = edited(a=float, b=int)
    assert old is not new
    applied = apply_changes(state, [Update(2, 1, [{"type": "AppEdited", "a": 1}]), Spawn(3, 2, [payload])])
    assert [r.code for r in applied.rejections] == ["schema_changed", "schema_changed"]
    assert applied.state is state
    assert apply_changes(state, [UpdateBatch(4, batch)]).state.find(1)[1]["appedited__a"] == 2
    floats_now = check_update_batch(pa.table({"entity_id": [1], "appedited__a": [2.0]}))
    assert [r.code for r in apply_changes(state, [UpdateBatch(5, floats_now)]).rejections] == [
        "schema_changed"
    ]
    moved = apply_changes(state, [AddComponents(6, 1, [{"type": "AppEdited", "a": 1.5, "b": 2}])]).state
    assert moved.find(1) == (Archetype.of([new]), {"entity_id": 1, "appedited__a": 1.5, "appedited__b": 2})


def test_two_components_with_one_prefix_do_not_meet_in_an_entity():
    body = {"__annotations__": {"q": int}, "__module__": "app_clash", "__qualname__": "apppos"}
    clashing = types.new_class("apppos", (Component,), {}, lambda ns: ns.update(body))
    state = start()
    applied = apply_changes(state, [AddComponents(1, 1, [{"type": clashing.__name__, "q": 1}])])
    assert applied.state is state
    assert applied.rejections[0].code == "prefix_collision"


def test_an_entity_gets_no_more_components_than_it_may_have(monkeypatch):
    """One that it has already is given anew; one more rejects the command."""
    monkeypatch.setattr("archetype.core.archetype.ENTITY_COMPONENTS_MAX", 2)
    spawn = Spawn(1, 99, [{"type": "AppPos", "x": 1.0, "y": 0.0}, {"type": "AppVel", "d": 1}])
    state = apply_changes(WorldState.empty(), [spawn]).state
    again = apply_changes(state, [AddComponents(2, 99, [{"type": "AppVel", "d": 2}])])
    assert again.rejections == ()
    applied = apply_changes(state, [AddComponents(2, 99, [{"type": "AppTag"}])])
    assert applied.state is state
    (rejection,) = applied.rejections
    assert rejection.code == "limit_exceeded"
    assert "Entity 99" in rejection.reason


def test_single_and_batch_changes_agree_on_large_states():
    n = 3000
    batch = check_spawn_batch(pa.table({"apppos__x": pa.array(range(n), pa.float64())}))
    state = apply_changes(WorldState.empty(), [SpawnBatch(0, 1, batch)]).state
    wanted = list(range(n, 0, -2))
    single = [Update(i, i, [{"type": "AppPos", "x": i * 2.0}]) for i in wanted]
    both = check_update_batch(pa.table({"entity_id": wanted, "apppos__x": [i * 2.0 for i in wanted]}))
    [one], [two] = apply_changes(state, single).state, apply_changes(state, [UpdateBatch(1, both)]).state
    assert one.rows == two.rows
    assert isinstance(one, ArchetypeTable)
