"""`archetype db`: the schema of the database, by its migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.database import DatabaseOption, on_database, require_file
from archetype.cli.session import Session, confirmed, with_session
from archetype.errors import InvalidInputError, SchemaOutdatedError

if TYPE_CHECKING:
    from archetype.store.database import Database

__all__ = ["app"]

ActReason = Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the act.")]

app = typer.Typer(no_args_is_help=True, help="Upgrade, downgrade and inspect the database's schema.")


@app.command(epilog="Example: archetype db upgrade --database-url postgresql://me@localhost/worlds")
@with_session
def upgrade(
    session: Session,
    revision: Annotated[str, typer.Argument(metavar="[REV]", help="The revision to reach.")] = "head",
    reason: ActReason = None,
    database_url: DatabaseOption = None,
) -> None:
    """Upgrade the schema; a SQLite file that does not exist is created."""

    async def use(database: Database) -> dict[str, Any]:
        from archetype.store.migrate import upgrade as forward

        await forward(database, revision, reason=reason)
        return await _status(database)

    session.output.record(on_database(database_url, use))


@app.command(epilog="Example: archetype db downgrade base --yes")
@with_session
def downgrade(
    session: Session,
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="The revision to go back to; base has no schema.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; required without a terminal.")
    ] = False,
    reason: ActReason = None,
    database_url: DatabaseOption = None,
) -> None:
    """Downgrade the schema: what later revisions stored is lost."""
    confirmed(f"Go back to {revision}, and lose what later revisions stored?", is_sure=yes)

    async def use(database: Database) -> dict[str, Any]:
        from archetype.store.migrate import downgrade as back

        require_file(database)
        await back(database, revision, reason=reason)
        return await _status(database)

    session.output.record(on_database(database_url, use))


@app.command(epilog="Example: archetype db current -o json")
@with_session
def current(session: Session, database_url: DatabaseOption = None) -> None:
    """Show which revision the database is at, and which one this release needs."""
    session.output.record(on_database(database_url, _status))


@app.command(epilog="Example: archetype db check && archetype serve")
@with_session
def check(session: Session, database_url: DatabaseOption = None) -> None:
    """Check that the schema is exactly the one that this release expects; exits with 7 if it is not."""

    async def use(database: Database) -> dict[str, Any]:
        from archetype.store.migrate import differences

        await database.require_schema()
        found = await differences(database)
        if found:
            msg = f"{database.name} is not as this release expects, in {len(found)} places: {found[0]}"
            raise SchemaOutdatedError(msg, differences=found)
        return await _status(database)

    session.output.record(on_database(database_url, use))


@app.command(
    "grant-auditor",
    epilog="Example: archetype db grant-auditor --database-url postgresql://admin@localhost/worlds",
)
@with_session
def grant_auditor(session: Session, database_url: DatabaseOption = None) -> None:
    """Let the role archetype_auditor read all but key digests, as `upgrade` does; needed after a restore."""

    async def use(database: Database) -> dict[str, Any]:
        from archetype.store.auditors import AUDITOR, grant_to_auditors

        await database.require_schema()
        if database.is_sqlite:
            msg = "SQLite has no roles: give auditors a copy of the file, or let them only read it"
            raise InvalidInputError(msg)
        if not await database.write(grant_to_auditors):
            msg = f"you may not make roles: let one who may run CREATE ROLE {AUDITOR} NOLOGIN, and try again"
            raise InvalidInputError(msg)
        return {"role": AUDITOR, "database": database.name}

    session.output.record(on_database(database_url, use))


async def _status(database: Database) -> dict[str, Any]:
    from archetype.store.schema import REVISION

    revision = await database.revision()
    return {
        "database": database.name,
        "revision": revision,
        "needed": REVISION,
        "is_current": revision == REVISION,
    }
