"""The fold of a group, against a model that goes entity by entity and cell by cell through plain dicts."""

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from archetype.core.archetype import Archetype
from archetype.core.combine import Combine
from archetype.core.component import Component
from archetype.core.scheduling.fold import count_spawns, fold_group
from archetype.core.scheduling.records import NAMED_ENTITIES_MAX, Conflict
from archetype.core.scheduling.writes import (
    ColumnWrite,
    Despawn,
    Output,
    Remove,
    Spawn,
    Write,
    provisional_id,
)
from archetype.core.state import ArchetypeTable, WorldState

FIRST_ID = 1000


class LawEdge(BaseModel):
    to: int
    weight: float


class LawGauge(Component):
    level: int
    ratio: float | None


class LawOps(Component):
    total: Annotated[int, Combine("sum")]
    factor: Annotated[int | None, Combine("prod")]
    low: Annotated[float, Combine("min")]
    high: Annotated[float, Combine("max")] | None
    name: Annotated[str, Combine("max")]
    hot: Annotated[bool, Combine("any")]
    cold: Annotated[bool, Combine("all")]
    log: Annotated[list[int] | None, Combine("append")]
    tags: Annotated[list[str], Combine("union")]
    born: Annotated[str | None, Combine("first")]
    seen: Annotated[int | None, Combine("last")]


class LawNotes(Component):
    lines: list[str]
    weight: int

    def __combine__(self, other: "LawNotes") -> "LawNotes":
        return LawNotes(lines=self.lines + other.lines, weight=self.weight * 2 + other.weight)


class LawPair(Component):
    merge_unit = "component"
    x: float
    y: int


class LawLink(Component):
    target: int | None
    others: list[int]
    edge: LawEdge | None
    span: tuple[int, int]
    text: str


class LawTag(Component):
    pass


OPERATIONS = {
    "LawOps": {
        "total": "sum",
        "factor": "prod",
        "low": "min",
        "high": "max",
        "name": "max",
        "hot": "any",
        "cold": "all",
        "log": "append",
        "tags": "union",
        "born": "first",
        "seen": "last",
    }
}
FIELDS = {
    "LawGauge": ["level", "ratio"],
    "LawOps": list(OPERATIONS["LawOps"]),
    "LawNotes": ["lines", "weight"],
    "LawPair": ["x", "y"],
    "LawLink": ["target", "others", "edge", "span", "text"],
    "LawTag": [],
}
KINDS = {kind.__name__: kind for kind in (LawGauge, LawOps, LawNotes, LawPair, LawLink, LawTag)}
ARCHETYPES = [
    Archetype.of(kinds)
    for kinds in ([LawGauge, LawOps], [LawGauge, LawNotes, LawPair], [LawOps, LawNotes, LawPair, LawLink])
]
WITHOUT_DELTA = {"LawLink"}

small = st.integers(-3, 3)
floats = st.sampled_from([0.0, -0.0, 0.1, 0.2, -1.5, math.inf, math.nan])
words = st.sampled_from(["a", "b", "é"])
numbers = small | st.builds(provisional_id, st.integers(0, 5), st.integers(0, 2))
VALUES = {
    "LawGauge": st.builds(LawGauge, level=small, ratio=st.none() | floats),
    "LawOps": st.builds(
        LawOps,
        total=small,
        factor=st.none() | small,
        low=floats,
        high=st.none() | floats,
        name=words,
        hot=st.booleans(),
        cold=st.booleans(),
        log=st.none() | st.lists(numbers, max_size=2),
        tags=st.lists(words, max_size=2),
        born=st.none() | words,
        seen=st.none() | small,
    ),
    "LawNotes": st.builds(LawNotes, lines=st.lists(words, max_size=2), weight=small),
    "LawPair": st.builds(LawPair, x=floats, y=small),
    "LawLink": st.builds(
        LawLink,
        target=st.none() | numbers,
        others=st.lists(numbers, max_size=3),
        edge=st.none() | st.builds(LawEdge, to=numbers, weight=floats),
        span=st.tuples(numbers, numbers),
        text=words,
    ),
    "LawTag": st.builds(LawTag),
}


