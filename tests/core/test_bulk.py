import contextlib
import datetime as dt
import enum
import uuid
from typing import Annotated, Literal

import daft
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from archetype.core.archetype import Archetype
from archetype.core.arrow_types import Vector
from archetype.core.bulk import (
    batch_from_components,
    batch_from_frame,
    check_spawn_batch,
    check_update_batch,
    decode_batch,
    encode_batch,
    split_batch,
)
from archetype.core.component import Component
from archetype.errors import InvalidInputError, LimitExceededError


class BulkKind(enum.Enum):
    A = "a"
    B = "b"


class BulkPos(Component):
    x: float
    y: float = 2.5


class BulkBody(Component):
    mass: Annotated[int, Field(ge=0, lt=100)]
    name: str | None = Field(default=None, max_length=3)


class BulkTag(Component):
    pass


class BulkRich(Component):
    kind: BulkKind
    pick: Literal[1, 2]
    uid: uuid.UUID
    when: dt.datetime
    vec: Annotated[list[float], Vector(2, "float32")]
    items: list[int]
    tags: list[str] = Field(default_factory=list)
    odd__name: float = 0.0


class BulkInside(BaseModel):
    level: Annotated[int, Field(le=9)] = 0
    kinds: list[BulkKind] = []


class BulkNested(Component):
    kinds: list[BulkKind] = Field(default_factory=list)
    least: Annotated[int, Field(ge=0)] | None = None
    leasts: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    pair: tuple[BulkKind, BulkKind] = (BulkKind.A, BulkKind.B)
    picks: list[list[Literal[1, 2]]] = Field(default_factory=list)
    uids: list[uuid.UUID | None] = Field(default_factory=list)
    vec: Annotated[list[float], Vector(2, "float32")] | None = None
    vecs: list[Annotated[list[float], Vector(2, "float32")]] = Field(default_factory=list)
    inside: BulkInside = BulkInside()
    insides: list[BulkInside] = Field(default_factory=list)
    when: dt.datetime | None = None
    whens: list[dt.datetime] = Field(default_factory=list)


def rich(i):
    return BulkRich(
        kind=BulkKind.A,
        pick=1,
        uid=uuid.UUID(int=i),
        when=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        vec=[1.0, float(i)],
        items=list(range(i)),
    )


optional_pos = st.one_of(
    st.none(), st.builds(BulkPos, x=st.floats(allow_nan=False), y=st.floats(allow_nan=False))
)
optional_body = st.one_of(
    st.none(), st.builds(BulkBody, mass=st.integers(0, 99), name=st.none() | st.text(max_size=3))
)
optional_tag = st.one_of(st.none(), st.just(BulkTag()))
entity = st.tuples(optional_pos, optional_body, optional_tag).map(lambda t: [c for c in t if c is not None])


@given(st.lists(entity, min_size=1, max_size=30).filter(any))
def test_components_survive_the_whole_way_through_a_batch(rows):
    batch = decode_batch(encode_batch(check_spawn_batch(batch_from_components(rows))))
    seen = {}
    for archetype, table in split_batch(batch, 100):
        assert table.schema == archetype.table_schema
        for row in table.to_pylist():
            seen[row.pop("entity_id")] = (archetype, row)
    expected = {}
    for index, components in enumerate(rows):
        values = {k: v for component in components for k, v in component.to_row_dict().items()}
        expected[100 + index] = (Archetype.of(type(c) for c in components), values)
    assert seen == expected


def test_special_values_survive_a_batch():
    batch = check_spawn_batch(batch_from_components([[rich(1)], [rich(2)]]))
    [(archetype, rows)] = split_batch(batch, 1)
    assert archetype == Archetype.of([BulkRich])
    assert rows.to_pylist()[1] == {"entity_id": 2, **rich(2).to_row_dict()}


