"""`archetype components`, `processors` and `processor`: the code that worlds are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from archetype.cli.arguments import TickOption, WorldArgument, complete_world
from archetype.cli.session import Session, with_session
from archetype.cli.values import assignments, json_object

__all__ = ["app", "register"]

app = typer.Typer(no_args_is_help=True, help="Add processors to a world, replace and remove them.")

TYPE_COLUMNS = ("name", "kind", "priority", "components", "reads", "writes", "parameters", "module")
PROCESSOR_COLUMNS = (*TYPE_COLUMNS, "is_loaded", "is_current")


def register(parent: typer.Typer) -> None:
    """Add the commands that stand by themselves to an app."""
    parent.command(epilog="Example: archetype components")(components)
    parent.command(epilog="Example: archetype processors demo")(processors)


@with_session
def components(session: Session) -> None:
    """List the components that the server has loaded, with their fields."""
    found = session.client.component_types()
    rows = [{**each, "fields": ", ".join(map(_field, each["fields"]))} for each in found]
    session.output.rows(rows, shown=("name", "fields", "module"), document=found)


@with_session
def processors(
    session: Session,
    world: Annotated[
        str | None,
        typer.Argument(metavar="[WORLD]", help="A world's name or id.", autocompletion=complete_world),
    ] = None,
) -> None:
    """List a world's processors in the order in which they run; without a world, all that are loaded."""
    if world is None:
        session.output.rows(session.client.processor_types(), shown=TYPE_COLUMNS)
    else:
        session.output.rows(session.client.processors(world), shown=PROCESSOR_COLUMNS)


@app.command(epilog="Example: archetype processor add demo LeapfrogProcessor --parameter step_days=0.5")
@with_session
def add(
    session: Session,
    world: WorldArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A processor that the server has loaded.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=JSON", help="A parameter of the processor; repeatable."
        ),
    ] = None,
    order: Annotated[
        int | None, typer.Option("--priority", help="Within a tick, lower runs first; by default its own.")
    ] = None,
    tick: TickOption = None,
) -> None:
    """Add a processor to a world from a tick on."""
    payload: dict[str, Any] = {"processor": name, "parameters": assignments(parameter or (), "--parameter")}
    if order is not None:
        payload["priority"] = order
    session.output.record(session.client.submit(world, "add_processor", payload, tick=tick or 0))


@app.command(epilog="Example: archetype processor replace demo LeapfrogProcessor")
@with_session
def replace(
    session: Session,
    world: WorldArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The processor's name.")],
    parameters: Annotated[
        str | None,
        typer.Option(
            "--parameters",
            metavar="JSON",
            help="A JSON object, @FILE or -; by default the recorded ones.",
        ),
    ] = None,
    order: Annotated[
        int | None,
        typer.Option("--priority", help="Within a tick, lower runs first; by default unchanged."),
    ] = None,
    tick: TickOption = None,
) -> None:
    """Replace a processor's recorded code with the code that the server has loaded, from a tick on."""
    payload: dict[str, Any] = {"processor": name}
    if parameters is not None:
        payload["parameters"] = json_object(parameters, "--parameters")
    if order is not None:
        payload["priority"] = order
    session.output.record(session.client.submit(world, "replace_processor", payload, tick=tick or 0))


@app.command(epilog="Example: archetype processor remove demo LeapfrogProcessor")
@with_session
def remove(
    session: Session,
    world: WorldArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The processor's name.")],
    tick: TickOption = None,
) -> None:
    """Remove a processor from a world from a tick on."""
    session.output.record(
        session.client.submit(world, "remove_processor", {"processor": name}, tick=tick or 0)
    )


def _field(field: Mapping[str, Any]) -> str:
    return f"{field['name']}: {field['type']}" + (" or null" if field.get("nullable") else "")
