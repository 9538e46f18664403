"""Components in the normal form of the log: what is spelled field by field is their canonical JSON."""

import enum
import gc
import json
import math
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from archetype.core.combine import Combine
from archetype.core.component import Component
from archetype.errors import ComponentError
from archetype.log import normal
from archetype.log.canonical import canonical_json
from archetype.log.normal import spell_components, spell_parts


class NrmSide(enum.Enum):
    LEFT = "left"


class NrmMixed(Component):
    zeta: float
    alpha: int = 0
    name: str = "é"
    path: list[float] = Field(default_factory=list)
    maybe: float | None = None
    side: NrmSide = NrmSide.LEFT


class NrmPlain(Component):
    """As plain as a component can be; its fields are not in the order of their names."""

    zeta: float
    alpha: int = 0
    name: str = "é"
    is_on: bool = False
    maybe: float | None = None
    total: Annotated[float, Combine("sum")] = 1e21


class NrmTag(Component):
    pass


DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FIELDS = {
    "alpha": INTEGERS,
    "name": TEXTS,
    "path": st.lists(DOUBLES, max_size=3),
    "maybe": st.none() | st.floats(-1e30, 1e30),
    "side": st.just("left"),
}
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just([1.0])
    | st.just({"zeta": 1})
)
"""What may stand where a value should: also what does not fit, and what JSON cannot hold."""
GUESSES = st.dictionaries(st.sampled_from([*NrmPlain.model_fields, "type", "other"]), ANYTHING)


def spell_one(payload, spell=spell_components):
    (kind,), text = spell([payload], "p")
    return kind, text[1:-1]


def outcome(spell, payload):
    """Give what comes of a payload: its text, or every fault."""
    try:
        return spell_one(payload, spell)
    except ComponentError as error:
        return error.message, error.faults


@given(st.fixed_dictionaries({"zeta": DOUBLES}, optional=FIELDS))
def test_a_component_is_spelled_as_its_canonical_json(fields):
    payload = {"type": "NrmMixed", **fields}
    text = canonical_json(Component.from_payload(payload).to_payload())
    assert spell_one(payload) == (NrmMixed, text)


@given(st.fixed_dictionaries({}, optional={"zeta": DOUBLES, **FIELDS}).filter(bool))
def test_of_some_fields_only_these_are_spelled(fields):
    kind, text = spell_one({"type": "NrmMixed", **fields}, spell_parts)
    whole = NrmMixed.from_payload({"zeta": 0.0, **fields}).to_payload()
    assert kind is NrmMixed
    assert text == canonical_json({"type": "NrmMixed"} | {name: whole[name] for name in fields})


@pytest.mark.parametrize("spell", [spell_components, spell_parts])
@given(fields=st.fixed_dictionaries({}, optional={
    "zeta": DOUBLES, "alpha": INTEGERS, "name": TEXTS, "is_on": st.booleans(), "maybe": st.none() | DOUBLES,
}) | GUESSES)  # fmt: skip
def test_a_plain_component_is_spelled_and_refused_as_by_its_model(spell, fields):
    payload = {"type": "NrmPlain", **fields}
    shortly = outcome(spell, payload)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normal, "_plain", lambda data, *, is_whole: None)
        assert outcome(spell, payload) == shortly


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "NrmPlain", "zeta": 1.5},
        {"type": "NrmTag"},
        {"type": "NrmPlain", "zeta": -0.0, "maybe": None},
    ],
    ids=["defaults", "no_fields", "all_kinds"],
)
def test_no_model_is_made_of_a_plain_component(payload, monkeypatch):
    wanted = spell_one(payload)
    monkeypatch.setattr(Component, "checked", None)
    assert spell_one(payload) == wanted


def test_a_class_that_is_defined_again_is_spelled_as_it_is_now():
    def define(default):
        class NrmAgain(Component):
            count: int = default

        return NrmAgain

    for default in (1, 2):
        kind = define(default)
        assert spell_one({"type": "NrmAgain"}) == (kind, f'{{"count":{default},"type":"NrmAgain"}}')


def test_a_class_that_is_gone_is_not_spelled():
    def spell_one_of_its_own():
        class NrmGone(Component):
            pass

        assert spell_one({"type": "NrmGone"}) == (NrmGone, '{"type":"NrmGone"}')

    spell_one_of_its_own()
    gc.collect()
    with pytest.raises(ComponentError, match="not loaded"):
        spell_one({"type": "NrmGone"})


def hex_only(value):
    int(value, 16)
    return value


def plain_variants():
    """Give classes that are nearly plain: each asks for more than the type of its values."""

    class NrmConstrained(Component):
        text: Annotated[str, Field(max_length=3)]

    class NrmFieldChecked(Component):
        text: str
        check = field_validator("text")(hex_only)

    class NrmModelChecked(Component):
        text: str

        @model_validator(mode="after")
        def check(self):
            hex_only(self.text)
            return self

    class NrmPostInit(Component):
        text: str

        def model_post_init(self, context):
            hex_only(self.text)

    class NrmStripped(Component):
        model_config = ConfigDict(str_strip_whitespace=True)
        text: str

    class NrmAliased(Component):
        text: str = Field(validation_alias="words")

    class NrmFactory(Component):
        text: str = Field(default_factory=lambda: "abc")

    class NrmDefaultChecked(Component):
        text: Annotated[str, Field(max_length=3)] = Field(default="long", validate_default=True)

    class NrmOwnInit(Component):
        text: str

        def __init__(self, **values):
            hex_only(values["text"])
            super().__init__(**values)

    class NrmPrivate(Component):
        text: str
        _seen: list = PrivateAttr(default_factory=list)

    class NrmEnum(Component):
        text: NrmSide

    return (
        NrmConstrained, NrmFieldChecked, NrmModelChecked, NrmPostInit, NrmStripped, NrmAliased, NrmFactory,
        NrmDefaultChecked, NrmOwnInit, NrmPrivate, NrmEnum,
    )  # fmt: skip


NEARLY_PLAIN = plain_variants()


@pytest.mark.parametrize("cls", NEARLY_PLAIN, ids=lambda cls: cls.__name__)
def test_a_class_with_rules_of_its_own_is_not_plain(cls):
    assert cls.layout().plain is None
    for text in ("left", " abc "):
        payload = {"type": cls.__name__, "text": text}
        try:
            wanted = cls, canonical_json(Component.from_payload(payload, "p.0").to_payload())
        except ComponentError as error:
            wanted = error.message, error.faults
        assert outcome(spell_components, payload) == wanted


@pytest.mark.parametrize("cls", [NrmPlain, NrmTag], ids=lambda cls: cls.__name__)
def test_a_class_of_scalars_is_plain(cls):
    assert cls.layout().plain is not None


def test_each_value_that_json_cannot_hold_is_named():
    with pytest.raises(ComponentError) as caught:
        spell_components([{"type": "NrmMixed", "zeta": math.inf, "maybe": math.nan}], "p")
    assert [fault["path"] for fault in caught.value.faults] == ["p.0.zeta", "p.0.maybe"]


def test_defaults_are_part_of_a_whole_component_only():
    assert json.loads(spell_one({"type": "NrmMixed", "zeta": 1})[1])["name"] == "é"
    assert spell_one({"type": "NrmMixed", "zeta": 1}, spell_parts)[1] == '{"type":"NrmMixed","zeta":1}'
