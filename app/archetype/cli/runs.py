"""`archetype runs`: how far runs are, and cancelling them."""

from __future__ import annotations

from typing import Annotated

import typer

from archetype.cli.arguments import WorldArgument
from archetype.cli.progress import progress_bar
from archetype.cli.session import Session, with_session
from archetype.limits import PAGE_ENTRIES_MAX

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="List, show, follow and cancel runs.")

COLUMNS = ("run_id", "status", "ticks_completed", "ticks_requested", "started_at", "error")

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]


@app.command("list", epilog="Example: archetype runs list demo --limit 5")
@with_session
def list_runs(
    session: Session,
    world: WorldArgument,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=PAGE_ENTRIES_MAX, help="How many at most.")
    ] = 100,
    before: Annotated[
        str | None, typer.Option("--before", metavar="RUN", help="Only runs older than this one.")
    ] = None,
) -> None:
    """List a world's steps and runs, the newest first."""
    session.output.rows(session.client.runs(world, limit=limit, before=before), shown=COLUMNS)


@app.command(epilog="Example: archetype runs show 01890a5d-ac96-774b-bcce-b302099a8057")
@with_session
def show(session: Session, run: RunArgument) -> None:
    """Show how far a run is, or how it ended."""
    session.output.record(session.client.run_info(run))


@app.command(epilog="Example: archetype runs cancel RUN --reason 'wrong inputs'")
@with_session
def cancel(
    session: Session,
    run: RunArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept in the log.")] = None,
) -> None:
    """End a run after the tick that is being computed; its ticks stay."""
    session.output.record(session.client.cancel_run(run, reason=reason))


@app.command(epilog="Example: archetype runs follow RUN")
@with_session
def follow(session: Session, run: RunArgument) -> None:
    """Wait until a run has ended, showing progress on a terminal, and print how it ended."""
    info = session.client.run_info(run)
    with progress_bar(info["world"], info["ticks_requested"]) as show_progress:
        for latest in session.client.follow_run(run):
            info = latest
            show_progress(info["ticks_completed"])
    session.output.record(info)
