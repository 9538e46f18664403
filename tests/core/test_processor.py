import copy
import hashlib
import inspect
import pickle
import textwrap
from dataclasses import dataclass

import pytest

from archetype.core.component import Component
from archetype.core.processor import AsyncProcessor, accepted_names
from archetype.errors import CodeNotLoadedError, InvalidInputError


class ProcComponent(Component):
    x: float


class ProcPlain(AsyncProcessor):
    components = (ProcComponent,)

    def __init__(self, speed, /, factor=2.0, *rest, limit=None, **options):
        self.speed, self.factor, self.rest, self.limit, self.options = speed, factor, rest, limit, options


@dataclass(frozen=True)
class ProcData(AsyncProcessor):
    rate: float = 0.5


class ProcBare(AsyncProcessor):
    async def process(self, df, *, tick, rng):
        return df


class ProcHeir(ProcBare):
    pass


def test_constructor_arguments_are_kept_with_their_defaults():
    assert ProcPlain(3).parameters == {"speed": 3, "factor": 2.0, "rest": (), "limit": None, "options": {}}
    assert ProcPlain(1, 2, 3, limit=4, more=5).parameters == {
        "speed": 1,
        "factor": 2,
        "rest": (3,),
        "limit": 4,
        "options": {"more": 5},
    }
    assert ProcData(rate=2).parameters == {"rate": 2}
    assert ProcBare().parameters == {}


@pytest.mark.parametrize(
    "made",
    [ProcPlain(1), ProcPlain(1, 2, 3, 4, limit=4, more=5), ProcData(2), ProcBare()],
    ids=lambda p: repr(p.parameters),
)
def test_a_recorded_processor_is_built_again(made):
    again = AsyncProcessor.from_recorded(made.processor_name(), made.parameters)
    assert type(again) is type(made)
    assert again.parameters == made.parameters


class ProcFloats(AsyncProcessor):
    def __init__(
        self,
        rate: float,
        *more: "float",
        limit: "float | None" = None,
        weights: "list[float]" = (),
        by_name: "dict[str, float]" = (),
        hidden: "Nowhere" = 0.5,  # noqa: F821 (a name that only type checkers see)
        bare=1.0,
        count: int = 1,
        either: int | float = 1,
        **others: float,
    ):
        pass


FLOATS = {
    "rate": 2,
    "more": [3],
    "limit": 4,
    "weights": [1, 2],
    "by_name": {"a": 1},
    "hidden": 5,
    "bare": 6,
    "count": 7,
    "either": 8,
    "others": {"b": 9},
}


def test_whole_numbers_are_floats_again_where_the_constructor_says_so():
    """JSON spells 2.0 as 2."""
    made = ProcFloats.from_parameters(FLOATS).parameters
    assert {name: repr(value) for name, value in made.items()} == {
        "rate": "2.0",
        "more": "(3.0,)",
        "limit": "4.0",
        "weights": "[1.0, 2.0]",
        "by_name": "{'a': 1.0}",
        "hidden": "5.0",
        "bare": "6.0",
        "count": "7",
        "either": "8",
        "others": "{'b': 9.0}",
    }


def test_what_cannot_be_built_says_why():
    with pytest.raises(CodeNotLoadedError, match="is not loaded here") as caught:
        AsyncProcessor.from_recorded("some.mod.ProcGone", {})
    assert caught.value.details == {"name": "some.mod.ProcGone", "module": "some.mod"}
    with pytest.raises(InvalidInputError, match="no parameter wrong"):
        AsyncProcessor.from_recorded("ProcData", {"wrong": 1})
    with pytest.raises(InvalidInputError, match="speed"):
        AsyncProcessor.from_recorded("ProcPlain", {})
    with pytest.raises(TypeError, match="speed"):
        ProcPlain()


def test_copies_keep_parameters():
    assert copy.deepcopy(ProcPlain(1)).parameters == ProcPlain(1).parameters
    assert pickle.loads(pickle.dumps(copy.copy(ProcData(3)))).rate == 3


def test_the_fingerprint_is_of_the_source_with_its_own_bases():
    source = textwrap.dedent(inspect.getsource(ProcBare)).encode()
    assert ProcBare.source_fingerprint() == hashlib.sha256(source).hexdigest()
    assert ProcHeir.source_fingerprint() not in {
        ProcBare.source_fingerprint(),
        hashlib.sha256(b"").hexdigest(),
    }


def without_source(body):
    names = {"AsyncProcessor": AsyncProcessor, "__name__": "proc_shell"}
    exec(
        f"class ProcShell(AsyncProcessor):\n    async def process(self, df, **kw):\n        return {body}",
        names,
    )
    return names["ProcShell"].source_fingerprint()


def test_without_source_the_code_is_hashed():
    assert without_source("df.where(1)") == without_source("df.where(1)")
    assert without_source("df.where(1)") != without_source("df.where(2)")
    assert without_source("x in {'a', 'b', 'c'}") != without_source("x in {'a', 'b', 'd'}")


def test_the_names_a_process_takes():
    assert accepted_names(ProcBare.process) == {"tick", "rng"}
    assert accepted_names(AsyncProcessor.process) is None
