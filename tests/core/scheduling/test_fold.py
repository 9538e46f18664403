from typing import Annotated

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from archetype.core.archetype import Archetype
from archetype.core.combine import Combine
from archetype.core.component import Component
from archetype.core.scheduling.fold import fold_group
from archetype.core.scheduling.records import NAMED_ENTITIES_MAX, Conflict
from archetype.core.scheduling.writes import (
    FIRST_PROVISIONAL_ID,
    ColumnWrite,
    Despawn,
    Output,
    Remove,
    Spawn,
    Write,
    provisional_id,
)
from archetype.core.state import ArchetypeTable, WorldState
from archetype.errors import ComponentError, InvalidInputError


class FoldCounter(Component):
    value: int = 0


class FoldScore(Component):
    points: Annotated[int, Combine("sum")] = 0
    best: Annotated[float, Combine("max")] = 0.0


class FoldTally(Component):
    value: int

    def __combine__(self, other: "FoldTally") -> "FoldTally":
        return FoldTally(value=self.value + other.value)


class FoldWrong(Component):
    value: int

    def __combine__(self, other: "FoldWrong") -> FoldCounter:
        return FoldCounter(value=self.value + other.value)


class FoldPair(Component):
    merge_unit = "component"
    x: int
    y: int


class FoldName(Component):
    text: str


class Foldname(Component):
    other: str


class FoldEdge(BaseModel):
    to: int


class FoldLinks(Component):
    one: int | None
    many: list[int] | None
    edge: FoldEdge | None
    both: tuple[int, int]
    text: str = ""


def table_of(*rows, first_id=0):
    kinds = [type(component) for component in rows[0]]
    archetype = Archetype.of(kinds)
    columns = [pa.array(range(first_id, first_id + len(rows)))]
    for name in archetype.components:
        held = [next(each for each in row if type(each).__name__ == name) for row in rows]
        columns.extend(type(held[0]).layout().columns_of(held).values())
    return ArchetypeTable.from_arrays(archetype, columns)


def state_of(*rows):
    return WorldState.of([table_of(*rows)])


def written(state, column, values, *, rows=None, is_delta=False):
    """A write of a column of the only table that has it."""
    table = next(each for each in state if column in each.rows.column_names)
    array = values if isinstance(values, pa.Array) else pa.array(values, table.array(column).type)
    where = None if rows is None else np.array(rows, dtype=np.int64)
    return ColumnWrite(table.archetype.archetype_id, column, where, array, is_delta)


def fold(state, *parts, first_id=100):
    """Fold one output for each part: a list of column writes and operations."""
    outputs = []
    for index, part in enumerate(parts):
        columns = [each for each in part if isinstance(each, ColumnWrite)]
        operations = [each for each in part if not isinstance(each, ColumnWrite)]
        outputs.append(Output(index, f"p{index}", columns, operations=operations))
    return fold_group(state, outputs, first_id)


def column(folded, name):
    (table,) = [each for each in folded.state if name in each.rows.column_names]
    return table.array(name).to_pylist()


@pytest.mark.parametrize("kind", [FoldScore, FoldTally], ids=["by field", "by __combine__"])
def test_the_stored_base_takes_no_part_in_a_fold_of_plain_writes(kind):
    name = next(iter(kind.model_fields))
    state = state_of([kind(**{name: 100})])
    writes = [[Write(0, kind(**{name: each}))] for each in (5, 3)]
    assert column(fold(state, *writes), f"{kind.get_prefix()}{name}") == [8]
    assert column(fold(state, writes[0]), f"{kind.get_prefix()}{name}") == [5]
    assert column(fold(state, [*writes[0], *writes[1]]), f"{kind.get_prefix()}{name}") == [8]


