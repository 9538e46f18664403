import datetime as dt
import enum
import json
import math
import types
import uuid
from typing import Annotated

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from archetype.core.arrow_types import Vector
from archetype.core.component import Component
from archetype.errors import ComponentError


class CmpMood(enum.Enum):
    GLAD = "glad"


class CmpInner(BaseModel):
    a: int
    when: dt.datetime | None = None


class CmpPoint(Component):
    x: float
    y: float = 0.0


class CmpAll(Component):
    flag: bool
    n: int = Field(default=0, ge=-(2**70))
    s: str
    raw: bytes
    when: dt.datetime
    uid: uuid.UUID
    mood: CmpMood = CmpMood.GLAD
    inner: CmpInner
    items: list[CmpInner]
    maybe: float | None = None
    vec: Annotated[list[float], Vector(2)]
    pair: tuple[int, int] = (0, 0)


class CmpOuter(Component):
    inner: CmpInner


class CmpChecked(Component):
    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, value):
        if value % 2:
            raise ValueError("must be even")
        return value


class CmpNode(Component):
    leaf: "CmpLeaf"


class CmpLeaf(BaseModel):
    v: int


class CmpGrandchild(CmpPoint):
    z: float = 1.0


def sample(**changes):
    values = {
        "flag": True,
        "s": "é",
        "raw": b"\xff\x00\xfb",
        "when": dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "uid": uuid.UUID(int=7),
        "inner": CmpInner(a=1, when=dt.datetime(2020, 1, 1)),  # noqa: DTZ001 (naive means UTC)
        "items": [CmpInner(a=2)],
        "vec": [1.0, 2.0],
    }
    return CmpAll(**(values | changes))


def test_columns_are_prefixed_and_typed():
    assert CmpPoint.get_prefix() == "cmppoint__"
    assert CmpPoint.get_prefixed_schema() == pa.schema(
        [
            pa.field("cmppoint__x", pa.float64(), nullable=False),
            pa.field("cmppoint__y", pa.float64(), nullable=False),
        ]
    )
    assert CmpPoint.to_pyarrow_schema().names == ["x", "y"]
    assert CmpPoint(x=1).to_row_dict() == {"cmppoint__x": 1.0, "cmppoint__y": 0.0}


def test_a_payload_is_json_and_reads_back():
    component = sample()
    payload = json.loads(json.dumps(component.to_payload()))
    again = Component.from_payload(payload)
    assert again.to_payload() == payload
    assert again.raw == component.raw
    assert payload["when"] == "2020-01-02T01:04:05.000006Z"


def test_payload_fields_make_the_same_row_as_the_component():
    component = sample()
    from_log = CmpAll.row_values_from_payload(json.loads(json.dumps(component.to_payload())))
    schema = CmpAll.get_prefixed_schema()
    assert pa.Table.from_pylist([from_log], schema) == pa.Table.from_pylist([component.to_row_dict()], schema)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53))
def test_numbers_survive_the_payload(x, y):
    again = Component.from_payload({"type": "CmpPoint", "x": x, "y": y})
    assert (again.x, again.y) == (x, y)


def test_whole_floats_read_back_as_floats_however_json_spells_them():
    values = CmpPoint.row_values_from_payload({"type": "CmpPoint", "x": 10**17, "y": 1})
    assert pa.array(list(values.values()), pa.float64()).to_pylist() == [1e17, 1.0]


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"x": "5"}, "c.0.x", "number"),
        ({"x": True}, "c.0.x", "number"),
        ({}, "c.0.x", "required"),
        ({"x": 1, "q": 2}, "c.0.q", "no such field"),
        ({"x": math.nan}, "c.0.x", "bulk Arrow table"),
        ({"x": math.inf}, "c.0.x", "bulk Arrow table"),
        ({"x": None}, "c.0.x", "number"),
    ],
)
def test_a_payload_that_does_not_fit_names_the_path(fields, path, message):
    with pytest.raises(ComponentError) as caught:
        Component.from_payload({"type": "CmpPoint", **fields}, "c.0")
    assert caught.value.faults[0]["path"] == path
    assert message in caught.value.faults[0]["message"]


@pytest.mark.parametrize("check", [Component.checked, Component.checked_part])
def test_an_unknown_name_inside_of_a_new_value_is_refused(check):
    """What is in the log already is read as it always was."""
    payload = {"type": "CmpOuter", "inner": {"a": 1, "b": 2}}
    assert Component.from_payload(payload).inner == CmpInner(a=1)
    with pytest.raises(ComponentError) as caught:
        check(payload, "c.0")
    assert caught.value.faults == [{"path": "c.0.inner.b", "message": "no such field"}]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"n": 2**63}, "n"),
        ({"inner": {"a": 2**63, "when": None}}, "inner"),
        ({"inner": {"a": "1"}}, "inner.a"),
        ({"vec": [1.0]}, "vec"),
        ({"raw": "*"}, "raw"),
        ({"s": "\ud800"}, "CmpAll"),
        ({"mood": "sad"}, "mood"),
        ({"when": object()}, "CmpAll"),
    ],
)
def test_nested_and_special_values_are_refused_by_path(change, path):
    with pytest.raises(ComponentError) as caught:
        Component.from_payload(sample().to_payload() | change)
    assert caught.value.faults[0]["path"] == path


