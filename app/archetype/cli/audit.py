"""`archetype audit`: what was denied, and what administrators did beside commands."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.database import DatabaseOption, on_services_or_server
from archetype.cli.session import Session, with_session
from archetype.limits import PAGE_ENTRIES_MAX

if TYPE_CHECKING:
    from archetype.service.container import ServiceContainer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what was denied, and what administrators did.")

_DENIAL_COLUMNS = ("last_at", "count", "code", "reason", "actor_id", "key_id", "address", "action", "world")
_ACT_COLUMNS = ("number", "recorded_at", "act", "actor_id", "address", "reason", "detail")


class Outcome(StrEnum):
    """What became of what was asked, where the log does not tell."""

    DENIED = "denied"
    DONE = "done"


@app.callback()
def audit() -> None:
    """Keep `list` a command of its own, however few there are."""


@app.command("list", epilog="Example: archetype audit list --outcome denied -o csv")
@with_session
def list_audit(
    session: Session,
    outcome: Annotated[
        Outcome, typer.Option("--outcome", help="denied lists denials, done lists administrative acts.")
    ] = Outcome.DENIED,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=PAGE_ENTRIES_MAX, help="How many of the newest.")
    ] = 100,
    database_url: DatabaseOption = None,
) -> None:
    """List the newest denials or administrative acts, the newest last; commands are in `archetype log`."""
    is_denied = outcome is Outcome.DENIED
    found = on_services_or_server(
        session,
        database_url,
        lambda services: _rows(services, outcome, limit),
        lambda: list(session.client.denials(limit=limit) if is_denied else session.client.acts(limit=limit)),
    )
    session.output.rows(found, shown=_DENIAL_COLUMNS if is_denied else _ACT_COLUMNS)


async def _rows(services: ServiceContainer, outcome: Outcome, limit: int) -> list[dict[str, Any]]:
    if outcome is Outcome.DENIED:
        return [asdict(each) for each in await services.audit_service.list_denials(limit=limit)]
    return [asdict(each) for each in await services.audit_service.list_acts(limit=limit)]
