import contextlib
import datetime as dt
import enum
import uuid
from typing import Annotated, Literal, Optional

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from archetype.core.arrow_types import SIMPLE_TYPES, Vector, arrow_type, parse_type, type_name
from archetype.errors import ComponentError, InvalidInputError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Mixed(enum.Enum):
    A = "a"
    B = 1


class Inner(BaseModel):
    a: int
    b: str | None = None


FIXED = pa.list_(pa.field("item", pa.float64(), nullable=False), 3)


@pytest.mark.parametrize(
    ("annotation", "expected", "nullable"),
    [
        (bool, pa.bool_(), False),
        (int, pa.int64(), False),
        (float, pa.float64(), False),
        (str, pa.string(), False),
        (bytes, pa.binary(), False),
        (dt.datetime, pa.timestamp("us", "UTC"), False),
        (uuid.UUID, pa.string(), False),
        (Colour, pa.string(), False),
        (Level, pa.int64(), False),
        (Literal["a", "b"], pa.string(), False),
        (Literal[1, 2], pa.int64(), False),
        (Optional[int], pa.int64(), True),  # noqa: UP045
        (str | None, pa.string(), True),
        (Annotated[int, Field(ge=0)], pa.int64(), False),
        (list[float], pa.list_(pa.field("item", pa.float64(), nullable=False)), False),
        (list[int | None], pa.list_(pa.field("item", pa.int64())), False),
        (tuple[float, float, float], FIXED, False),
        (Annotated[list[float], Vector(3)], FIXED, False),
        (Annotated[list[float], Vector(3)] | None, FIXED, True),
        (Inner, pa.struct([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string())]), False),
    ],
    ids=str,
)
def test_each_annotation_has_its_column(annotation, expected, nullable):
    assert arrow_type(annotation) == (expected, nullable)


def test_float32_vector():
    assert arrow_type(Annotated[list[float], Vector(2, "float32")])[0].value_type == pa.float32()


@pytest.mark.parametrize(
    "annotation",
    [dict[str, int], int | str, object, tuple[int, float], tuple[int, ...], Mixed, set[int], Literal[True]],
    ids=str,
)
def test_a_type_no_column_can_hold_is_refused_by_place(annotation):
    with pytest.raises(ComponentError, match=r"Some\.field"):
        arrow_type(annotation, "Some.field")


def types(children):
    field = st.builds(lambda t, n: pa.field("item", t, nullable=n), children, st.booleans())
    named = st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5), st.tuples(children, st.booleans())
    )
    return st.one_of(
        st.builds(pa.list_, field),
        st.builds(pa.list_, field, st.integers(0, 1000)),
        named.map(lambda d: pa.struct([pa.field(k, t, nullable=n) for k, (t, n) in d.items()])),
    )


@given(st.recursive(st.sampled_from(list(SIMPLE_TYPES.values())), types, max_leaves=6))
def test_a_written_type_reads_back(arrow):
    assert parse_type(type_name(arrow)) == arrow


def test_the_written_form_is_fixed():
    arrow = pa.struct([pa.field("x", pa.float64(), nullable=False), pa.field("two words", FIXED)])
    assert type_name(arrow) == 'struct<x:float64,"two words":fixed_size_list<float64>[3]?>'
    assert type_name(pa.list_(pa.float64())) == "list<item:float64?>"


@given(st.text(max_size=30))
def test_garbage_is_refused_not_crashed_on(text):
    with contextlib.suppress(InvalidInputError):
        assert type_name(parse_type(text)) is not None


def test_deep_nesting_is_refused():
    with pytest.raises(InvalidInputError):
        parse_type("list<item:" * 5000 + "int64" + ">" * 5000)
