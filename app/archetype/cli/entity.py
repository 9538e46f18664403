"""`archetype entity`: spawning, changing, showing and ending entities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archetype.cli.arguments import (
    AsOfOption,
    ComponentsOption,
    EntityArgument,
    FromOption,
    PriorityOption,
    ReferenceArgument,
    TickOption,
    ToOption,
    TypesOption,
    WorldArgument,
)
from archetype.cli.query import flat_row
from archetype.cli.session import Session, with_session
from archetype.cli.values import components, names
from archetype.errors import FieldFault, InvalidInputError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Spawn, inspect, change and despawn entities.")

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="A .csv, .json, .ndjson, .arrow or .parquet file of rows with columns such as position__x.",
    ),
]


@app.command(epilog="Example: archetype entity spawn demo --component 'Position={\"x\": 1}'")
@with_session
def spawn(
    session: Session,
    world: WorldArgument,
    component: ComponentsOption = [],  # noqa: B006 - Typer copies it
    file: FileOption = None,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Spawn an entity with the given components, or one for each row of a file."""
    if file is not None and component:
        msg = "give either --component or --file, not both"
        raise InvalidInputError(msg, faults=[FieldFault("--file", msg)])
    if file is None:
        values = components(component)
        session.output.record(session.client.spawn(world, values, tick=tick, priority=priority))
        return
    from archetype.client.tables import read_table

    table = read_table(file)
    session.output.record(session.client.spawn_many(world, table, tick=tick, priority=priority))


@app.command(epilog="Example: archetype entity inspect demo@10 1")
@with_session
def inspect(
    session: Session, world: ReferenceArgument, entity: EntityArgument, tick: AsOfOption = None
) -> None:
    """Show one entity after a tick."""
    session.output.record(session.client.entity(world, entity, tick=tick))


@app.command(epilog="Example: archetype entity history demo 1 --from 100 --to 200")
@with_session
def history(
    session: Session,
    world: ReferenceArgument,
    entity: EntityArgument,
    from_tick: FromOption = None,
    to_tick: ToOption = None,
) -> None:
    """Follow one entity from tick to tick: its components and values, and the commands about it."""
    moments = session.client.entity_history(world, entity, from_tick=from_tick, to_tick=to_tick)
    rows = [
        {
            "tick": each["tick"],
            "is_active": each["is_active"],
            "archetype": each["archetype"],
            "commands": ", ".join(command["type"] for command in each["commands"]),
        }
        | flat_row(each["components"])
        for each in moments
    ]
    session.output.rows(rows, document=moments)


@app.command(epilog="Example: archetype entity update demo 1 --component 'Position={\"x\": 5}'")
@with_session
def update(
    session: Session,
    world: WorldArgument,
    entity: EntityArgument,
    component: ComponentsOption,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Set the named fields of components that the entity has."""
    values = components(component)
    session.output.record(session.client.update(world, entity, values, tick=tick, priority=priority))


@app.command(epilog="Example: archetype entity add-components demo 1 --component 'Velocity={\"dx\": 1}'")
@with_session
def add_components(
    session: Session,
    world: WorldArgument,
    entity: EntityArgument,
    component: ComponentsOption,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Add components to an entity; those that it has already get the given values."""
    values = components(component)
    session.output.record(session.client.add_components(world, entity, values, tick=tick, priority=priority))


@app.command(epilog="Example: archetype entity remove-components demo 1 --types Velocity")
@with_session
def remove_components(
    session: Session,
    world: WorldArgument,
    entity: EntityArgument,
    types: TypesOption,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Remove components from an entity."""
    receipt = session.client.remove_components(world, entity, names(types), tick=tick, priority=priority)
    session.output.record(receipt)


@app.command(epilog="Example: archetype entity despawn demo 1")
@with_session
def despawn(
    session: Session,
    world: WorldArgument,
    entity: EntityArgument,
    tick: TickOption = None,
    priority: PriorityOption = None,
) -> None:
    """Despawn an entity; its past stays."""
    session.output.record(session.client.despawn(world, entity, tick=tick, priority=priority))