@pytest.mark.parametrize("kind", [FoldScore, FoldTally], ids=["by field", "by __combine__"])
def test_only_rows_that_were_written_before_are_combined(kind):
    name = next(iter(kind.model_fields))
    column_name = f"{kind.get_prefix()}{name}"
    state = state_of(*[[kind(**{name: 100})] for _ in range(4)])
    first = [written(state, column_name, [5, 6], rows=[1, 3])]
    second = [written(state, column_name, [1, 2, 3], rows=[0, 1, 2])]
    folded = fold(state, first, second)
    assert column(folded, column_name) == [1, 7, 3, 6]
    assert folded.conflicts[0].entity_ids == (1,)
    assert dict(folded.cell_counts) == {0: 2, 1: 3}


def test_a_conflict_names_only_those_who_wrote_its_cells():
    state = state_of([FoldScore()], [FoldScore()])
    parts = [[written(state, "foldscore__points", [1], rows=[row])] for row in (0, 1, 0)]
    (conflict,) = fold(state, *parts).conflicts
    assert (conflict.writers, conflict.winners, conflict.entity_ids) == (("p0", "p2"), ("p0", "p2"), (0,))


def test_a_cell_that_one_processor_writes_twice_is_counted_once_and_is_no_conflict():
    state = state_of([FoldScore(points=1)])
    folded = fold(state, [Write(0, FoldScore(points=2)), Write(0, FoldScore(points=3))])
    assert column(folded, "foldscore__points") == [5]
    assert (dict(folded.cell_counts), folded.conflicts) == ({0: 2}, ())


@pytest.mark.parametrize("kind", [FoldCounter, FoldScore, FoldTally], ids=["number", "sum", "__combine__"])
def test_deltas_fold_onto_the_stored_base(kind):
    name = next(iter(kind.model_fields))
    state = state_of([kind(**{name: 10})])
    one = Write(0, kind(**{name: 1}), is_delta=True)
    assert column(fold(state, [one], [one]), f"{kind.get_prefix()}{name}") == [12]
    in_columns = [written(state, f"{kind.get_prefix()}{name}", [1], is_delta=True)]
    assert column(fold(state, in_columns, in_columns), f"{kind.get_prefix()}{name}") == [12]


def test_the_last_registered_writer_wins_where_no_rule_combines():
    state = state_of([FoldCounter(value=0)])
    add_one, add_ten = [Write(0, FoldCounter(value=1))], [Write(0, FoldCounter(value=10))]
    folded = fold(state, add_one, add_ten)
    assert column(folded, "foldcounter__value") == [10]
    assert folded.conflicts == (Conflict(0, "FoldCounter", None, ("p0", "p1"), "last", ("p1",), 1, (0,)),)
    assert not folded.conflicts[0].is_resolved_by_rule


def test_outputs_are_folded_by_their_index_in_whatever_order_they_come():
    state = state_of([FoldCounter(value=0)])
    outputs = [
        Output(index, f"p{index}", operations=[Write(0, FoldCounter(value=index))]) for index in (7, 9, 8)
    ]
    folded = fold_group(state, outputs, 100)
    assert column(folded, "foldcounter__value") == [9]
    assert folded.conflicts[0].writers == ("p7", "p8", "p9")
    assert dict(folded.cell_counts) == {7: 1, 8: 1, 9: 1}


def test_writers_of_different_fields_do_not_meet():
    state = state_of([FoldScore(points=1, best=1.0)])
    folded = fold(
        state, [written(state, "foldscore__points", [5])], [written(state, "foldscore__best", [2.0])]
    )
    assert (column(folded, "foldscore__points"), column(folded, "foldscore__best")) == ([5], [2.0])
    assert folded.conflicts == ()


def test_a_component_that_is_one_unit_is_written_whole():
    state = state_of([FoldPair(x=1, y=2)], [FoldPair(x=3, y=4)])
    folded = fold(
        state, [written(state, "foldpair__x", [10, 30])], [written(state, "foldpair__y", [20], rows=[0])]
    )
    assert (column(folded, "foldpair__x"), column(folded, "foldpair__y")) == ([1, 30], [20, 4])
    assert folded.conflicts == (Conflict(0, "FoldPair", None, ("p0", "p1"), "last", ("p1",), 1, (0,)),)
    assert dict(folded.cell_counts) == {0: 4, 1: 2}


