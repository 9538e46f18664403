"""`archetype world label`, `labels` and `unlabel`: names for ticks."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.cli.arguments import ReferenceArgument, WorldArgument
from archetype.cli.session import Session, with_session

__all__ = ["register"]

NameArgument = Annotated[str, typer.Argument(metavar="LABEL", help="The label's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app of worlds."""
    app.command(epilog="Example: archetype world label demo@120 baseline")(label)
    app.command(epilog="Example: archetype world labels demo")(labels)
    app.command(epilog="Example: archetype world unlabel demo baseline")(unlabel)


@with_session
def label(
    session: Session,
    world: ReferenceArgument,
    name: NameArgument,
    tick: Annotated[
        int | None, typer.Option("--tick", "-t", min=0, help="The tick to name; by default the newest.")
    ] = None,
) -> None:
    """Name a tick of a world; demo@LABEL is that tick from then on."""
    session.output.record(session.client.label(world, name, tick=tick))


@with_session
def labels(session: Session, world: WorldArgument) -> None:
    """List the labels of a world, including those of its ancestors."""
    session.output.rows(session.client.labels(world), shown=("name", "tick", "world_id"))


@with_session
def unlabel(session: Session, world: WorldArgument, name: NameArgument) -> None:
    """Remove a label; the tick stays."""
    session.client.unlabel(world, name)
    session.note(f"label {name!r} is removed")
