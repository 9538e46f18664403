"""`archetype world`: making, finding, forking and removing worlds."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.cli.arguments import WorldArgument, YesOption
from archetype.cli.session import Session, confirmed, with_session

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make, list, inspect, fork and remove worlds.")

COLUMNS = ("name", "tick", "entity_count", "parent_id", "fork_tick", "world_id")


@app.command(epilog="Example: archetype world create demo --seed 7")
@with_session
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new world's name.")],
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="What its random numbers derive from."),
    ] = None,
    uri: Annotated[str | None, typer.Option("--uri", hidden=True)] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", hidden=True)] = None,
) -> None:
    """Make a world; it starts at tick 0, without entities."""
    if uri is not None or namespace is not None:
        session.note("--uri and --namespace have no effect: the server's database holds all worlds")
    session.output.record(session.client.create_world(name, seed=seed))


@app.command("list", epilog="Example: archetype world list -o csv --columns name,tick")
@with_session
def list_worlds(session: Session) -> None:
    """List the live worlds."""
    session.output.rows(session.client.all_worlds(), shown=COLUMNS)


@app.command(epilog="Example: archetype world inspect demo")
@with_session
def inspect(session: Session, world: WorldArgument) -> None:
    """Show one world."""
    session.output.record(session.client.world(world))


@app.command(epilog="Example: archetype world fork demo --tick 120 --name what-if")
@with_session
def fork(
    session: Session,
    world: WorldArgument,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="The new world's name; by default drawn from its id.")
    ] = None,
    tick: Annotated[
        int | None, typer.Option("--tick", "-t", help="The last tick they share; by default the newest.")
    ] = None,
) -> None:
    """Make a world that shares another's past up to a tick; nothing is copied."""
    session.output.record(session.client.fork_world(world, name=name, tick=tick))


@app.command(epilog="Example: archetype world remove what-if --reason 'answered' --yes")
@with_session
def remove(
    session: Session,
    world: WorldArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept in the log.")] = None,
    yes: YesOption = False,
) -> None:
    """Remove a world: its name becomes free, its past stays in the log."""
    confirmed(f"Remove world {world!r}?", is_sure=yes)
    session.client.remove_world(world, reason=reason)
    session.note(f"world {world!r} is removed")
