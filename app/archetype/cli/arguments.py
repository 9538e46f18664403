"""Arguments that several commands take, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.errors import ArchetypeError

__all__ = [
    "AsOfOption",
    "ComponentsOption",
    "EntityArgument",
    "FromOption",
    "PriorityOption",
    "ReferenceArgument",
    "SchedulerOption",
    "SnapshotsOption",
    "TickOption",
    "ToOption",
    "TypesOption",
    "WorldArgument",
    "YesOption",
    "complete_reference",
    "complete_scheduler",
    "complete_world",
]

_COMPLETION_S = 0.3

SCHEDULER_NAMES = ("default", "priority", "single", "sequential", "dependency", "frequency", "condition")
"""The default scheduler, and what else builds groups on every server."""


def complete_world(incomplete: str) -> list[str]:
    """Return the names of worlds that begin so, or nothing when the server takes too long to say."""
    from archetype.client import ArchetypeClient

    try:
        with ArchetypeClient(timeout_s=_COMPLETION_S, retry_s=0) as client:
            names = [world["name"] for world in client.list_worlds()]
    except ArchetypeError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_reference(incomplete: str) -> list[str]:
    """Return the names of worlds that begin so or, behind an `@`, the labels of the world before it."""
    from archetype.client import ArchetypeClient

    world, sign, start = incomplete.partition("@")
    if not sign:
        return complete_world(incomplete)
    try:
        with ArchetypeClient(timeout_s=_COMPLETION_S, retry_s=0) as client:
            names = [label["name"] for label in client.labels(world)]
    except ArchetypeError:
        return []
    return [f"{world}@{name}" for name in names if name.startswith(start)]


def complete_scheduler(incomplete: str) -> list[str]:
    """Return the names that a scheduler can be given by."""
    return [name for name in SCHEDULER_NAMES if name.startswith(incomplete)]


WorldArgument = Annotated[
    str, typer.Argument(metavar="WORLD", help="A world's name or id.", autocompletion=complete_world)
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="WORLD[@TICK]",
        help="A world's name or id, or one of its ticks: demo@120, demo@-10 (ten back) or demo@LABEL.",
        autocompletion=complete_reference,
    ),
]
EntityArgument = Annotated[int, typer.Argument(metavar="ENTITY", help="An entity's id.")]
ComponentsOption = Annotated[
    list[str],
    typer.Option(
        "--component",
        "-c",
        metavar="TYPE=JSON",
        help="A component, such as Position='{\"x\": 1}'; repeatable.",
    ),
]
TypesOption = Annotated[
    str, typer.Option("--types", metavar="TYPES", help="Component types, such as Position,Velocity.")
]
TickOption = Annotated[
    int | None, typer.Option("--tick", "-t", min=0, help="The tick to apply it in; by default the open one.")
]
AsOfOption = Annotated[
    int | None, typer.Option("--tick", "-t", help="The state after this tick; by default the newest.")
]
FromOption = Annotated[
    int | None, typer.Option("--from", min=0, help="The first tick of a range; by default 0.")
]
ToOption = Annotated[
    int | None, typer.Option("--to", min=0, help="The tick after a range; by default the next one to run.")
]
SnapshotsOption = Annotated[
    str | None,
    typer.Option(
        "--snapshots",
        metavar="N|needed",
        help="Store the state after every N-th tick, or only where needed; either way after each run.",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="NAME|JSON",
        help="How its processors run: a group builder's name, such as dependency; settings as a JSON object, "
        "@FILE or -; or default: one after the other, by priority.",
        autocompletion=complete_scheduler,
    ),
]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="Within a tick, lower is applied first; by default 0.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
