import datetime as dt
import enum
import uuid
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from archetype.core.archetype import Archetype
from archetype.core.arrow_types import Vector
from archetype.core.component import Component
from archetype.core.scheduling.objects import ComponentReader, component_class, copied
from archetype.core.state import ArchetypeTable
from archetype.errors import CodeNotLoadedError, TickFailedError


class ObjMood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


class ObjLevel(enum.IntEnum):
    LOW = 1
    HIGH = 2


class ObjAccess(enum.IntFlag):
    READ = 1
    WRITE = 2


class ObjInner(BaseModel):
    count: int
    mood: ObjMood
    when: dt.datetime | None = None


class ObjOuter(BaseModel):
    model_config = ConfigDict(frozen=True)
    uid: uuid.UUID
    inner: ObjInner
    others: list[ObjInner]


class ObjFields(Component):
    flag: bool
    number: int
    real: float
    text: str
    raw: bytes
    when: dt.datetime
    uid: uuid.UUID
    mood: ObjMood
    level: ObjLevel
    rights: ObjAccess
    choice: Literal["a", "b"]
    inner: ObjInner
    outer: ObjOuter
    maybe: float | None
    maybe_uid: uuid.UUID | None
    maybe_inner: ObjInner | None
    items: list[int]
    moods: list[ObjMood]
    maybes: list[dt.datetime | None]
    grid: list[list[float]]
    inners: list[ObjInner]
    pair: tuple[float, float]
    uids: tuple[uuid.UUID, uuid.UUID]
    vector: Annotated[list[float], Vector(3)]
    small: Annotated[list[float], Vector(2, "float32")]
    maybe_vector: Annotated[list[float], Vector(2)] | None


class ObjTag(Component):
    pass


class ObjTimed(Component):
    when: dt.datetime


class ObjMooded(Component):
    mood: ObjMood


class ObjList(Component):
    items: list[int]
    inner: ObjInner


class ObjRaw(Component):
    model_config = ConfigDict(use_enum_values=True)
    mood: ObjMood
    moods: list[ObjMood]


class ObjDerived(Component):
    x: float
    twice: float = 0.0

    def model_post_init(self, context):
        self.__dict__["twice"] = self.x * 2


def table_of(*components):
    kind = type(components[0])
    archetype = Archetype.of([kind])
    rows = [{"entity_id": index} | each.to_row_dict() for index, each in enumerate(components)]
    return ArchetypeTable.of(archetype, pa.Table.from_pylist(rows, schema=archetype.table_schema))


int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
texts = st.text(st.characters(codec="utf-8"), max_size=5)
times = st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=2))])).filter(
    lambda value: dt.datetime(1, 1, 3, tzinfo=dt.UTC) < value < dt.datetime(9999, 12, 29, tzinfo=dt.UTC)
)
moods = st.sampled_from(ObjMood)
inners = st.builds(ObjInner, count=int64s, mood=moods, when=st.none() | times)
fields = st.builds(
    ObjFields,
    flag=st.booleans(),
    number=int64s,
    real=floats,
    text=texts,
    raw=st.binary(max_size=5),
    when=times,
    uid=st.uuids(),
    mood=moods,
    level=st.sampled_from(ObjLevel),
    rights=st.integers(0, 3).map(ObjAccess),
    choice=st.sampled_from(["a", "b"]),
    inner=inners,
    outer=st.builds(ObjOuter, uid=st.uuids(), inner=inners, others=st.lists(inners, max_size=2)),
    maybe=st.none() | floats,
    maybe_uid=st.none() | st.uuids(),
    maybe_inner=st.none() | inners,
    items=st.lists(int64s, max_size=3),
    moods=st.lists(moods, max_size=3),
    maybes=st.lists(st.none() | times, max_size=3),
    grid=st.lists(st.lists(floats, max_size=2), max_size=2),
    inners=st.lists(inners, max_size=2),
    pair=st.tuples(floats, floats),
    uids=st.tuples(st.uuids(), st.uuids()),
    vector=st.lists(floats, min_size=3, max_size=3),
    small=st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=2),
    maybe_vector=st.none() | st.lists(floats, min_size=2, max_size=2),
)


def types_in(value):
    """Give the exact types of a value and of all that it holds."""
    if isinstance(value, BaseModel):
        return type(value), {name: types_in(each) for name, each in vars(value).items()}
    if isinstance(value, (list, tuple)):
        return type(value), [types_in(each) for each in value]
    return type(value)