def test_every_kind_of_frame_is_taken():
    columns = {"bulkpos__x": [1.0, 2.0], "bulkpos__y": [3.0, float("nan")], "bulkbody__mass": [1, 2]}
    arrow = pa.table(columns)
    expected = encode_batch(check_spawn_batch(arrow))
    frames = [
        arrow,
        arrow.to_batches()[0],
        daft.from_pydict(columns),
        pd.DataFrame(columns),
        pl.DataFrame(columns),
    ]
    for frame in [*frames, pl.DataFrame(columns).lazy()]:
        assert encode_batch(check_spawn_batch(batch_from_frame(frame))) == expected
    with pytest.raises(InvalidInputError, match="pyarrow Table"):
        batch_from_frame([1, 2])


def test_strings_of_other_libraries_are_taken():
    for frame in (
        pl.DataFrame({"bulkbody__mass": [1, 2], "bulkbody__name": ["a", None]}),
        pl.DataFrame(
            {"bulkbody__mass": [1, 2], "bulkbody__name": pl.Series(["a", None], dtype=pl.Categorical)}
        ),
        pd.DataFrame({"bulkbody__mass": [1, 2], "bulkbody__name": ["a", None]}),
    ):
        checked = check_spawn_batch(batch_from_frame(frame))
        assert checked.column("bulkbody__name").to_pylist() == ["a", None]
        assert checked.schema.field("bulkbody__name").type == pa.string()


def test_defaults_fill_missing_columns_and_order_is_normal():
    table = pa.table({"bulkpos__x": pa.array([1, 2], pa.int32()), "bulkbody__mass": [5, 6]})
    checked = check_spawn_batch(table)
    assert checked.column_names == ["bulkbody__mass", "bulkbody__name", "bulkpos__x", "bulkpos__y"]
    assert checked.to_pylist()[1] == {
        "bulkbody__mass": 6,
        "bulkbody__name": None,
        "bulkpos__x": 2.0,
        "bulkpos__y": 2.5,
    }
    assert check_spawn_batch(checked) == checked


BAD_SPAWNS = [
    ({"bulkpos__x": [1.0, None]}, "bulkpos__x", "null in 1 rows"),
    ({"bulkpos__y": [1.0]}, "bulkpos__x", "no default"),
    ({"bulkpos__x": [1.0], "bulkpos__q": [1.0]}, "bulkpos__q", "no loaded component"),
    ({"bulkpos__x": ["1.0"]}, "bulkpos__x", "not double"),
    ({"bulkpos__x": [True]}, "bulkpos__x", "not double"),
    ({"bulkbody__mass": [1.5]}, "bulkbody__mass", "truncated"),
    pytest.param(
        {"bulkbody__mass": pa.array([2**64 - 1], pa.uint64())}, "bulkbody__mass", "not in range", id="uint64"
    ),
    ({"bulkbody__mass": [-1, 5, -2]}, "bulkbody__mass", "ge=0 in 2 rows"),
    ({"bulkbody__mass": [100]}, "bulkbody__mass", "lt=100 in 1 rows"),
    ({"bulkbody__mass": [1], "bulkbody__name": ["long"]}, "bulkbody__name", "max_length=3"),
    ({"bulktag__": [1]}, "bulktag__", "true or false"),
    ({"bulktag__": [False]}, "bulktag__", "false in every row"),
    ({"bulkpos__": [True, False], "bulkpos__x": [1.0, 2.0]}, "bulkpos__x", "1 rows where"),
    ({"bulkpos__": [True, False], "bulkpos__x": [None, None]}, "bulkpos__x", "1 rows, but"),
    ({"entity_id": [1], "bulkpos__x": [1.0]}, "entity_id", "no loaded component"),
]


