import copy
import functools
import hashlib
import inspect
import pickle
import sys
import types

import pytest

from archetype.core.component import Component
from archetype.core.processor import Processor
from archetype.core.scheduling.plan import describe
from archetype.core.scheduling.policy import RetryPolicy
from archetype.core.scheduling.rights import Rights
from archetype.core.scheduling.system import System, system
from archetype.errors import AccessViolationError, InvalidInputError


class SysA(Component):
    n: int


class SysB(Component):
    n: int


@system(reads=(SysA,), writes=[SysB], priority=3, depends_on=["Other"], every=4, offset=1)
def sys_count(access):
    """Count."""
    for entity_id, a in access(SysA):
        access[entity_id, SysB] = SysB(n=a.n)
    return "done"


@system
async def sys_bare(access):
    return access


class SysClass(System):
    reads = (SysA,)

    def __init__(self, step=1):
        self.step = step

    def run(self, access):
        return access.count(SysA) * self.step


class SysCallable:
    """Call."""

    async def __call__(self, access):
        return access


sys_callable = system(writes=())(SysCallable())


def test_a_decorated_function_is_a_system_that_can_be_called(access_to):
    access = access_to({1: [SysA(n=5)]}, reads=sys_count.reads, writes=sys_count.writes)
    assert isinstance(sys_count, System)
    assert sys_count(access) == sys_count.run(access) == "done"
    assert access[1, SysB] == SysB(n=5)


def test_a_system_carries_its_functions_name_and_what_it_declares():
    kind = type(sys_count)
    assert (kind.__name__, kind.__qualname__, kind.__module__) == ("sys_count", "sys_count", __name__)
    assert kind.__doc__ == "Count."
    assert sys_count.name == sys_count.processor_name() == "sys_count"
    assert (sys_count.reads, sys_count.writes, sys_count.priority) == ((SysA,), (SysB,), 3)
    assert (sys_count.depends_on, sys_count.every, sys_count.offset) == (("Other",), 4, 1)
    assert (sys_bare.reads, sys_bare.writes, sys_bare.runs_alone) == (None, None, False)
    assert sys_bare.deterministic
    (described,) = describe([sys_count])
    assert described.rights == Rights(frozenset({"SysA", "SysB"}), frozenset({"SysB"}))


async def test_what_is_async_is_known_and_awaited():
    assert [each.is_async for each in (sys_count, sys_bare, sys_callable, SysClass())] == [
        False,
        True,
        True,
        False,
    ]
    access = object()
    assert await sys_bare(access) is access
    assert await sys_callable.run(access) is access
    assert sys_callable.name == "SysCallable"


def test_a_system_is_recorded_and_found_again_by_name():
    assert Processor.from_recorded("sys_count", sys_count.parameters) is sys_count
    assert Processor.get_type_by_name(f"{__name__}.sys_count") is type(sys_count)
    again = Processor.from_recorded("SysClass", SysClass(step=3).parameters)
    assert (type(again), again.step) == (SysClass, 3)
    with pytest.raises(InvalidInputError, match="no parameter wrong"):
        Processor.from_recorded("sys_count", {"wrong": 1})


def test_a_system_is_pickled_by_its_name(monkeypatch):
    here = types.ModuleType(__name__)
    here.sys_count = sys_count
    monkeypatch.setitem(sys.modules, __name__, here)
    assert pickle.loads(pickle.dumps(sys_count)) is sys_count
    assert copy.copy(sys_count) is copy.deepcopy(sys_count) is sys_count


def test_the_fingerprint_is_of_the_function_with_its_decorator():
    source = inspect.getsource(sys_count.run)
    assert source.startswith("@system(reads=(SysA,)")
    assert sys_count.source_fingerprint() == hashlib.sha256(source.encode()).hexdigest()
    source = inspect.getsource(SysClass)
    assert SysClass(step=2).source_fingerprint() == hashlib.sha256(source.encode()).hexdigest()
    assert (
        sys_callable.source_fingerprint()
        == hashlib.sha256(inspect.getsource(SysCallable).encode()).hexdigest()
    )


def without_source(body):
    names = {"system": system, "__name__": "sys_shell"}
    exec(f"@system\ndef sys_shell(access):\n    return {body}", names)
    return names["sys_shell"].source_fingerprint()


def test_without_source_the_code_is_hashed():
    assert without_source("access.tick + 1") == without_source("access.tick + 1")
    assert without_source("access.tick + 1") != without_source("access.tick + 2")


