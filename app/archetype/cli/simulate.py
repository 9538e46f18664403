"""`archetype step` and `archetype run`: letting time pass in a world."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Annotated
from uuid import UUID

import typer

from archetype.cli.arguments import WorldArgument
from archetype.cli.progress import progress_bar
from archetype.cli.session import Session, with_session
from archetype.cli.values import assignments
from archetype.clock import new_id
from archetype.errors import ArchetypeError

__all__ = ["DebugOption", "InputOption", "register", "shown_progress", "telling_what_goes_on"]

_POLL_S = 0.25

InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="KEY=JSON", help="A value for the processors that name it; repeatable."),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Pass debug=True to processors that name `debug`.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(epilog="Example: archetype step demo --input wind=0.5")(step)
    app.command(epilog="Example: archetype run demo --steps 100")(run)


@with_session
def step(
    session: Session, world: WorldArgument, inputs: InputOption = None, debug: DebugOption = False
) -> None:
    """Run one tick of a world."""
    given = assignments(inputs or (), "--input")
    session.output.record(session.client.step(world, inputs=given, debug=debug))


@with_session
def run(
    session: Session,
    world: WorldArgument,
    steps: Annotated[int, typer.Option("--steps", "-n", min=0, help="How many ticks.")] = 1,
    inputs: InputOption = None,
    debug: DebugOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the run and do not wait; it goes on by itself.")
    ] = False,
) -> None:
    """Run ticks of a world one after the other; each is durable as soon as it is done."""
    given = assignments(inputs or (), "--input")
    if detach:
        session.output.record(session.client.start_run(world, steps, inputs=given, debug=debug))
        return
    command_id = new_id()
    with telling_what_goes_on(session, world, command_id), shown_progress(session, world, steps, quiet=quiet):
        report = session.client.run(world, steps, inputs=given, debug=debug, command_id=command_id)
    session.output.record(report)


@contextmanager
def telling_what_goes_on(session: Session, world: str, command_id: UUID) -> Generator[None]:
    """Say of a run, where its caller is interrupted, that it goes on, and how to follow or cancel it."""
    try:
        yield
    except KeyboardInterrupt:
        run_id = None
        with suppress(ArchetypeError):
            runs = session.client.runs(world)
            run_id = next((each["run_id"] for each in runs if each["command_id"] == str(command_id)), None)
        typer.echo(_what_goes_on(world, run_id), err=True)
        raise


def _what_goes_on(world: str, run_id: str | None) -> str:
    if run_id is None:
        return f"if the run has begun it goes on; `archetype runs list {world}` shows it"
    return (
        f"run {run_id} goes on; follow it with `archetype runs follow {run_id}`, or end it with "
        f"`archetype runs cancel {run_id}`"
    )


def shown_progress(session: Session, world: str, steps: int, *, quiet: bool) -> AbstractContextManager[None]:
    """Show how far a run is while the context is open, on a terminal and unless it is to be quiet."""
    is_shown = not quiet and sys.stderr.isatty()
    return _progress(session, world, steps) if is_shown else nullcontext()


@contextmanager
def _progress(session: Session, world: str, steps: int) -> Generator[None]:
    """Show on stderr how far a run is, as the server tells over a connection of its own."""
    first_tick = session.client.world(world)["tick"]
    with progress_bar(world, steps) as show:

        def poll() -> None:
            show(session.client.world(world)["tick"] - first_tick)

        with _repeated(poll):
            yield


@contextmanager
def _repeated(act: Callable[[], None]) -> Generator[None]:
    """Do something every now and then in a thread of its own; what it cannot do, it leaves."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(_POLL_S):
            with suppress(ArchetypeError):
                act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
