"""Comparing states page by page, against a model that holds every entity as a dict."""

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype.core.archetype import Archetype
from archetype.core.component import Component
from archetype.core.state import ArchetypeTable
from archetype.core.tick import snapshot_rows as rows_with_tombstones
from archetype.log import pages as log_pages
from archetype.service import table_diff
from archetype.service.table_diff import differing_regions, match_entities
from archetype.service.value_diff import compare_values, list_values
from archetype.service.values import json_value
from archetype.store.snapshots import SnapshotRow

PAGE_ROWS = 3


class DiffPlace(Component):
    x: float
    tags: list[str]


class DiffName(Component):
    text: str | None = None


COMPONENTS = {"DiffPlace": DiffPlace, "DiffName": DiffName}

places = st.fixed_dictionaries(
    {
        "x": st.sampled_from([0.0, 1.0, 1.0001, float("nan")]),
        "tags": st.lists(st.sampled_from("ab"), max_size=2),
    }
)
names = st.fixed_dictionaries({"text": st.none() | st.sampled_from(["a", "b"])})
entities = st.fixed_dictionaries({}, optional={"DiffPlace": places, "DiffName": names})


@st.composite
def two_states(draw):
    """Two states that have much in common, each with entities that end in its tick."""
    before = draw(st.dictionaries(st.integers(1, 24), entities, max_size=18))
    after = dict(before)
    for entity_id in draw(st.lists(st.integers(1, 24), max_size=4)):
        after.pop(entity_id, None)
    after |= draw(st.dictionaries(st.integers(1, 26), entities, max_size=4))
    ended = [draw(st.dictionaries(st.integers(1, 26), entities, max_size=3)) for _ in range(2)]
    return (before, ended[0]), (after, ended[1])


def table(members):
    kind = Archetype.of(COMPONENTS[name] for name in next(iter(members.values())))
    columns = {"entity_id": list(members)}
    for column in kind.schema:
        name, field = column.name.split("__")
        component = next(each for each in COMPONENTS if each.lower() == name)
        columns[column.name] = [parts[component][field] for parts in members.values()]
    return ArchetypeTable.of(kind, pa.table(columns, schema=kind.table_schema))


def cut(state):
    """Store a state as small pages; entities that end and are active too are active."""
    active, ended = state
    groups = {}
    for is_active, members in enumerate(({k: v for k, v in ended.items() if k not in active}, active)):
        for entity_id, parts in members.items():
            groups.setdefault(frozenset(parts), ({}, {}))[is_active][entity_id] = parts
    tables, stored = [], {}
    for last_rows, rows in groups.values():
        some = table(rows) if rows else None
        gone = table(last_rows) if last_rows else None
        whole = rows_with_tombstones(some, gone)
        hashes = {}
        for name in whole.column_names:
            found = list(log_pages.array_pages(whole.column(name).combine_chunks()))
            hashes[name] = [page.page_hash for page in found]
            stored |= {page.page_hash: page.data for page in found}
        archetype = (some or gone).archetype
        tables.append(SnapshotRow(archetype, whole.num_rows, len(rows), hashes))
    return sorted(tables, key=lambda each: each.archetype.archetype_id), stored


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(log_pages, "PAGE_ROWS", PAGE_ROWS)
    monkeypatch.setattr(table_diff, "PAGE_ROWS", PAGE_ROWS)


def are_equal(x, y, tolerance):
    if isinstance(x, float) and isinstance(y, float):
        both_nan = math.isnan(x) and math.isnan(y)
        return both_nan or abs(x - y) <= tolerance * max(1, abs(x), abs(y))
    return x == y


def model_values(a, b, tolerance, ids):
    """Which values differ, as (entity id, component, field)."""
    return [
        (entity_id, component, field)
        for entity_id in sorted(ids)
        for component in sorted(a[entity_id].keys() & b[entity_id].keys())
        for field in sorted(a[entity_id][component])
        if not are_equal(a[entity_id][component][field], b[entity_id][component][field], tolerance)
    ]


@given(states=two_states(), tolerance=st.sampled_from([0.0, 0.001]), limit=st.sampled_from([0, 2, 100]))
@settings(max_examples=200)
@pytest.mark.usefixtures("small_pages")
def test_a_diff_is_what_comparing_every_entity_gives(states, tolerance, limit):
    (a, _), (b, _) = states
    (tables_a, stored_a), (tables_b, stored_b) = map(cut, states)
    stored = stored_a | stored_b
    regions = differing_regions(tables_a, tables_b)
    pages = {each: stored[each] for region in regions for each in region.hashes()}
    found = match_entities(regions, pages)
    assert found.added.ids.tolist() == sorted(b.keys() - a.keys())
    assert found.removed.ids.tolist() == sorted(a.keys() - b.keys())
    both = a.keys() & b.keys()
    moved = {each for each in both if a[each].keys() != b[each].keys()}
    assert found.moved_a.ids.tolist() == found.moved_b.ids.tolist() == sorted(moved)
    for index, entity_id in enumerate(found.moved_a.ids.tolist()):
        for side, located in ((a, found.moved_a), (b, found.moved_b)):
            assert located.archetype_name(index) == ("+".join(sorted(side[entity_id])) or "(empty)")
    pages |= {each: stored[each] for each in found.hashes()}
    stayed_values = compare_values(found.stayed, pages, tolerance, limit)
    moved_values = compare_values(found.moved, pages, tolerance, limit)
    expected = model_values(a, b, tolerance, both)
    in_place = [each for each in expected if each[0] not in moved]
    assert stayed_values.entity_count == len({each[0] for each in in_place})
    assert stayed_values.count_by_column.total() == len(in_place)
    assert moved_values.count_by_column.total() == len(expected) - len(in_place)
    listed = list_values([*stayed_values.first, *moved_values.first], limit)
    assert [(each.entity_id, each.component, each.field) for each in listed] == expected[:limit]
    for each in listed:
        values = [side[each.entity_id][each.component][each.field] for side in (a, b)]
        assert [each.value_a, each.value_b] == [json_value(value) for value in values]


@pytest.mark.usefixtures("small_pages")
def test_pages_that_both_have_are_not_asked_for():
    before = {entity_id: {"DiffPlace": {"x": 0.0, "tags": []}} for entity_id in range(1, 13)}
    after = before | {5: {"DiffPlace": {"x": 1.0, "tags": []}}, 13: {"DiffPlace": {"x": 0.0, "tags": []}}}
    (tables_a, stored_a), (tables_b, stored_b) = cut((before, {})), cut((after, {}))
    regions = differing_regions(tables_a, tables_b)
    stored = stored_a | stored_b
    asked = [each for region in regions for each in region.hashes()]
    ids_a, ids_b = (tables[0].pages["entity_id"] for tables in (tables_a, tables_b))
    assert set(asked) == {ids_a[1], ids_b[4]}, "the page of the changed one, and the one that only b has"
    found = match_entities(regions, {each: stored[each] for each in asked})
    x_a, x_b = (tables[0].pages["diffplace__x"] for tables in (tables_a, tables_b))
    assert sorted(found.hashes()) == sorted([x_a[1], x_b[1]])
    assert differing_regions(tables_a, tables_a) == []
