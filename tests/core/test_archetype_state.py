import hashlib
import itertools
import types

import numpy as np
import pyarrow as pa
import pytest

from archetype.core.archetype import BASE_COLUMNS, Archetype, base_schema
from archetype.core.component import Component
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import ComponentError, InvalidInputError


class ArchA(Component):
    x: float


class ArchB(Component):
    n: int
    s: str | None = None


class ArchA_(Component):  # noqa: N801
    y: float


class ArchTag(Component):
    pass


def test_signature_order_and_repetition_do_not_matter():
    ids = {Archetype.of(p).archetype_id for p in itertools.permutations([ArchA, ArchB, ArchTag])}
    assert ids == {Archetype.of([ArchTag, ArchA, ArchB, ArchA]).archetype_id}
    assert Archetype.of([ArchB, ArchA]).name == "ArchA+ArchB"
    assert Archetype.of([]).name == "(empty)"
    assert Archetype.of([ArchA]) != Archetype.of([ArchA, ArchTag])


def test_an_archetype_reads_back_without_its_classes():
    archetype = Archetype.of([ArchA, ArchB, ArchTag])
    again = Archetype.from_parts(archetype.components, archetype.columns())
    assert again == archetype
    assert again.schema == archetype.schema
    assert again.table_schema.names == ["entity_id", "archa__x", "archb__n", "archb__s"]


def test_the_id_is_the_hash_of_the_written_form():
    written = '{"columns":[["archa__x","float64",false]],"components":["ArchA"]}'
    assert Archetype.of([ArchA]).archetype_id == hashlib.sha256(written.encode()).digest()


def test_components_are_added_and_taken_away():
    archetype = Archetype.of([ArchA, ArchA_])
    assert [f.name for f in archetype.component_fields("ArchA_")] == ["archa___y"]
    assert archetype.without_components({"ArchA_"}) == Archetype.of([ArchA])
    assert Archetype.of([ArchA]).with_components(Archetype.of([ArchB])) == Archetype.of([ArchA, ArchB])
    assert archetype.covers([])
    assert archetype.covers(["ArchA"])
    assert not archetype.covers(["ArchB"])


def test_a_shared_prefix_is_refused_by_name():
    body = {"__annotations__": {"z": int}, "__module__": "arch_other", "__qualname__": "archa"}
    clash = types.new_class("archa", (Component,), {}, lambda ns: ns.update(body))
    with pytest.raises(ComponentError, match=r"arch_other\.archa and .*ArchA|ArchA and arch_other\.archa"):
        Archetype.of([ArchA, clash])
    with pytest.raises(ComponentError, match="prefix"):
        Archetype.of([ArchA]).with_components(Archetype.of([clash]))


def test_base_columns():
    assert tuple(base_schema.names) == BASE_COLUMNS


def table(ids, xs=None):
    xs = [float(i) for i in ids] if xs is None else xs
    arrays = {"entity_id": pa.array(ids, pa.int64()), "archa__x": pa.array(xs, pa.float64())}
    return pa.table(arrays)


def test_rows_are_sorted_and_in_one_chunk():
    rows = pa.concat_tables([table([3, 1]), table([2])])
    made = ArchetypeTable.of(Archetype.of([ArchA]), rows)
    assert made.rows.to_pydict() == {"entity_id": [1, 2, 3], "archa__x": [1.0, 2.0, 3.0]}
    assert all(column.num_chunks == 1 for column in made.rows.columns)
    assert made.array("archa__x") is made.array("archa__x")


@pytest.mark.parametrize(
    "rows",
    [
        table([1, 2, 1]),
        table([1, None], [1.0, 2.0]),
        table([1], [None]),
        table([1]).append_column("more", pa.array([1])),
        pa.table({"entity_id": [1], "archa__x": ["a"]}),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows):
    with pytest.raises(InvalidInputError):
        ArchetypeTable.of(Archetype.of([ArchA]), rows)


def test_locating_and_finding():
    a = ArchetypeTable.of(Archetype.of([ArchA]), table([2, 5, 9]))
    empty = ArchetypeTable.of(Archetype.of([]), pa.table({"entity_id": pa.array([3], pa.int64())}))
    state = WorldState.of([a, empty])
    assert list(state.tables) == sorted(state.tables)
    assert state.entity_count == 4
    tables, rows = state.locate(np.array([9, 1, 3, 2, 10]))
    where = list(state.tables.values())
    assert [where[t].archetype.name if t >= 0 else None for t in tables] == [
        "ArchA",
        None,
        "(empty)",
        "ArchA",
        None,
    ]
    assert rows.tolist() == [2, -1, 0, 0, -1]
    assert state.find(5) == (a.archetype, {"entity_id": 5, "archa__x": 5.0})
    assert state.find(4) is None
    assert WorldState.empty().find(1) is None


def test_replacing_keeps_the_object_when_nothing_differs():
    a = ArchetypeTable.of(Archetype.of([ArchA]), table([1]))
    nothing = ArchetypeTable.of(Archetype.of([ArchA]), table([]))
    state = WorldState.of([a])
    assert state.replace([a]) is state
    assert WorldState.empty().replace([nothing]).tables == {}
    assert state.replace([nothing]).tables == {}
