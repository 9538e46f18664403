"""`archetype`: the commands put together, and the one place where a command's errors end."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from archetype.cli import (
    ancestry,
    audit,
    backup,
    catalog,
    command,
    db,
    doctor,
    entity,
    episodes,
    follow,
    identity,
    label,
    message,
    query,
    quota,
    replay,
    resource,
    retention,
    runs,
    scheduling,
    serve,
    simulate,
    sql,
    verify,
    world,
)
from archetype.cli.exit_codes import UNEXPECTED, exit_code
from archetype.cli.session import ColumnsOption, KeyOption, NoHeaderOption, OutputOption, Shared, UrlOption
from archetype.errors import ArchetypeError, InvalidInputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="archetype",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Event-sourced simulation and agent worlds on a relational database.",
    epilog="Start with `archetype serve`, then `archetype world create demo` in a second terminal. Exit "
    "codes: 0 done, 1 unexpected or a failed tick, 2 wrong usage, 3 not permitted, 4 not found, 5 conflict, "
    "6 damaged data, 7 unavailable.",
)


def print_version(is_wanted: bool) -> None:
    """Print the version and end."""
    if is_wanted:
        typer.echo(f"archetype {version('archetype-log')}")
        raise typer.Exit


@app.callback()
def shared_options(
    context: typer.Context,
    url: UrlOption = None,
    form: OutputOption = None,
    columns: ColumnsOption = None,
    no_header: NoHeaderOption = False,
    api_key: KeyOption = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the shared options for whichever command follows."""
    del show_version
    context.obj = Shared(url, form, columns, no_header, api_key)


serve.register(app)
label.register(world.app)
app.add_typer(world.app, name="world")
retention.register(app, world.app)
replay.register(world.app)
ancestry.register(world.app)
scheduling.register(world.app)
simulate.register(app)
episodes.register(app)
app.add_typer(runs.app, name="runs")
query.register(app)
app.add_typer(entity.app, name="entity")
app.add_typer(command.app, name="command")
app.add_typer(message.app, name="message")
app.add_typer(resource.app, name="resource")
catalog.register(app)
app.add_typer(catalog.app, name="processor")
follow.register(app)
sql.register(app)
verify.register(app)
backup.register(app)
doctor.register(app)
app.add_typer(identity.actors, name="actor")
app.add_typer(identity.keys, name="key")
app.add_typer(quota.quotas, name="quota")
identity.register(app)
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are a line each on stderr."""
    try:
        code: Any = app(arguments, prog_name="archetype", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        _complain("nothing was done")
        return UNEXPECTED
    except typer.TyperException as error:
        _complain_of_usage(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except Exception as error:
        if os.environ.get("ARCHETYPE_DEBUG") == "1":
            raise
        cause = _only_cause(error)
        _report(cause)
        return exit_code(cause)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> None:
    if not isinstance(error, ArchetypeError):
        _complain(f"{type(error).__name__}: {error} (a traceback comes with ARCHETYPE_DEBUG=1)")
        return
    _complain(error.message)
    faults = error.faults if isinstance(error, InvalidInputError) else []
    if len(faults) > 1 or not all(fault["message"] in error.message for fault in faults):
        for fault in faults:
            typer.echo(f"  {fault['path']}: {fault['message']}", err=True)


def _only_cause(error: Exception) -> Exception:
    """Return the one error that groups of tasks were ended by, however deep it lies."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _complain_of_usage(error: typer.TyperException) -> None:
    """Say what is wrong with the command line; a command without its verb has printed its help instead."""
    text = error.format_message().strip()
    if text:
        _complain(text)


def _complain(text: str) -> None:
    typer.echo("error: " + " ".join(text.split()), err=True)
