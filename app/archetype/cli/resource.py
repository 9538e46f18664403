"""`archetype resource`: the models that are recorded for a world's processors."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.cli.arguments import PriorityOption, TickOption, WorldArgument
from archetype.cli.session import Session, with_session
from archetype.cli.values import json_value, text_of

__all__ = ["app"]

RESOURCE_COLUMNS = ("name", "module", "value", "is_loaded")

app = typer.Typer(no_args_is_help=True, help="Record Pydantic models that a world's processors get.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's class, such as Gravity or physics.Gravity.")
]


@app.command(epilog="Example: archetype resource add demo Gravity --value '{\"g\": 9.81}'")
@with_session
def add(
    session: Session,
    world: WorldArgument,
    name: NameArgument,
    value: Annotated[
        str | None,
        typer.Option(
            "--value", metavar="JSON", help="Its fields; @FILE reads a file, - stdin; by default none."
        ),
    ] = None,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Give processors a model from a tick on, in place of one of the same class."""
    given = None if value is None else json_value(text_of(value, "--value"), "--value")
    session.output.record(session.client.add_resource(world, name, given, tick=tick, priority=priority))


@app.command("list", epilog="Example: archetype resource list demo")
@with_session
def list_resources(session: Session, world: WorldArgument) -> None:
    """List the recorded resources of a world, including those that wait for its next tick."""
    session.output.rows(session.client.resources(world), shown=RESOURCE_COLUMNS)


@app.command(epilog="Example: archetype resource remove demo Gravity")
@with_session
def remove(
    session: Session,
    world: WorldArgument,
    name: NameArgument,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Remove a model from a tick on."""
    session.output.record(session.client.remove_resource(world, name, tick=tick, priority=priority))