def test_the_fields_of_a_unit_that_one_processor_writes_in_any_form_stay_together():
    state = state_of([FoldPair(x=1, y=2)])
    writes = [
        written(state, "foldpair__x", [5]),
        written(state, "foldpair__y", [1], is_delta=True),
        written(state, "foldpair__y", [7]),
    ]
    folded = fold(state, writes)
    assert (column(folded, "foldpair__x"), column(folded, "foldpair__y")) == ([5], [8])


def test_a_conflict_is_told_by_field_where_fields_were_met_in_different_cells():
    state = state_of([FoldScore()], [FoldScore()])
    both = [written(state, "foldscore__points", [1, 1]), written(state, "foldscore__best", [1.0, 1.0])]
    folded = fold(state, both, [written(state, "foldscore__points", [2], rows=[1])])
    assert folded.conflicts == (
        Conflict(0, "FoldScore", "points", ("p0", "p1"), "sum", ("p0", "p1"), 1, (1,)),
    )
    assert column(folded, "foldscore__points") == [1, 3]


def test_a_delta_after_anothers_write_loses_nothing_but_a_write_after_anothers_delta_does():
    state = state_of([FoldCounter(value=10)])
    delta, plain = [Write(0, FoldCounter(value=1), is_delta=True)], [Write(0, FoldCounter(value=5))]
    kept = fold(state, plain, delta)
    assert column(kept, "foldcounter__value") == [6]
    assert (kept.conflicts[0].resolution, kept.conflicts[0].winners) == ("sum", ("p0", "p1"))
    lost = fold(state, delta, plain, delta)
    assert column(lost, "foldcounter__value") == [6]
    assert (lost.conflicts[0].resolution, lost.conflicts[0].winners) == ("last", ("p1", "p2"))


def test_a_write_that_undoes_anothers_after_a_delta_of_its_own_is_a_loss():
    state = state_of([FoldCounter(value=10)])
    own = [Write(0, FoldCounter(value=1), is_delta=True), Write(0, FoldCounter(value=7))]
    folded = fold(state, [Write(0, FoldCounter(value=5))], own)
    assert (folded.conflicts[0].resolution, folded.conflicts[0].winners) == ("last", ("p1",))


def test_a_conflict_names_the_first_few_entities_and_counts_all():
    count = NAMED_ENTITIES_MAX + 5
    state = state_of(*[[FoldScore()] for _ in range(count)])
    every = [written(state, "foldscore__points", [1] * count)]
    (conflict,) = fold(state, every, every).conflicts
    assert (conflict.entity_count, conflict.entity_ids) == (count, tuple(range(NAMED_ENTITIES_MAX)))


def test_a_write_of_a_whole_column_becomes_the_column_and_all_else_stays_the_same_object():
    moved, still = table_of([FoldScore(), FoldName(text="a")]), table_of([FoldCounter()], first_id=5)
    state = WorldState.of([moved, still])
    values = pa.array([9])
    folded = fold(state, [written(state, "foldscore__points", values)])
    table = folded.state.tables[moved.archetype.archetype_id]
    assert table.array("foldscore__points") is values
    for name in ("entity_id", "foldscore__best", "foldname__text"):
        assert table.array(name) is moved.array(name)
    assert folded.state.tables[still.archetype.archetype_id] is still


@pytest.mark.parametrize(
    "part",
    [
        [],
        [Write(99, FoldCounter()), Despawn(99), Remove(99, FoldCounter), Remove(0, FoldName)],
        [Write(provisional_id(1, 0), FoldCounter())],
    ],
    ids=["nothing", "what is not there", "another's provisional id"],
)
def test_without_an_effective_write_the_state_is_the_same_object(part):
    state = state_of([FoldCounter(value=1)])
    folded = fold(state, part)
    assert folded.state is state
    assert dict(folded.dropped_counts) == {0: len(part)}
    assert (dict(folded.cell_counts), folded.tombstones) == ({0: 0}, {})