def test_a_payload_must_be_an_object_with_a_known_type():
    for data, path in [([], "p"), ({}, "p.type"), ({"type": 5}, "p.type"), ({"type": "CmpNope"}, "p.type")]:
        with pytest.raises(ComponentError) as caught:
            Component.from_payload(data, "p")
        assert caught.value.faults[0]["path"] == path
    with pytest.raises(ComponentError, match="ARCHETYPE_MODULES"):
        Component.get_type_by_name("CmpNope")
    with pytest.raises(ComponentError, match="names CmpChecked"):
        CmpPoint.from_payload({"type": "CmpChecked", "n": 2})


def test_a_partial_payload_checks_and_gives_only_what_is_there():
    assert Component.checked_part({"type": "CmpPoint", "y": 2}) == (CmpPoint, {"y": 2.0})
    assert Component.checked_part({"type": "CmpAll", "raw": "_wD7"}) == (CmpAll, {"raw": b"\xff\x00\xfb"})
    for fields in ({}, {"q": 1}, {"y": "1"}):
        with pytest.raises(ComponentError):
            Component.checked_part({"type": "CmpPoint", **fields}, "p")


def test_field_validators_hold_for_partial_payloads():
    with pytest.raises(ComponentError, match="even"):
        Component.checked_part({"type": "CmpChecked", "n": 3})
    assert Component.checked_part({"type": "CmpChecked", "n": 4}) == (CmpChecked, {"n": 4})


class CmpDefaulted(Component):
    text: str = None
    when: dt.datetime = "now"


def test_to_payload_refuses_a_default_that_does_not_fit():
    """A default is not validated; the field is named."""
    with pytest.raises(ComponentError) as caught:
        CmpDefaulted().to_payload()
    assert [fault["path"] for fault in caught.value.faults] == ["text", "when"]


def test_to_payload_refuses_what_json_cannot_hold():
    with pytest.raises(ComponentError, match="bulk Arrow table"):
        CmpPoint(x=math.nan).to_payload()


def test_from_dict_resolves_the_type_and_leaves_its_input_alone():
    data = {"type": "CmpGrandchild", "x": 1.0}
    assert isinstance(Component.from_dict(data), CmpGrandchild)
    assert data == {"type": "CmpGrandchild", "x": 1.0}
    assert CmpPoint.from_dict({"x": 2}).x == 2.0
    with pytest.raises(ComponentError, match="must name a component type"):
        Component.from_dict({"x": 1})
    with pytest.raises(ComponentError) as caught:
        CmpPoint.from_dict({"x": "far"})
    assert caught.value.faults[0]["path"] == "x"


def test_a_forward_reference_is_resolved_at_first_use():
    assert CmpNode.get_prefixed_schema().field("cmpnode__leaf").type == pa.struct(
        [pa.field("v", pa.int64(), nullable=False)]
    )
    assert Component.from_payload({"type": "CmpNode", "leaf": {"v": 1}}).to_payload()["leaf"] == {"v": 1}


def make(name, module, **annotations):
    body = {"__annotations__": annotations, "__module__": module, "__qualname__": name}
    return types.new_class(name, (Component,), {}, lambda ns: ns.update(body))


def test_a_class_defined_again_replaces_the_earlier():
    first = make("CmpAgain", "cmp_cell", a=int)
    second = make("CmpAgain", "cmp_cell", a=float)
    assert first is not second
    assert Component.get_type_by_name("CmpAgain") is second


def test_two_classes_of_one_name_must_be_told_apart():
    one, two = make("CmpTwin", "cmp_one", a=int), make("CmpTwin", "cmp_two", a=int)
    with pytest.raises(ComponentError, match=r"cmp_one\.CmpTwin and cmp_two\.CmpTwin.*module\.Name"):
        Component.get_type_by_name("CmpTwin")
    assert Component.get_type_by_name("cmp_one.CmpTwin") is one
    assert Component.get_type_by_name("cmp_two.CmpTwin") is two
    assert Component.loaded_types()["cmp_two.CmpTwin"] is two


def test_bad_classes_are_refused_when_defined():
    with pytest.raises(ComponentError, match=r"CmpBad\.d has the type"):
        make("CmpBad", "cmp_bad", d=dict[str, int])
    with pytest.raises(ComponentError, match="'type'"):
        make("CmpBad2", "cmp_bad", type=str)
    with pytest.raises(ComponentError, match="__"):
        make("Cmp__Bad", "cmp_bad", a=int)
    with pytest.raises(ComponentError, match="not loaded"):
        Component.get_type_by_name("CmpBad")


def test_assignment_is_checked():
    point = CmpPoint(x=1)
    with pytest.raises(ValueError, match="number"):
        point.x = "far"
