"""`archetype world diff`, `log`, `tree` and `merge-base`: worlds compared, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.arguments import (
    FromOption,
    ReferenceArgument,
    ToOption,
    complete_reference,
    complete_world,
)
from archetype.cli.follow import AfterOption, FollowOption, print_events
from archetype.cli.output import Format
from archetype.cli.session import Session, with_session
from archetype.errors import FieldFault, InvalidInputError

if TYPE_CHECKING:
    from archetype.client.past_answers import DifferingCommands, TreeNode, WorldDiff

__all__ = ["register", "tree_lines"]

_SHORT = 12
"""Digits of a hash that a table shows; the other forms show all."""

LOG_COLUMNS = (
    "tick",
    "commit_hash",
    "committed_at",
    "entity_count",
    "command_count",
    "rejected_count",
    "world_name",
    "labels",
)
DIFF_COLUMNS = ("change", "entity_id", "archetype", "field", "a", "b")

OtherArgument = Annotated[
    str,
    typer.Argument(
        metavar="OTHER[@TICK]", help="The world or tick to compare with.", autocompletion=complete_reference
    ),
]


def register(world_app: typer.Typer) -> None:
    """Add the commands to the app of worlds."""
    world_app.command(epilog="Example: archetype world diff demo@120 what-if@120 --tolerance 1e-9")(diff)
    world_app.command("log", epilog="Example: archetype world log demo@120 --limit 10")(log)
    world_app.command(epilog="Example: archetype world tree demo")(tree)
    world_app.command("merge-base", epilog="Example: archetype world merge-base demo what-if")(merge_base)


@with_session
def diff(
    session: Session,
    world: ReferenceArgument,
    other: OtherArgument,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0.0, help="Floats a and b are equal if |a-b| <= this * max(1, |a|, |b|)."
        ),
    ] = 0.0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many of each kind to list.")] = 20,
) -> None:
    """Show how two states differ in entities, values and commands; the counts are always complete."""
    found = session.client.diff(world, other, tolerance=tolerance, limit=limit)
    if session.output.form is Format.TABLE:
        for line in _summary(found):
            session.output.text(line)
    session.output.rows(_changes(found), shown=DIFF_COLUMNS, document=found)


@with_session
def log(
    session: Session,
    world: ReferenceArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many ticks.")] = 20,
    from_tick: FromOption = None,
    to_tick: ToOption = None,
    follow: FollowOption = False,
    after: AfterOption = None,
) -> None:
    """Show the committed ticks of a world's whole past, the newest first.

    With --follow, print the events of its own log as they come instead, from now on or after a position.
    """
    if follow:
        print_events(session, session.client.events(world, after))
        return
    if after is not None:
        msg = "goes with --follow: ticks are chosen by --from and --to"
        raise InvalidInputError(f"--after {msg}", faults=[FieldFault("--after", msg)])
    entries = _newest(session, world, limit, from_tick, to_tick)
    if session.output.form is Format.TABLE:
        entries = (each | {"commit_hash": each["commit_hash"][:_SHORT]} for each in entries)
    session.output.rows(entries, shown=LOG_COLUMNS)


@with_session
def tree(
    session: Session,
    world: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORLD]", help="Show only this world's family.", autocompletion=complete_world
        ),
    ] = None,
    with_archived: Annotated[
        bool, typer.Option("--all", "-a", help="Include removed worlds without living forks.")
    ] = False,
) -> None:
    """Show which world each world was forked from, and at which tick."""
    nodes = session.client.tree(world, with_archived=with_archived)
    if session.output.form is not Format.TABLE:
        session.output.rows(nodes)
        return
    for line in tree_lines(nodes):
        session.output.text(line)


@with_session
def merge_base(session: Session, world: ReferenceArgument, other: OtherArgument) -> None:
    """Show the last tick that two worlds share; exits with 4 if they share none."""
    session.output.record(session.client.merge_base(world, other))


def tree_lines(nodes: Sequence[TreeNode]) -> Iterator[str]:
    """Draw worlds that come depth first, a line each, with branches to the left."""
    follows: list[bool] = []
    for node, is_last in zip(nodes, _are_last(nodes), strict=True):
        depth = node["depth"]
        del follows[max(depth - 1, 0) :]
        branch = ""
        if depth:
            branch = "".join("│  " if follow else "   " for follow in follows) + ("└─ " if is_last else "├─ ")
            follows.append(not is_last)
        yield branch + _described(node)


def _are_last(nodes: Sequence[TreeNode]) -> list[bool]:
    """Tell for each node whether no sibling follows it."""
    last: list[bool] = []
    open_depths: set[int] = set()
    for node in reversed(nodes):
        depth = node["depth"]
        last.append(depth not in open_depths)
        open_depths = {each for each in open_depths if each < depth} | {depth}
    return last[::-1]


def _described(node: TreeNode) -> str:
    at = "" if node["fork_tick"] is None else f" @{node['fork_tick']}"
    labels = "".join(f" [{name}@{tick}]" for name, tick in node["labels"].items())
    gone = " (removed)" if node["is_archived"] else ""
    return f"{node['name']}{at} → {node['committed_tick']}{labels}{gone}"


def _newest(
    session: Session, world: str, limit: int, from_tick: int | None, to_tick: int | None
) -> Iterator[dict[str, Any]]:
    """Go through the newest ticks, from as many pages as it takes."""
    before: int | None = None
    while limit > 0:
        page = session.client.ticks(
            world, from_tick=from_tick, to_tick=to_tick, before=before, limit=min(limit, 1000)
        )
        if not page:
            return
        yield from map(dict, page)
        limit -= len(page)
        before = page[-1]["tick"]


def _summary(found: WorldDiff) -> Iterator[str]:
    a, b = (f"{side['name']}@{side['tick']}" for side in (found["a"], found["b"]))
    if found["is_identical"]:
        yield f"{a} and {b} are identical"
    counts = found["summary"]
    yield (
        f"from {a} to {b}: {counts['added']} added, {counts['removed']} removed, {counts['moved']} moved, "
        f"{counts['changed']} changed, {counts['values']} values"
    )
    for each in found["fields"]:
        yield f"  {each['component']}.{each['field']}: {each['count']} values"
    base = found["base_tick"]
    yield "they share no tick" if base is None else f"they share the ticks up to {base}"
    for name, commands in ((a, found["commands_a"]), (b, found["commands_b"])):
        yield f"commands that only {name} has: {_counted(commands)}"


def _counted(commands: DifferingCommands) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in commands["count_by_type"].items())
    return f"{commands['count']}" + (f" ({kinds})" if kinds else "")


def _changes(found: WorldDiff) -> Iterator[Mapping[str, Any]]:
    """Go through all that is listed, as rows of one shape."""
    empty = dict.fromkeys(DIFF_COLUMNS)
    for change in ("added", "removed"):
        for each in found[change]:
            yield empty | {"change": change, "entity_id": each["entity_id"], "archetype": each["archetype"]}
    for each in found["moved"]:
        ends = {"a": each["archetype_a"], "b": each["archetype_b"]}
        yield empty | {"change": "moved", "entity_id": each["entity_id"]} | ends
    for each in found["values"]:
        yield empty | {
            "change": "value",
            "entity_id": each["entity_id"],
            "field": f"{each['component']}.{each['field']}",
            "a": each["value_a"],
            "b": each["value_b"],
        }