def fields_of(component):
    """The fields of a component as a column has them."""
    prefix = type(component).get_prefix()
    row = component.to_row_dict()
    arrow = type(component).get_prefixed_schema()
    return {
        column.removeprefix(prefix): pa.array([value], arrow.field(column).type).to_pylist()[0]
        for column, value in row.items()
    }


def rows_of(table):
    """The entities of a table, as {entity: {component: {field: value}}}."""
    entities = {}
    for row in table.rows.to_pylist():
        entities[row["entity_id"]] = {
            component: {name: row[f"{component.lower()}__{name}"] for name in FIELDS[component]}
            for component in table.archetype.components
        }
    return entities


# The model.


def combined(operation, old, new):  # noqa: C901 (one branch per operation)
    if operation in {"first", "last"}:
        return old if operation == "first" else new
    if old is None or new is None:
        return new if old is None else old
    match operation:
        case "sum":
            return old + new
        case "prod":
            return old * new
        case "min" | "max":
            if isinstance(old, float) and math.isnan(old):
                return new
            return new if (new < old if operation == "min" else new > old) else old
        case "any":
            return old or new
        case "all":
            return old and new
        case "append":
            return old + new
        case "union":
            return sorted({*old, *new})


@dataclass
class Counts:
    cells: set = field(default_factory=set)
    spawned: int = 0
    ended: int = 0
    dropped_rows: set = field(default_factory=set)
    dropped_operations: int = 0

    def all(self):
        dropped = len(self.dropped_rows) + self.dropped_operations
        return len(self.cells), self.spawned, self.ended, dropped


