"""Following the log: what `archetype log` and `archetype world log --follow` print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from archetype.cli.session import Session, with_session

if TYPE_CHECKING:
    from archetype.client.answers import Event

__all__ = ["AfterOption", "FollowOption", "print_events", "register"]

EVENT_COLUMNS = ("position", "recorded_at", "world_id", "version", "kind", "type", "tick", "payload")

FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Print events as they come, a line each, until Ctrl-C.")
]
AfterOption = Annotated[
    int | None, typer.Option("--after", min=0, help="Begin after this position of the log; 0 is all of it.")
]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(epilog="Example: archetype log --follow --types tick_committed")(log)


@with_session
def log(
    session: Session,
    follow: FollowOption = False,
    after: AfterOption = None,
    types: Annotated[
        str | None,
        typer.Option("--types", metavar="TYPES", help="Only these types, such as spawn,tick_committed."),
    ] = None,
) -> None:
    """Print the log of all worlds, one event a line: all of it or, with --follow, what comes from now on."""
    start = 0 if after is None and not follow else after
    names = None if types is None else types.split(",")
    print_events(session, session.client.log_events(start, types=names, follow=follow))


def print_events(session: Session, events: Iterator[Event]) -> None:
    """Print events as they come; Ctrl-C is how that ends."""
    with suppress(KeyboardInterrupt):
        session.output.lines(events, shown=EVENT_COLUMNS)