def test_a_component_is_added_taken_away_and_added_afresh():
    state = state_of([FoldScore(points=1), FoldName(text="a")], [FoldScore(points=2), FoldName(text="b")])
    folded = fold(
        state,
        [Write(0, FoldScore(points=5)), Write(1, FoldCounter(value=3))],
        [Remove(0, FoldScore)],
        [Write(0, FoldScore(points=7)), Remove(1, FoldName)],
    )
    assert folded.state.find(0)[1]["foldscore__points"] == 7
    assert folded.state.find(0)[1]["foldname__text"] == "a"
    archetype, row = folded.state.find(1)
    assert archetype.components == ("FoldCounter", "FoldScore")
    assert (row["foldcounter__value"], row["foldscore__points"]) == (3, 2)
    assert folded.conflicts == ()


def test_two_components_of_one_prefix_are_refused():
    state = state_of([FoldName(text="a")])
    with pytest.raises(ComponentError, match="share the column prefix"):
        fold(state, [Write(0, Foldname(other="b"))])


def test_a_tombstone_has_what_was_written_before_the_end_and_later_writes_are_dropped():
    state = state_of([FoldScore(points=1), FoldName(text="a")], [FoldScore(points=2), FoldName(text="b")])
    folded = fold(
        state,
        [Write(0, FoldScore(points=5)), Write(0, FoldCounter(value=9))],
        [Despawn(0)],
        [Despawn(0), Write(0, FoldScore(points=6)), written(state, "foldscore__points", [7, 8])],
    )
    (tombstone,) = folded.tombstones.values()
    assert tombstone.rows.to_pylist() == [
        {"entity_id": 0, "foldcounter__value": 9}
        | {"foldname__text": "a", "foldscore__points": 5, "foldscore__best": 0.0}
    ]
    assert column(folded, "foldscore__points") == [8]
    assert (dict(folded.ended_counts), dict(folded.dropped_counts)) == (
        {0: 0, 1: 1, 2: 0},
        {0: 0, 1: 0, 2: 3},
    )


def test_rows_of_a_frame_end_after_its_writes():
    state = state_of(*[[FoldCounter(value=each)] for each in range(4)])
    key = next(iter(state.tables))
    first = Output(
        0, "p0", [written(state, "foldcounter__value", [5, 6], rows=[1, 2])], {key: np.array([1, 3])}
    )
    again = Output(1, "p1", [written(state, "foldcounter__value", [7, 7], rows=[0, 1])], {key: np.array([1])})
    folded = fold_group(state, [first, again], 100)
    assert [row["foldcounter__value"] for row in folded.tombstones[key].rows.to_pylist()] == [5, 3]
    assert column(folded, "foldcounter__value") == [7, 6]
    assert (dict(folded.ended_counts), dict(folded.dropped_counts)) == ({0: 2, 1: 0}, {0: 0, 1: 1})
    gone = fold_group(state, [Output(0, "p0", ended={key: np.arange(4)})], 100)
    assert (gone.state.tables, gone.tombstones[key].row_count) == ({}, 4)


def test_spawned_entities_get_real_ids_wherever_they_are_named():
    state = state_of([FoldLinks(one=FIRST_PROVISIONAL_ID, many=None, edge=None, both=(0, 0), text="base")])
    first, second = provisional_id(1, 0), provisional_id(1, 1)
    unknown = provisional_id(9, 9)
    links = FoldLinks(one=second, many=[1, first, unknown], edge=FoldEdge(to=first), both=(second, 2))
    folded = fold(
        state,
        [Spawn(provisional_id(0, 0), (FoldCounter(value=1),)), Despawn(provisional_id(0, 0))],
        [
            Spawn(first, (links,)),
            Spawn(second, (FoldCounter(value=2),)),
            Write(second, FoldCounter(value=3)),
            written(state, "foldlinks__many", [[second]]),
        ],
    )
    assert folded.state.find(0)[1]["foldlinks__one"] == FIRST_PROVISIONAL_ID
    assert folded.state.find(0)[1]["foldlinks__many"] == [102]
    row = folded.state.find(101)[1]
    assert (row["foldlinks__one"], row["foldlinks__many"]) == (102, [1, 101, unknown])
    assert (row["foldlinks__edge"], row["foldlinks__both"]) == ({"to": 101}, [102, 2])
    assert folded.state.find(102)[1]["foldcounter__value"] == 3
    assert folded.state.find(100) is None
    assert folded.tombstones == {}
    assert (dict(folded.spawned_counts), dict(folded.ended_counts)) == ({0: 1, 1: 2}, {0: 1, 1: 0})