@pytest.mark.parametrize(("columns", "path", "message"), BAD_SPAWNS, ids=str)
def test_a_bad_spawn_column_is_named(columns, path, message):
    if "bulkpos__x" in columns and columns["bulkpos__x"] == [None, None]:
        columns = columns | {"bulkpos__x": pa.array([None, None], pa.float64())}
    with pytest.raises(InvalidInputError) as caught:
        check_spawn_batch(pa.table(columns))
    found = {fault["path"]: fault["message"] for fault in caught.value.faults}
    assert message in found[path]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("kind", ["c"]),
        ("pick", [3]),
        ("uid", ["nope"]),
        ("vec", [[1.0]]),
        ("vec", [[1e39, 0.0]]),
        ("items", [[1, None]]),
        ("when", ["2020-01-01"]),
    ],
    ids=str,
)
def test_special_columns_are_held_to_their_field(column, values):
    good = check_spawn_batch(batch_from_components([[rich(1)]]))
    name = f"bulkrich__{column}"
    bad = good.set_column(good.column_names.index(name), name, pa.array(values))
    with pytest.raises(InvalidInputError) as caught:
        check_spawn_batch(bad)
    assert [fault["path"] for fault in caught.value.faults] == [name]


FAR = pa.array([2**62], pa.timestamp("us", "UTC"))
LONG_AGO = pa.array([-(2**62)], pa.timestamp("us", "UTC"))
BAD_NESTED = [
    ("kinds", [["a", "pink"], None, ["b"], ["pink"]], "is none of ['a', 'b'] in 2 rows"),
    ("least", [-5, None, 0], "breaks ge=0 in 1 rows"),
    ("leasts", [[-5, -6], [1]], "breaks ge=0 in 1 rows"),
    ("pair", [["a", "pink"], ["a", "b"]], "is none of ['a', 'b'] in 1 rows"),
    ("picks", [[[1], [3]], [[], [2]]], "is none of [1, 2] in 1 rows"),
    ("uids", [[None, "nope"]], "is not a lower-case UUID in 1 rows"),
    ("vec", [[1e300, 0.0], None], "outside the range of a 32-bit float"),
    ("vecs", [[[0.0, 1e300]]], "outside the range of a 32-bit float"),
    ("inside", [{"level": 10, "kinds": ["a"]}], "breaks le=9 in 1 rows"),
    ("inside", [{"level": 1, "kinds": ["pink"]}], "is none of ['a', 'b'] in 1 rows"),
    ("insides", [[], [{"level": 9, "kinds": []}, {"level": 10, "kinds": []}]], "breaks le=9 in 1 rows"),
    ("when", FAR, "is outside of the years 1 to 9999 in 1 rows"),
    ("when", LONG_AGO, "is outside of the years 1 to 9999 in 1 rows"),
    (
        "whens",
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), FAR),
        "is outside of the years 1 to 9999 in 1 rows",
    ),
]


@pytest.mark.parametrize(("column", "values", "message"), BAD_NESTED, ids=str)
@pytest.mark.parametrize("is_update", [False, True])
def test_what_a_nested_mark_refuses_is_refused_in_a_batch_too(column, values, message, is_update):
    name = f"bulknested__{column}"
    values = values if isinstance(values, pa.Array) else pa.array(values)
    if not BulkNested.get_prefixed_schema().field(name).nullable:
        values = values.drop_null()
    columns = {name: values} | ({"entity_id": list(range(len(values)))} if is_update else {})
    with pytest.raises(InvalidInputError) as caught:
        (check_update_batch if is_update else check_spawn_batch)(pa.table(columns))
    assert [fault["path"] for fault in caught.value.faults] == [name]
    assert message in caught.value.faults[0]["message"]


class BulkRights(enum.IntFlag):
    READ = 1
    WRITE = 2


class BulkGuarded(Component):
    rights: BulkRights = BulkRights.READ


def test_flags_may_be_several():
    """Their values are more than those of their members, one by one and in a batch."""
    batch = check_spawn_batch(pa.table({"bulkguarded__rights": [1, 3]}))
    one = BulkGuarded(rights=BulkRights.READ | BulkRights.WRITE)
    assert batch.column("bulkguarded__rights").to_pylist() == [1, one.to_payload()["rights"]]


def refused_one_by_one(values):
    """Say of each value whether its class refuses it."""
    for value in values:
        try:
            BulkNested.from_payload({"type": "BulkNested", **value})
        except InvalidInputError:
            yield True
        else:
            yield False