class Model:
    """Entities as dicts; `marks` has of each cell of each life of a component who wrote it, in order."""

    def __init__(self, state):
        self.tables = {table.archetype.archetype_id: table for table in state}
        self.entities = {}
        for table in state:
            self.entities |= rows_of(table)
        self.base = {key: dict(value) for key, value in self.entities.items()}
        self.lives = {}
        self.marks = {}
        self.tombstones = {}
        self.counts = {}

    def fold(self, outputs):
        ordered = sorted(outputs, key=lambda output: output.index)
        spawns = [op.entity_id for output in ordered for op in output.operations if isinstance(op, Spawn)]
        self.real = {entity_id: FIRST_ID + place for place, entity_id in enumerate(spawns)}
        for output in ordered:
            self.writer, self.count, self.own = output.index, Counts(), set()
            self.counts[output.index] = self.count
            self.fold_columns(output.columns)
            for archetype_id, rows in output.ended.items():
                for row in rows.tolist():
                    entity = int(self.tables[archetype_id].entity_ids[row])
                    if not self.end(entity):
                        self.count.dropped_rows.add(entity)
            for operation in output.operations:
                self.count.dropped_operations += not self.operate(operation)

    def resolved(self, value):
        match value:
            case bool() | float() | str() | None:
                return value
            case int():
                return self.real.get(value, value)
            case list() | tuple():
                return [self.resolved(item) for item in value]
            case dict():
                return {name: self.resolved(item) for name, item in value.items()}

    def fold_columns(self, writes):
        whole, deltas = {}, []
        for write in writes:
            table = self.tables[write.archetype_id]
            component, name = owner_of(write.column)
            rows = range(table.row_count) if write.rows is None else write.rows.tolist()
            for row, value in zip(rows, write.values.to_pylist(), strict=True):
                entity = int(table.entity_ids[row])
                if component not in self.entities.get(entity, {}):
                    self.count.dropped_rows.add(entity)
                elif component == "LawPair" and write.is_delta:
                    deltas.append((entity, name, self.resolved(value)))
                elif component in {"LawNotes", "LawPair"}:
                    key = (write.is_delta, entity, component)
                    whole.setdefault(key, {})[name] = self.resolved(value)
                else:
                    self.write(entity, component, {name: self.resolved(value)}, write.is_delta)
        for (is_delta, entity, component), values in sorted(whole.items(), key=lambda item: item[0][0]):
            stored = {} if is_delta else self.base[entity][component]
            self.write(entity, component, {**stored, **values}, is_delta)
        for entity, name, value in deltas:
            self.write(entity, "LawPair", {name: value}, True)
            for each in FIELDS["LawPair"]:
                self.mark(entity, "LawPair", each, False)

    def operate(self, operation):
        entity = operation.entity_id
        if isinstance(operation, Spawn):
            self.own.add(entity)
            self.entities[self.real[entity]] = {
                type(each).__name__: self.resolved(fields_of(each)) for each in operation.components
            }
            self.count.spawned += 1
            return True
        if entity in self.own:
            entity = self.real[entity]
        elif entity not in self.base:
            return False
        if entity not in self.entities:
            return False
        match operation:
            case Despawn():
                return self.end(entity)
            case Remove(kind=kind):
                self.lives[entity, kind.__name__] = self.lives.get((entity, kind.__name__), 0) + 1
                return self.entities[entity].pop(kind.__name__, None) is not None
            case Write(component=component, is_delta=is_delta):
                name, values = type(component).__name__, self.resolved(fields_of(component))
                if name in self.entities[entity]:
                    self.write(entity, name, values, is_delta)
                    return True
                self.entities[entity][name] = values
                for each in values:
                    self.mark(entity, name, each, False)
                return True

    def end(self, entity):
        if entity not in self.entities:
            return False
        row = self.entities.pop(entity)
        if entity in self.base:
            self.tombstones[entity] = row
        self.count.ended += 1
        return True

    def write(self, entity, component, values, is_delta):
        held = dict(self.entities[entity][component])
        self.entities[entity][component] = held
        if component == "LawNotes":
            if is_delta or self.marked(entity, component, "lines"):
                held["lines"] = held["lines"] + values["lines"]
                held["weight"] = held["weight"] * 2 + values["weight"]
            else:
                held.update(values)
            for name in held:
                self.mark(entity, component, name, False)
            return
        for name, value in values.items():
            operation = OPERATIONS.get(component, {}).get(name)
            if is_delta:
                operation = operation or "sum"
            replaces = operation in {None, "last"}
            if not replaces and (is_delta or self.marked(entity, component, name)):
                held[name] = combined(operation, held[name], value)
            else:
                held[name] = value
            self.mark(entity, component, name, replaces)

    def cell(self, entity, component, name):
        return entity, component, name, self.lives.get((entity, component), 0)

    def marked(self, entity, component, name):
        return self.cell(entity, component, name) in self.marks

    def mark(self, entity, component, name, replaces):
        cell = self.cell(entity, component, name)
        self.count.cells.add(cell)
        self.marks.setdefault(cell, []).append((self.writer, replaces))

    def conflicts(self):
        found = {}
        for (entity, component, name, _), marks in self.marks.items():
            if len({writer for writer, _ in marks}) < 2:
                continue
            record = found.setdefault((component, name), (set(), set(), set(), []))
            record[0].add(entity)
            record[1].update(writer for writer, _ in marks)
            last = max((place for place, (_, replaces) in enumerate(marks) if replaces), default=0)
            record[2].update(writer for writer, _ in marks[last:])
            lost = any(replaces and {w for w, _ in marks[:n]} - {w} for n, (w, replaces) in enumerate(marks))
            record[3].append(lost)
        conflicts = {}
        for (component, name), (entities, writers, standing, lost) in found.items():
            resolution = OPERATIONS.get(component, {}).get(name, "sum")
            resolution = "combine" if component == "LawNotes" else resolution
            resolution = "last" if any(lost) else resolution
            conflicts.setdefault(component, {})[name] = (
                Conflict(
                    group=0,
                    component=component,
                    field=name,
                    writers=tuple(f"p{each}" for each in sorted(writers)),
                    resolution=resolution,
                    winners=tuple(f"p{each}" for each in sorted(standing if any(lost) else writers)),
                    entity_count=len(entities),
                    entity_ids=tuple(sorted(entities)[:NAMED_ENTITIES_MAX]),
                ),
                frozenset(entities),
            )
        for component, fields in conflicts.items():
            alike = {(replace(conflict, field=None), entities) for conflict, entities in fields.values()}
            if len(alike) == 1 and set(fields) == set(FIELDS[component]):
                yield next(iter(alike))[0]
            else:
                yield from (conflict for conflict, _ in fields.values())


