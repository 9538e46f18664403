"""`archetype backup`: one state of the whole database in one file, beside running servers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archetype.cli.database import DatabaseOption, on_database, require_file
from archetype.cli.session import Session, with_session

if TYPE_CHECKING:
    from archetype.service.backup import Backup
    from archetype.store.database import Database

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(epilog="Example: archetype backup archetype-backup.db --verify")(backup)


@with_session
def backup(
    session: Session,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also check every row and page of the copy (SQLite).")
    ] = False,
    database_url: DatabaseOption = None,
) -> None:
    """Copy the whole database into one file while it is in use; on PostgreSQL pg_dump does it.

    The file gets its name once it is complete, checked and on disk. A copy of SQLite is itself a
    database; a dump is restored with pg_restore.
    """

    async def use(database: Database) -> Backup:
        from archetype.service.backup import back_up

        require_file(database)
        return await back_up(database, target, overwrites=force, verifies=verify)

    made = asdict(on_database(database_url, use))
    session.output.record(made | {"path": str(made["path"])})
