"""`archetype world diff`, `log`, `tree`, `merge-base`, and the history of one entity."""

import uuid

import pytest

from archetype.cli.ancestry import tree_lines
from archetype.client import ArchetypeClient


@pytest.fixture
def family(server):
    """The name of a world with two forks, of which one changed."""
    name = f"root-{uuid.uuid4().hex[:8]}"
    with ArchetypeClient(server.url) as client:
        client.create_world(name, seed=5)
        client.submit(name, "add_processor", {"processor": "MovementProcessor"})
        for _ in range(3):
            client.spawn(name, [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}])
        client.run(name, 4)
        client.fork_world(f"{name}@1", name=f"{name}-a")
        client.fork_world(name, name=f"{name}-b")
        client.update(f"{name}-a", 2, [{"type": "Velocity", "dx": 5.0}])
        client.despawn(f"{name}-a", 3)
        client.spawn(f"{name}-a", [{"type": "Position", "x": 9.0}])
        client.run(f"{name}-a", 2)
    return name


def test_a_diff_shows_what_leads_from_one_to_the_other(archetype, family):
    done = archetype("world", "diff", f"{family}@3", f"{family}-a@3", "-o", "table")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"from {family}@3 to {family}-a@3: 1 added, 1 removed, 0 moved, 1 changed, 2 values"
    assert f"commands that only {family}-a@3 has: 5 (" in done.out
    assert "they share the ticks up to 1" in lines
    rows = archetype("world", "diff", f"{family}@3", f"{family}-a@3", "-o", "csv").out.splitlines()
    assert rows[0] == "change,entity_id,archetype,field,a,b"
    assert rows[1:] == [
        "added,4,Position,,,",
        "removed,3,Position+Velocity,,,",
        "value,2,,Position.x,4.0,12.0",
        "value,2,,Velocity.dx,1.0,5.0",
    ]
    whole = archetype("world", "diff", f"{family}@3", f"{family}-a@3").json
    assert whole["summary"] == {"added": 1, "removed": 1, "moved": 0, "changed": 1, "values": 2}
    near = archetype("world", "diff", f"{family}@3", f"{family}-a@3", "--tolerance", 10).json
    assert near["summary"]["changed"] == 0


def test_what_is_the_same_is_said_to_be(archetype, family):
    done = archetype("world", "diff", f"{family}@3", f"{family}-b@3", "-o", "table")
    assert done.out.splitlines()[0] == f"{family}@3 and {family}-b@3 are identical"


def test_the_log_shows_ticks_down_the_lineage(archetype, family):
    archetype("world", "label", f"{family}@1", "parting")
    entries = archetype("world", "log", f"{family}-a").json
    assert [each["tick"] for each in entries] == [3, 2, 1, 0]
    assert [each["world_name"] for each in entries] == [f"{family}-a"] * 2 + [family] * 2
    assert entries[2]["labels"] == ["parting"]
    table = archetype("world", "log", f"{family}-a@2", "-o", "table", "--limit", 1).out.splitlines()
    assert table[1].split()[:2] == ["2", entries[1]["commit_hash"][:12]]


def test_the_log_goes_on_from_page_to_page(archetype, family):
    some = archetype("world", "log", family, "--limit", 3).json
    assert [each["tick"] for each in some] == [3, 2, 1]
    part = archetype("world", "log", family, "--from", 1, "--to", 3).json
    assert [each["tick"] for each in part] == [2, 1]


def test_the_tree_is_drawn(archetype, family):
    done = archetype("world", "tree", f"{family}-a", "-o", "table")
    assert done.out.splitlines() == [
        f"{family} → 3",
        f"├─ {family}-a @1 → 3",
        f"└─ {family}-b @3 → 3",
    ]
    nodes = archetype("world", "tree", family).json
    assert [(each["name"], each["depth"]) for each in nodes] == [
        (family, 0),
        (f"{family}-a", 1),
        (f"{family}-b", 1),
    ]
    archetype("world", "remove", f"{family}-b", "--yes")
    assert len(archetype("world", "tree", family).json) == 2
    removed = archetype("world", "tree", family, "--all", "-o", "table").out.splitlines()
    assert removed[2] == f"└─ {family}-b @3 → 3 (removed)"


def test_branches_go_on_beside_those_that_have_ended():
    shape = [("a", 0), ("b", 1), ("c", 2), ("d", 2), ("e", 1), ("f", 2), ("g", 0), ("h", 1)]
    nodes = [
        {"name": name, "depth": depth, "fork_tick": 1 if depth else None, "committed_tick": 2}
        | {"labels": {"l": 0} if name == "c" else {}, "is_archived": False}
        for name, depth in shape
    ]
    assert list(tree_lines(nodes)) == [
        "a → 2",
        "├─ b @1 → 2",
        "│  ├─ c @1 → 2 [l@0]",
        "│  └─ d @1 → 2",
        "└─ e @1 → 2",
        "   └─ f @1 → 2",
        "g → 2",
        "└─ h @1 → 2",
    ]


def test_the_merge_base_is_the_last_tick_that_both_have(archetype, family):
    found = archetype("world", "merge-base", f"{family}-a", f"{family}-b").json
    assert (found["name"], found["tick"], found["ticks_since_a"], found["ticks_since_b"]) == (family, 1, 2, 2)


def test_worlds_that_share_nothing_have_no_merge_base(archetype, family):
    other = f"other-{uuid.uuid4().hex[:8]}"
    archetype("world", "create", other)
    assert archetype("world", "merge-base", family, other).code == 4


def test_an_entity_is_followed(archetype, family):
    rows = archetype("entity", "history", f"{family}-a", 2, "-o", "csv").out.splitlines()
    assert rows[0] == ("tick,is_active,archetype,commands,position__x,position__y,velocity__dx,velocity__dy")
    assert rows[1] == "0,true,Position+Velocity,spawn,1.0,0.0,1.0,0.0"
    assert rows[3] == "2,true,Position+Velocity,update,7.0,0.0,5.0,0.0"
    part = archetype("entity", "history", f"{family}-a", 3, "--from", 2).json
    assert [(each["tick"], each["is_active"]) for each in part] == [(2, False)]
    early = archetype("entity", "history", f"{family}-a@1", 3).json
    assert [each["tick"] for each in early] == [0, 1]


def test_history_is_filtered(archetype, family):
    name = f"{family}-a"
    found = archetype("history", name, "--types", "spawn,despawn", "--from", 1).json
    assert [each["type"] for each in found] == ["despawn", "spawn"]
    early = archetype("history", f"{name}@1", "--types", "spawn,despawn").json
    assert [each["type"] for each in early] == ["spawn"] * 3
    assert [each["tick"] for each in archetype("world", "counts", f"{name}@-2").json] == [0, 1]
    archetype("entity", "despawn", name, 3)
    assert [each["type"] for each in archetype("history", name, "--status", "pending").json] == ["despawn"]
    archetype("step", name)
    (rejected,) = archetype("history", name, "--status", "rejected").json
    assert "3" in rejected["reason"]
    assert archetype("history", name, "--status", "odd").code == 2
