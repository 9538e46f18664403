"""`archetype serve` and `archetype status`: the server, and whether it is there."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from archetype.cli.database import DatabaseOption, ModuleOption
from archetype.cli.session import Session, with_session
from archetype.errors import AuthenticationError, PermissionDeniedError
from archetype.settings import LogFormat, Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(epilog="Example: archetype serve --module archetype.examples.movement")(serve)
    app.command(epilog="Example: archetype status")(status)


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on.")] = 8000,
    database_url: DatabaseOption = None,
    module: ModuleOption = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--log-format",
            help="The log format; by default text on a terminal, else json. Also ARCHETYPE_LOG_FORMAT.",
        ),
    ] = None,
) -> None:
    """Run the server until it is told to stop; a SQLite database that does not exist is created first.

    Until there is an API key, it listens on this machine only and lets its single user do everything.
    """
    from archetype.api.server import serve as run_server

    settings = Settings.from_environment()
    form = log_format or settings.log_format
    # People keep their modules where they stand; what is installed comes first all the same.
    sys.path.append(str(Path.cwd()))
    run_server(
        host=host,
        port=port,
        database_url=database_url or settings.database_url,
        modules=tuple(module or settings.modules),
        log_format=form,
    )


@with_session
def status(session: Session) -> None:
    """Show whether the server is up and ready, and how many worlds it has, if you may list them."""
    client = session.client
    about = client.about()
    is_ready = client.is_ready()
    world_count = None
    with suppress(AuthenticationError, PermissionDeniedError):
        world_count = sum(1 for _ in client.all_worlds())
    session.output.record({"url": client.url, **about, "is_ready": is_ready, "world_count": world_count})
