"""What `db` and `sql` share: the database by its URL, used for one command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from archetype.errors import UnavailableError
from archetype.settings import Settings

if TYPE_CHECKING:
    from archetype.store.database import Database

__all__ = ["DatabaseOption", "on_database", "require_file"]

T = TypeVar("T")

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/name; also ARCHETYPE_DATABASE_URL.",
    ),
]


def on_database(url: str | None, use: Callable[[Database], Awaitable[T]]) -> T:
    """Use a database, close it, and return the result."""
    import asyncio

    from archetype.store.database import Database

    async def run() -> T:
        database = Database(url or Settings.from_environment().database_url)
        try:
            return await use(database)
        finally:
            await database.close()

    return asyncio.run(run())


def require_file(database: Database) -> None:
    """Raise `UnavailableError` for a SQLite file that is not there: looking must not create it."""
    if database.is_sqlite and not Path(database.url.database or "").is_file():
        msg = f"{database.name} does not exist; `archetype db upgrade` makes it"
        raise UnavailableError(msg)