nested_values = st.fixed_dictionaries(
    {
        "kinds": st.lists(st.sampled_from(["a", "b", "c"]), max_size=2),
        "least": st.none() | st.integers(-1, 5),
        "leasts": st.lists(st.integers(-1, 9), max_size=2),
        "picks": st.lists(st.lists(st.integers(1, 3), max_size=2), max_size=2),
        "insides": st.lists(
            st.fixed_dictionaries(
                {"level": st.integers(8, 10), "kinds": st.lists(st.sampled_from("abc"), max_size=1)}
            ),
            max_size=2,
        ),
    }
)


@given(st.lists(nested_values, min_size=1, max_size=6))
def test_a_batch_is_refused_where_one_of_its_rows_would_be(values):
    """Of each field, in as many rows as there are rows whose value of it the class refuses."""
    schema = BulkNested.get_prefixed_schema()
    for name in values[0]:
        column = pa.array([value[name] for value in values], schema.field(f"bulknested__{name}").type)
        plan = next(each for each in BulkNested.layout().fields if each.name == name)
        rows = set()
        for _, broken in plan.constraints.broken(column):
            rows |= set(broken.tolist())
        refused = list(refused_one_by_one([{name: value[name]} for value in values]))
        assert rows == {row for row, is_refused in enumerate(refused) if is_refused}


def test_a_row_with_one_component_twice_is_refused():
    with pytest.raises(InvalidInputError, match="two components"):
        batch_from_components([[BulkPos(x=1), BulkPos(x=2)]])


def test_an_update_takes_some_columns_and_fills_nothing_in():
    checked = check_update_batch(pa.table({"bulkpos__y": [1, 2], "entity_id": pa.array([9, 3], pa.int32())}))
    assert checked.column_names == ["entity_id", "bulkpos__y"]
    assert checked.column("entity_id").to_pylist() == [9, 3]


@pytest.mark.parametrize(
    ("columns", "path"),
    [
        ({"bulkpos__y": [1.0]}, "entity_id"),
        ({"entity_id": [1, 1], "bulkpos__y": [1.0, 2.0]}, "entity_id"),
        ({"entity_id": pa.array([1, None]), "bulkpos__y": [1.0, 2.0]}, "entity_id"),
        ({"entity_id": [1]}, "entity_id"),
        ({"entity_id": [1], "bulktag__": [True]}, "bulktag__"),
        ({"entity_id": [1], "bulkpos__y": pa.array([None], pa.float64())}, "bulkpos__y"),
    ],
    ids=range(6),
)
def test_a_bad_update_is_named(columns, path):
    with pytest.raises(InvalidInputError) as caught:
        check_update_batch(pa.table(columns))
    assert caught.value.faults[0]["path"] == path


def test_no_components_at_all():
    with pytest.raises(InvalidInputError, match="no component column"):
        check_spawn_batch(pa.table({}))


@given(st.binary(max_size=200))
def test_garbage_bytes_are_refused(data):
    with pytest.raises(InvalidInputError):
        decode_batch(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_never_crashes(at, value):
    data = bytearray(encode_batch(pa.table({"a": ["x", "yy", None], "b": [1, 2, 3]})))
    data[at % len(data)] = value
    with contextlib.suppress(InvalidInputError, LimitExceededError):
        decode_batch(bytes(data))


def ipc(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_layouts_that_grow_when_read_are_refused():
    table = pa.table({"a": ["x" * 1000] * 1000})
    assert decode_batch(ipc(table)) == table
    for bomb in (
        ipc(table, compression="zstd"),
        ipc(pa.table({"a": table.column("a").dictionary_encode()})),
        ipc(pa.table({"a": table.column("a").dictionary_encode()}), compression="lz4"),
        ipc(table.cast(pa.schema([("a", pa.string_view())]))),
    ):
        with pytest.raises(InvalidInputError):
            decode_batch(bomb)
    with pytest.raises(LimitExceededError):
        decode_batch(ipc(pa.table({"a": np.arange(11)})), row_count_max=10)
