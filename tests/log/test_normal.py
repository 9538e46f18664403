"""Components in the normal form of the log: what is spelled field by field is their canonical JSON."""

import enum
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from archetype.core.component import Component
from archetype.errors import ComponentError
from archetype.log.canonical import canonical_json
from archetype.log.normal import spell_component, spell_fields


class NrmSide(enum.Enum):
    LEFT = "left"


class NrmMixed(Component):
    zeta: float
    alpha: int = 0
    name: str = "é"
    path: list[float] = Field(default_factory=list)
    maybe: float | None = None
    side: NrmSide = NrmSide.LEFT


DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = {
    "alpha": st.integers(-(2**63), 2**63 - 1),
    "name": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    "path": st.lists(DOUBLES, max_size=3),
    "maybe": st.none() | st.floats(-1e30, 1e30),
    "side": st.just("left"),
}


@given(st.fixed_dictionaries({"zeta": DOUBLES}, optional=FIELDS))
def test_a_component_is_spelled_as_its_canonical_json(fields):
    payload = {"type": "NrmMixed", **fields}
    assert spell_component(payload, "p") == (
        NrmMixed,
        canonical_json(Component.from_payload(payload).to_payload()),
    )


@given(st.fixed_dictionaries({}, optional={"zeta": DOUBLES, **FIELDS}).filter(bool))
def test_of_some_fields_only_these_are_spelled(fields):
    kind, text = spell_fields({"type": "NrmMixed", **fields}, "p")
    whole = NrmMixed.from_payload({"zeta": 0.0, **fields}).to_payload()
    assert kind is NrmMixed
    assert text == canonical_json({"type": "NrmMixed"} | {name: whole[name] for name in fields})


def test_each_value_that_json_cannot_hold_is_named():
    with pytest.raises(ComponentError) as caught:
        spell_component({"type": "NrmMixed", "zeta": math.inf, "maybe": math.nan}, "p")
    assert [fault["path"] for fault in caught.value.faults] == ["p.zeta", "p.maybe"]


def test_defaults_are_part_of_a_whole_component_only():
    assert json.loads(spell_component({"type": "NrmMixed", "zeta": 1}, "p")[1])["name"] == "é"
    assert spell_fields({"type": "NrmMixed", "zeta": 1}, "p")[1] == '{"type":"NrmMixed","zeta":1}'
