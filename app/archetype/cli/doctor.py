"""`archetype doctor`: what is wrong with a database and its servers, or soon will be, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from archetype.cli.database import DatabaseOption, on_database
from archetype.cli.session import Session, with_session
from archetype.errors import UnavailableError

if TYPE_CHECKING:
    from archetype.service.doctor.findings import Finding
    from archetype.store.database import Database

__all__ = ["register"]

_FIELDS = ("severity", "check", "seen", "remedy")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(epilog="Example: archetype doctor && archetype serve")(doctor)


@with_session
def doctor(
    session: Session,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 7 for a warning too.")] = False,
    database_url: DatabaseOption = None,
) -> None:
    """Check the installation, the database, its disk, keys and runs; exits with 7 if it finds an error.

    It writes nothing, needs no server, and leaves the stored rows and pages to `archetype verify`. Each
    finding has a severity (ok, warning or error), what was seen, and its remedy.
    """

    async def use(database: Database) -> list[Finding]:
        from archetype.service.doctor.doctor import examine

        return await examine(database)

    findings = on_database(database_url, use)
    session.output.rows([asdict(each) for each in findings], shown=_FIELDS)
    counted = {"error"} | ({"warning"} if strict else set())
    bad = [each for each in findings if each.severity in counted]
    if bad:
        first = bad[0]
        msg = f"{len(bad)} of {len(findings)} checks failed; {first.check}: {first.seen}"
        raise UnavailableError(msg)
