"""`archetype world`: making, finding, configuring, counting, forking and removing worlds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archetype.cli.arguments import (
    FromOption,
    ReferenceArgument,
    SchedulerOption,
    SnapshotsOption,
    ToOption,
    WorldArgument,
    YesOption,
)
from archetype.cli.session import Session, confirmed, with_session
from archetype.cli.values import scheduler_settings, snapshot_policy
from archetype.errors import FieldFault, InvalidInputError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Make, list, inspect, configure, plan, label, fork and remove worlds."
)

COLUMNS = ("name", "tick", "entity_count", "parent_id", "fork_tick", "world_id")


@app.command(epilog="Example: archetype world create demo --seed 7 --scheduler dependency")
@with_session
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new world's name.")],
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="The seed of its random numbers; by default a random one."),
    ] = None,
    snapshots: SnapshotsOption = None,
    scheduler: SchedulerOption = None,
    uri: Annotated[str | None, typer.Option("--uri", hidden=True)] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", hidden=True)] = None,
) -> None:
    """Make a world; it starts at tick 0, without entities."""
    if uri is not None or namespace is not None:
        session.note("--uri and --namespace have no effect: the server's database holds all worlds")
    session.output.record(
        session.client.create_world(
            name,
            seed=seed,
            snapshots=None if snapshots is None else snapshot_policy(snapshots),
            scheduler=None if scheduler is None else scheduler_settings(scheduler),
        )
    )


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


@app.command(epilog="Example: archetype world configure demo --snapshots needed --scheduler @scheduler.json")
@with_session
def configure(
    session: Session,
    world: WorldArgument,
    snapshots: SnapshotsOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Change when a world's states are stored, or how its processors run, from its next run on."""
    change: dict[str, Any] = {}
    if snapshots is not None:
        change["snapshots"] = snapshot_policy(snapshots)
    if scheduler is not None:
        change["scheduler"] = scheduler_settings(scheduler)
    if not change:
        msg = "nothing to change; give --snapshots, --scheduler or both"
        raise InvalidInputError(msg, faults=[FieldFault("--scheduler", msg)])
    session.output.record(session.client.configure_world(world, **change))


@app.command(epilog="Example: archetype world counts demo --from 100 --to 200")
@with_session
def counts(
    session: Session, world: ReferenceArgument, from_tick: FromOption = None, to_tick: ToOption = None
) -> None:
    """Count a world's entities after each tick of a range, by default of all."""
    session.output.rows(
        session.client.counts(world, from_tick, to_tick), shown=("tick", "entity_count", "archetype_counts")
    )


@app.command(epilog="Example: archetype world fork demo@120 --name what-if")
@with_session
def fork(
    session: Session,
    world: ReferenceArgument,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="The new world's name; by default derived from its id.")
    ] = None,
    tick: Annotated[
        int | None, typer.Option("--tick", "-t", help="The last tick they share; by default the newest.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="A seed for random numbers from there on; by default the parent's."
        ),
    ] = None,
    include_pending: Annotated[
        bool,
        typer.Option("--include-pending", help="Copy the commands that wait in the world into the fork."),
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Make this many at once: NAME-1, NAME-2, …")
    ] = None,
) -> None:
    """Make a world that shares another's past up to a tick, or many; nothing is copied."""
    if count is None:
        forked = session.client.fork_world(
            world, name=name, tick=tick, seed=seed, include_pending=include_pending
        )
        session.output.record(forked)
        return
    forks = session.client.fork_many(
        world, name, count, tick=tick, seed=seed, include_pending=include_pending
    )
    session.output.rows(forks, shown=COLUMNS)


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