def owner_of(column):
    prefix, _, name = column.partition("__")
    return next(each for each in KINDS if each.lower() == prefix), name


# What is folded.


@st.composite
def states(draw):
    tables, next_id = [], 0
    for archetype in draw(st.lists(st.sampled_from(ARCHETYPES), unique=True, min_size=1, max_size=3)):
        count = draw(st.integers(1, 4))
        columns = [pa.array(range(next_id, next_id + count))]
        for component in archetype.components:
            held = draw(st.lists(VALUES[component], min_size=count, max_size=count))
            columns.extend(KINDS[component].layout().columns_of(held).values())
        tables.append(ArchetypeTable.from_arrays(archetype, columns))
        next_id += count
    return WorldState.of(tables)


@st.composite
def column_writes(draw, table):
    component = draw(st.sampled_from(table.archetype.components))
    count = table.row_count
    rows = draw(st.none() | st.sets(st.integers(0, count - 1)).map(sorted))
    is_delta = component not in WITHOUT_DELTA and draw(st.booleans())
    names = st.sets(st.sampled_from(FIELDS[component]), min_size=1)
    wanted = FIELDS[component] if is_delta and component == "LawNotes" else draw(names)
    size = count if rows is None else len(rows)
    held = draw(st.lists(VALUES[component], min_size=size, max_size=size))
    arrays = KINDS[component].layout().columns_of(held)
    indices = None if rows is None else np.array(rows, dtype=np.int64)
    columns = [f"{component.lower()}__{name}" for name in sorted(wanted)]
    key = table.archetype.archetype_id
    return [ColumnWrite(key, column, indices, arrays[column], is_delta) for column in columns]


@st.composite
def operations(draw, index, entity_ids):
    asked, spawned = [], 0
    for _ in range(draw(st.integers(0, 5))):
        own = st.integers(0, 2).map(lambda ordinal: provisional_id(index, ordinal))
        entity = draw(st.sampled_from(entity_ids) | own | st.just(777))
        component = draw(st.sampled_from(sorted(KINDS)))
        match draw(st.sampled_from(["write", "write", "write", "delta", "remove", "spawn", "despawn"])):
            case "write":
                asked.append(Write(entity, draw(VALUES[component])))
            case "delta" if component not in WITHOUT_DELTA:
                asked.append(Write(entity, draw(VALUES[component]), is_delta=True))
            case "remove":
                asked.append(Remove(entity, KINDS[component]))
            case "despawn":
                asked.append(Despawn(entity))
            case "spawn":
                names = draw(st.lists(st.sampled_from(sorted(KINDS)), unique=True, max_size=2))
                components = tuple(draw(VALUES[name]) for name in names)
                asked.append(Spawn(provisional_id(index, spawned), components))
                spawned += 1
    return asked


@st.composite
def groups(draw):
    state = draw(states())
    entity_ids = [entity for table in state for entity in table.entity_ids.tolist()]
    outputs = []
    for index in draw(st.lists(st.integers(0, 5), unique=True, min_size=1, max_size=5)):
        writes = draw(
            st.lists(st.sampled_from(list(state)).flatmap(column_writes), max_size=3).map(
                lambda parts: [write for part in parts for write in part]
            )
        )
        ended = {}
        for table in state:
            rows = draw(st.just([]) | st.sets(st.integers(0, table.row_count - 1), max_size=2).map(sorted))
            if rows:
                ended[table.archetype.archetype_id] = np.array(rows, dtype=np.int64)
        asked = draw(operations(index, entity_ids))
        outputs.append(Output(index, f"p{index}", writes, ended, asked))
    return state, outputs


