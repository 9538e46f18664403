from dataclasses import dataclass

import pytest

from archetype.core.component import Component
from archetype.core.processor import AsyncProcessor
from archetype.errors import InvalidInputError


class DecA(Component):
    x: float


class DecPlain:
    pass


def defined(**attributes):
    return type("DecMade", (AsyncProcessor,), attributes)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"reads": DecA}, r"Processor DecMade: reads must be a tuple .* write reads=\(DecA,\)"),
        ({"writes": "DecA"}, "writes must be a tuple of component classes, not 'DecA'"),
        ({"reads": (DecA, DecPlain)}, "reads names .*DecPlain'>, which is no component class"),
        ({"writes": (DecA(x=1.0),)}, "writes names DecA.*, which is no component class"),
        ({"depends_on": "Move"}, "depends_on must be a tuple of processors or of their names, not 'Move'"),
        ({"depends_on": (3,)}, "depends_on names 3, which is no processor"),
        ({"every": 0}, "every must be a whole number of ticks, 1 or more, not 0"),
        ({"every": 1.5}, "every must be a whole number of ticks, 1 or more, not 1.5"),
        ({"every": True}, "every must be a whole number of ticks, 1 or more, not True"),
        ({"every": 3, "offset": 3}, "offset must be a whole number from 0 to every - 1 = 2, not 3"),
        ({"offset": -1}, "offset must be a whole number from 0 to every - 1 = 0, not -1"),
        ({"condition": 5}, "condition must be a function of the access object, not 5"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_bad_declarations_are_refused_when_the_class_is_defined(attributes, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        defined(**attributes)
    assert caught.value.details == {"processor": "DecMade"}


def test_an_heir_is_checked_with_what_it_inherits():
    parent = defined(every=5, offset=4)
    with pytest.raises(InvalidInputError, match="every - 1 = 2, not 4"):
        type("DecHeir", (parent,), {"every": 3})


def test_declarations_are_kept_as_tuples():
    made = defined(reads=[DecA], writes={DecA}, depends_on=["Move"], every=3, offset=2)
    assert (made.reads, made.writes, made.depends_on) == ((DecA,), (DecA,), ("Move",))
    assert (made.every, made.offset) == (3, 2)
    assert defined().reads is None
    assert defined(reads=()).reads == ()


class DecCallable:
    def __call__(self, access):
        return access


def takes_the_view(access):
    return access


def takes_itself(self, access):
    return self, access


def test_a_condition_is_called_with_the_view_alone_or_as_a_method():
    view = object()
    method = defined(condition=takes_itself)()
    assert method.condition(view) == (method, view)
    for condition in (takes_the_view, staticmethod(takes_the_view), DecCallable(), lambda a, b=1: a):
        made = defined(condition=condition)
        assert made().condition(view) is view
        assert type("DecHeir", (made,), {})().condition(view) is view
    assert defined().condition is None


def test_what_only_an_instance_has_is_passed_over():
    @dataclass(frozen=True, slots=True)
    class DecSlots(AsyncProcessor):
        every: int = 4

    class DecProperty(AsyncProcessor):
        @property
        def reads(self):
            return (DecA,)

        @property
        def condition(self):
            return takes_the_view

    assert DecSlots().every == 4
    assert DecProperty().reads == (DecA,)
    assert DecProperty().condition is takes_the_view
