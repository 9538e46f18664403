"""Arguments that several commands take, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.errors import ArchetypeError

__all__ = [
    "ComponentsOption",
    "EntityArgument",
    "PriorityOption",
    "TickOption",
    "TypesOption",
    "WorldArgument",
    "YesOption",
    "complete_world",
]

_COMPLETION_S = 0.3


def complete_world(incomplete: str) -> list[str]:
    """Return the names of worlds that begin so, or nothing when the server takes too long to say."""
    from archetype.client import ArchetypeClient

    try:
        with ArchetypeClient(timeout_s=_COMPLETION_S, retry_s=0) as client:
            names = [world["name"] for world in client.list_worlds()]
    except ArchetypeError:
        return []
    return [name for name in names if name.startswith(incomplete)]


WorldArgument = Annotated[
    str, typer.Argument(metavar="WORLD", help="A world's name or id.", autocompletion=complete_world)
]
EntityArgument = Annotated[int, typer.Argument(metavar="ENTITY", help="An entity's id.")]
ComponentsOption = Annotated[
    list[str],
    typer.Option(
        "--component", "-c", metavar="TYPE=JSON", help="A component, as Position='{\"x\": 1}'; repeat it."
    ),
]
TypesOption = Annotated[
    str, typer.Option("--types", metavar="TYPES", help="Component types, as Position,Velocity.")
]
TickOption = Annotated[
    int | None, typer.Option("--tick", "-t", min=0, help="The tick to apply it in; by default the next open.")
]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="Within a tick the lower is applied first; by default 0.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
