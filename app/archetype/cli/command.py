"""`archetype command`: submitting commands of any type."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.cli.arguments import WorldArgument
from archetype.cli.session import Session, with_session
from archetype.cli.values import json_object

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Submit commands of any type to a world.")


@app.callback()
def group() -> None:
    """Keep `submit` a word of its own, though it is the only verb."""


@app.command(epilog='Example: archetype command submit demo message --payload \'{"content": "hello"}\'')
@with_session
def submit(
    session: Session,
    world: WorldArgument,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="spawn, update, message, custom, …")],
    payload: Annotated[
        str,
        typer.Option("--payload", "-p", metavar="JSON", help="A JSON object; @FILE reads a file, - stdin."),
    ] = "{}",
    tick: Annotated[
        int,
        typer.Option("--tick", "-t", min=0, help="The tick to apply it in; by default the open one."),
    ] = 0,
    priority: Annotated[int, typer.Option("--priority", help="Within a tick, lower is applied first.")] = 0,
    command_id: Annotated[
        str | None, typer.Option("--id", help="A UUID; a retry with the same one is accepted only once.")
    ] = None,
) -> None:
    """Submit one command; it is durable when its receipt is printed."""
    receipt = session.client.submit(
        world,
        type_name,
        json_object(payload, "--payload"),
        tick=tick,
        priority=priority,
        command_id=command_id,
    )
    session.output.record(receipt)