def test_what_an_entity_is_spawned_with_counts_as_stored():
    new = provisional_id(0, 0)
    spawn = Spawn(new, (FoldScore(points=10, best=9.0),))
    plain = fold(WorldState.empty(), [spawn, Write(new, FoldScore(points=1))])
    assert plain.state.find(100)[1]["foldscore__points"] == 1
    delta = fold(WorldState.empty(), [spawn, Write(new, FoldScore(points=1), is_delta=True)])
    assert delta.state.find(100)[1] == {"entity_id": 100, "foldscore__points": 11, "foldscore__best": 9.0}
    assert dict(delta.cell_counts) == {0: 2}


def test_an_entity_spawned_with_two_components_of_one_type_is_refused():
    with pytest.raises(InvalidInputError, match="two components of one type"):
        fold(WorldState.empty(), [Spawn(provisional_id(0, 0), (FoldCounter(), FoldCounter()))])


def test_a_column_write_reaches_a_component_that_was_added_again():
    state = state_of([FoldScore(points=1)], [FoldScore(points=2)])
    renewed = [Remove(0, FoldScore), Write(0, FoldScore(points=10))]
    folded = fold(state, renewed, [written(state, "foldscore__points", [5, 6])])
    assert column(folded, "foldscore__points") == [15, 6]
    assert folded.conflicts[0].entity_ids == (0,)


def changed_class():
    class FoldChanged(Component):
        old: int

    held = FoldChanged(old=1)
    state = state_of([held])

    class FoldChanged(Component):
        new: float

    return state, FoldChanged


def test_a_write_replaces_a_component_of_other_fields_but_a_delta_cannot():
    state, kind = changed_class()
    folded = fold(state, [Write(0, kind(new=2.0))], [written(state, "foldchanged__old", [3])])
    assert folded.state.find(0)[1] == {"entity_id": 0, "foldchanged__new": 2.0}
    assert dict(folded.dropped_counts) == {0: 0, 1: 1}
    with pytest.raises(InvalidInputError, match="other fields than the class has now"):
        fold(state, [Write(0, kind(new=2.0), is_delta=True)])


MISFITS = {
    "delta of text": (
        lambda s: [Write(0, FoldName(text="b"), is_delta=True)],
        r"FoldName\.text takes no Delta",
    ),
    "delta without a field": (
        lambda s: [written(s, "foldtallies__a", [1], is_delta=True)],
        r"lacks values of FoldTallies\.b",
    ),
    "null": (lambda s: [written(s, "foldname__text", [None])], "foldname__text has 1 nulls"),
    "type": (lambda s: [written(s, "foldname__text", pa.array([1]))], "foldname__text is int64, not string"),
    "overflow": (
        lambda s: [Write(0, FoldScore(points=2**62)), Write(0, FoldScore(points=2**62))],
        r"FoldScore\.points: the sum of its writes does not fit int64",
    ),
    "other class": (
        lambda s: [Write(0, FoldWrong(value=1))] * 2,
        "gave a FoldCounter; it must give a FoldWrong",
    ),
}


class FoldTallies(Component):
    a: int
    b: int

    def __combine__(self, other: "FoldTallies") -> "FoldTallies":
        return FoldTallies(a=self.a + other.a, b=self.b + other.b)


@pytest.mark.parametrize(("part", "message"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_refused(part, message):
    state = state_of([FoldName(text="a"), FoldScore(), FoldTallies(a=0, b=0), FoldWrong(value=0)])
    with pytest.raises(InvalidInputError, match=message):
        fold(state, part(state))
