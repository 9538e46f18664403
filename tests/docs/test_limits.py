"""docs/limits.md and the module of limits say the same: each limit, its value, its reason."""

import ast
import inspect
import itertools
import re
from pathlib import Path

from archetype import limits

ROOT = Path(__file__).parents[2]
INSIDE = {
    "BATCH_ROWS_MAX",  # rows that are encoded, or decoded again, together
    "CHAIN_PAGES_MAX",  # the form of pages
    "CONTENT_BYTES_MAX",
    "DEFAULT_DENIALS_MAX",  # a setting
    "FLUSHERS_MAX",  # how much is done at once
    "FLUSH_BYTES_MAX",
    "FLUSH_COMMANDS_MAX",
    "MOVED_EVENTS_MAX",
    "RUNS_KEPT_MAX",
    "SCANNED_EVENTS_MAX",
    "SYNC_SYSTEMS_MAX",
    "SYSTEMS_LEFT_MAX",
    "_LINKS_MAX",
    "_NAME_CHARACTERS_MAX",  # what the forks of a rollout keep of a name
    "_MISSING_TICKS_MAX",
    "_PAGES_KEPT_MAX",
    "ERROR_CHARACTERS_MAX",  # how much of something is shown
    "NAMED_ENTITIES_MAX",
    "RUNS_SHOWN_MAX",
    "VALUES_SHOWN_MAX",
    "_CHARACTERS_SHOWN_MAX",
    "_FAULTS_SHOWN_MAX",
    "_NAMED_MAX",
    "_FLOAT32_MAX",  # a type of numbers
}
TESTS = ("tests/test_limits.py", "tests/api/test_limits.py")


def shown(name, value):
    if name.endswith("_BYTES_MAX"):
        return f"{value // 2**20} MiB"
    if abs(value) >= 2**31 - 1:
        power = abs(value).bit_length() if value > 0 else abs(value).bit_length() - 1
        return f"2^{power} - 1" if value > 0 else f"-2^{power}"
    return f"{value:,}"


def of_module():
    body = ast.parse(inspect.getsource(limits)).body
    constants = [(each, after) for each, after in itertools.pairwise(body) if isinstance(each, ast.Assign)]
    for constant, after in constants:
        (target,) = constant.targets
        assert isinstance(after, ast.Expr), f"{target.id} has no reason"
        yield target.id, shown(target.id, getattr(limits, target.id)), after.value.value


def of_document():
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    section = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `(.*) \|$", section, re.MULTILINE):
        name, value, reason, beyond = row.split(" | ")
        assert beyond
        yield name.rstrip("`"), value, reason


def test_the_document_has_every_limit_with_its_value_and_its_reason():
    assert list(of_document()) == list(of_module())


def test_a_value_is_shown_as_it_is():
    values = {"A_MAX": 10_000, "A_BYTES_MAX": 3 * 2**20, "B_MAX": 2**53 - 1, "B_MIN": -(2**31)}
    assert [shown(*each) for each in values.items()] == ["10,000", "3 MiB", "2^53 - 1", "-2^31"]


def test_every_limit_is_tried_where_it_ends():
    tried = "".join((ROOT / path).read_text(encoding="utf-8") for path in TESTS)
    names = {name for name, _, _ in of_module()}
    assert sorted(names - {*re.findall(r"\b[A-Z_]+_(?:MAX|MIN)\b", tried)}) == []


def test_limits_are_defined_nowhere_else():
    """A limit that callers can meet has its place; what is left says how the inside works, or is shown."""
    found = {
        name
        for path in (ROOT / "app/archetype").rglob("*.py")
        if path.name != "limits.py" and path.parent.name != "examples"
        for name in re.findall(r"^(_?[A-Z0-9_]+_MAX)\b.*=", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found - INSIDE == set()
    assert INSIDE - found == set()