@given(st.lists(fields, min_size=1, max_size=4), st.data())
def test_every_type_of_field_comes_back_as_it_was(components, data):
    reader = ComponentReader(table_of(*components), ObjFields)
    assert list(reader.read()) == components
    assert [types_in(each) for each in reader.read()] == [types_in(each) for each in components]
    rows = data.draw(st.lists(st.integers(0, len(components) - 1), unique=True))
    assert list(reader.read(np.array(rows, dtype=np.int64))) == [components[row] for row in rows]
    assert [reader.read_one(row) for row in range(len(components))] == components
    assert reader.read_one(0).model_fields_set == set(ObjFields.model_fields)


@given(fields)
def test_a_copy_is_equal_and_shares_nothing_that_can_be_changed(component):
    before = repr(component)
    twin = copied(component)
    assert twin == component
    assert types_in(twin) == types_in(component)
    twin.number = 5
    twin.inner.count = 5
    twin.outer.inner.count = 5
    for each in (twin.items, twin.moods, twin.maybes, twin.inners, twin.grid, twin.outer.others):
        each.clear()
    twin.vector[0] = twin.small[0] = 0.5
    assert repr(component) == before


def test_times_come_back_in_utc():
    when = dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    (read,) = ComponentReader(table_of(ObjTimed(when=when)), ObjTimed).read()
    assert read.when.tzinfo is dt.UTC
    assert read.when.hour == 10


def test_reads_are_new_objects_that_change_nothing():
    reader = ComponentReader(table_of(ObjList(items=[1], inner=ObjInner(count=1, mood=ObjMood.SAD))), ObjList)
    first = reader.read_one(0)
    first.items.append(2)
    first.inner.count = 2
    assert reader.read_one(0) == ObjList(items=[1], inner=ObjInner(count=1, mood=ObjMood.SAD))


def test_components_without_fields_are_as_many_as_rows():
    reader = ComponentReader(table_of(ObjTag(), ObjTag()), ObjTag)
    assert list(reader.read()) == [ObjTag(), ObjTag()]
    assert list(reader.read(np.array([1]))) == [ObjTag()]


def test_a_class_that_keeps_the_values_of_enums_gets_values():
    original = ObjRaw(mood=ObjMood.SAD, moods=[ObjMood.GLAD])
    (read,) = ComponentReader(table_of(original), ObjRaw).read()
    assert read == original
    assert (read.mood, read.moods) == ("sad", ["glad"])


def test_a_class_with_a_post_init_is_made_by_it():
    assert list(ComponentReader(table_of(ObjDerived(x=2.0)), ObjDerived).read()) == [ObjDerived(x=2.0)]


def test_other_columns_than_the_class_has_are_refused():
    archetype = Archetype.from_parts(["ObjTimed"], [["objtimed__when", "string", False]])
    rows = pa.table({"entity_id": [1], "objtimed__when": ["now"]}, schema=archetype.table_schema)
    with pytest.raises(
        TickFailedError, match="ObjTimed holds ObjTimed with other fields than the class"
    ) as caught:
        ComponentReader(ArchetypeTable.of(archetype, rows), ObjTimed)
    assert caught.value.details == {"component": "ObjTimed", "archetype": "ObjTimed"}


def test_a_value_that_its_class_has_no_more_is_refused():
    archetype = Archetype.of([ObjMooded])
    gone = pa.table(
        {"entity_id": [4, 5, 7], "objmooded__mood": ["glad", "bored", "glad"]}, schema=archetype.table_schema
    )
    reader = ComponentReader(ArchetypeTable.of(archetype, gone), ObjMooded)
    said = "Entity 5 has a value in ObjMooded.mood that its class does not have: 'bored'"
    for read in (reader.read, lambda: reader.read(np.array([0, 1])), lambda: reader.read_one(1)):
        with pytest.raises(TickFailedError, match=said):
            read()


def test_a_class_is_found_by_name_or_said_to_be_missing():
    assert component_class("ObjTag") is ObjTag
    with pytest.raises(CodeNotLoadedError, match=r"ObjGone.*not loaded") as caught:
        component_class("some.mod.ObjGone")
    assert caught.value.details == {"name": "some.mod.ObjGone", "module": "some.mod"}