def test_a_dev_system_may_touch_everything_and_shares_no_group():
    @system.dev
    def sys_dev(access):
        return access

    @system.dev(priority=1)
    def sys_dev_first(access):
        return access

    assert [each.rights.is_full for each in describe([sys_dev, sys_dev_first])] == [True, True]
    assert (sys_dev.runs_alone, sys_dev_first.runs_alone, sys_dev_first.priority) == (True, True, 1)


def test_a_readonly_system_reads_everything_unless_it_says_what(access_to):
    @system.readonly
    def sys_readonly(access):
        return access.count(SysA)

    @system.readonly(reads=(SysA,))
    def sys_readonly_some(access):
        return access.count(SysB)

    every, some = (each.rights for each in describe([sys_readonly, sys_readonly_some]))
    assert every == Rights(None, frozenset())
    assert some == Rights(frozenset({"SysA"}), frozenset())
    assert sys_readonly(access_to({1: [SysA(n=1)]}, reads=sys_readonly.reads, writes=())) == 1
    with pytest.raises(AccessViolationError, match="may not read SysB"):
        sys_readonly_some(access_to({}, reads=(SysA,), writes=()))


def test_options_of_running_are_kept():
    policy = RetryPolicy(max_attempts=3)

    @system(condition=lambda access: access.tick > 2, retry_policy=policy, deterministic=False)
    def sys_options(access):
        return access

    (described,) = describe([sys_options])
    assert described.retry_policy is policy
    assert not sys_options.deterministic
    assert described.condition(types.SimpleNamespace(tick=3)) is True


def plain(access):
    return access


def generates(access):
    yield access


async def generates_async(access):
    yield access


def takes_nothing():
    return None


def takes_more(access, factor):
    return access, factor


def takes_by_name(*, access):
    return access


REFUSED = {
    "reads": (system(reads=SysA), plain, r"Processor plain: reads must .* write reads=\(SysA,\)"),
    "writes": (
        system(writes=(int,)),
        plain,
        "Processor plain: writes names <class 'int'>, which is no component",
    ),
    "every": (system(every=0), plain, "Processor plain: every must be a whole number of ticks"),
    "offset": (system.dev(offset=1), plain, "Processor plain: offset must be"),
    "condition": (system(condition=5), plain, "Processor plain: condition must be a function"),
    "policy": (system(retry_policy=3), plain, "System plain: retry_policy must be a RetryPolicy, not 3"),
    "option": (system(phase="update"), plain, "System plain: @system has no option phase"),
    "dev_reads": (
        system.dev(reads=(SysA,)),
        plain,
        "System plain: a dev system may touch everything; leave reads",
    ),
    "dev_writes": (
        system.dev(writes=()),
        plain,
        "System plain: a dev system may touch everything; leave writes",
    ),
    "readonly": (system.readonly(writes=(SysA,)), plain, "System plain: a readonly system writes nothing"),
    "generator": (system, generates, "System generates: it yields"),
    "async_generator": (system(), generates_async, "System generates_async: it yields"),
    "no_argument": (system, takes_nothing, "System takes_nothing: it takes no access argument"),
    "keyword_only": (system, takes_by_name, "System takes_by_name: it takes no access argument"),
    "more_arguments": (system, takes_more, "System takes_more: .* give factor defaults"),
    "lambda": (system, lambda access: access, "define <lambda> with def"),
    "partial": (system, functools.partial(plain), "define partial with def"),
    "class": (system, SysClass, "not SysClass; derive a class from System"),
    "system": (system(), sys_bare, "not sys_bare; derive a class from System"),
    "number": (system(), 5, "not int; derive a class from System"),
}


@pytest.mark.parametrize(("decorator", "function", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_systems_are_refused_when_they_are_decorated(decorator, function, message):
    with pytest.raises(InvalidInputError, match=message):
        decorator(function)


def test_classes_are_held_to_the_same():
    with pytest.raises(InvalidInputError, match="System SysYields: it yields"):
        type("SysYields", (System,), {"run": lambda self, access: (yield access)})
    with pytest.raises(InvalidInputError, match="System SysNothing: it takes no access argument"):
        type("SysNothing", (System,), {"run": lambda self: None})
    with pytest.raises(InvalidInputError, match="Processor SysNever: every"):
        type("SysNever", (System,), {"run": lambda self, access: None, "every": 0})
    assert type("SysStatic", (System,), {"run": staticmethod(plain)})().run(5) == 5
    with pytest.raises(NotImplementedError, match="SysUndefined does not define run"):
        type("SysUndefined", (System,), {})()(None)


def test_an_heir_of_a_decorated_system_is_another_one():
    heir = type("SysHeir", (type(sys_count),), {})()
    assert heir is not sys_count
    assert heir.name == "SysHeir"