def spelled(folded):
    """All that a fold says, in a form in which NaN equals NaN and 0.0 is not -0.0."""
    state, tombstones = {}, {}
    for table in folded.state:
        state |= rows_of(table)
    for archetype_id, table in folded.tombstones.items():
        assert archetype_id == table.archetype.archetype_id
        assert bool(np.all(np.diff(table.entity_ids) > 0))
        tombstones |= rows_of(table)
    counts = {
        index: tuple(
            each[index]
            for each in (
                folded.cell_counts,
                folded.spawned_counts,
                folded.ended_counts,
                folded.dropped_counts,
            )
        )
        for index in folded.cell_counts
    }
    return {
        "state": repr(sorted_deeply(state)),
        "tombstones": repr(sorted_deeply(tombstones)),
        "conflicts": sorted(map(repr, folded.conflicts)),
        "counts": dict(sorted(counts.items())),
    }


def sorted_deeply(entities):
    return {
        key: {component: sorted(fields.items()) for component, fields in sorted(entities[key].items())}
        for key in sorted(entities)
    }


@st.composite
def crowded(draw):
    """Processors that all write all columns of one component, of some of the rows."""
    table = next(iter(draw(states())))
    component = draw(st.sampled_from(table.archetype.components))
    rows = st.sets(st.integers(0, table.row_count - 1), min_size=1).map(sorted)
    outputs = []
    for index in range(draw(st.integers(2, 4))):
        where = np.array(draw(rows), dtype=np.int64)
        is_delta = component not in WITHOUT_DELTA and draw(st.booleans())
        held = draw(st.lists(VALUES[component], min_size=len(where), max_size=len(where)))
        key = table.archetype.archetype_id
        arrays = KINDS[component].layout().columns_of(held)
        writes = [ColumnWrite(key, column, where, array, is_delta) for column, array in arrays.items()]
        outputs.append(Output(index, f"p{index}", writes))
    return WorldState.of([table]), outputs


@given(groups() | crowded())
@settings(max_examples=200)
def test_a_fold_gives_what_a_walk_through_every_cell_gives(group):
    state, outputs = group
    model = Model(state)
    model.fold(outputs)
    folded = fold_group(state, outputs, FIRST_ID)
    assert spelled(folded) == {
        "state": repr(sorted_deeply(model.entities)),
        "tombstones": repr(sorted_deeply(model.tombstones)),
        "conflicts": sorted(map(repr, model.conflicts())),
        "counts": {index: model.counts[index].all() for index in sorted(model.counts)},
    }
    assert count_spawns(outputs) == sum(folded.spawned_counts.values())
    for key, table in folded.state.tables.items():
        assert key == table.archetype.archetype_id
        assert table.row_count
        assert bool(np.all(np.diff(table.entity_ids) > 0))
        table.rows.validate(full=True)
        assert all(
            column.nullable or not table.array(column.name).null_count for column in table.archetype.schema
        )


def cut(write, places):
    """One column write as several, of parts of its rows."""
    rows = np.arange(len(write.values), dtype=np.int64) if write.rows is None else write.rows
    bounds = [0, *sorted(place % (len(rows) + 1) for place in places), len(rows)]
    return [
        ColumnWrite(write.archetype_id, write.column, rows[a:b], write.values.slice(a, b - a), write.is_delta)
        for a, b in itertools.pairwise(bounds)
    ]


@given(groups(), st.data())
def test_neither_the_order_of_outputs_nor_the_cutting_of_columns_changes_a_bit(group, data):
    state, outputs = group
    whole = fold_group(state, outputs, FIRST_ID)
    pieces = []
    for output in data.draw(st.permutations(outputs)):
        places = data.draw(st.lists(st.integers(0, 4), max_size=2))
        parts = [part for write in output.columns for part in cut(write, places)]
        pieces.append(Output(output.index, output.name, parts, output.ended, output.operations))
    again = fold_group(state, pieces, FIRST_ID)
    assert spelled(again) == spelled(whole)
    assert list(again.state.tables) == list(whole.state.tables)
