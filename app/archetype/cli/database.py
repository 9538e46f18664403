"""What the commands share that work on the database itself, with or without a server."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from archetype.errors import UnavailableError
from archetype.settings import DEFAULT_DATABASE_URL, DEFAULT_SERVER_URL, Settings

if TYPE_CHECKING:
    from archetype.cli.session import Session
    from archetype.service.container import ServiceContainer
    from archetype.store.database import Database

__all__ = [
    "DatabaseOption",
    "ModuleOption",
    "chosen_database",
    "on_database",
    "on_services",
    "on_services_or_server",
    "require_file",
]

T = TypeVar("T")

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="The database: sqlite:///file.db or postgresql://user@host/name; also ARCHETYPE_DATABASE_URL.",
    ),
]


ModuleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="A Python module with components and processors; repeatable. Also ARCHETYPE_MODULES.",
    ),
]


def on_services(
    url: str | None,
    modules: list[str] | None,
    use: Callable[[ServiceContainer], Awaitable[T]],
    *,
    loads: bool = True,
) -> T:
    """Use the services over a database that is there, close them, and return the result."""
    import asyncio

    from archetype.service.container import ServiceContainer, load_modules

    settings = Settings.from_environment()
    # People keep their modules where they stand; what is installed comes first all the same.
    sys.path.append(str(Path.cwd()))
    if loads:
        load_modules(modules or settings.modules)

    async def run() -> T:
        container = ServiceContainer(url or settings.database_url)
        require_file(container.database)
        async with container:
            return await use(container)

    return asyncio.run(run())


def chosen_database(database_url: str | None, url: str | None) -> str | None:
    """Return the database that a command is to work on, or None where it goes through a server.

    A database that was named comes first, then a server, then a database that only the environment names.
    """
    settings = Settings.from_environment()
    if database_url is not None:
        return database_url
    names_server = url is not None or settings.server_url != DEFAULT_SERVER_URL
    if names_server or settings.database_url == DEFAULT_DATABASE_URL:
        return None
    return settings.database_url


def on_services_or_server(
    session: Session,
    database_url: str | None,
    use: Callable[[ServiceContainer], Awaitable[Any]],
    ask: Callable[[], Any],
) -> Any:
    """Use the services over the database that a command is to work on, or ask the server.

    No modules are loaded: what works on either needs no code of anybody's.
    """
    chosen = chosen_database(database_url, session.url)
    return ask() if chosen is None else on_services(chosen, None, use, loads=False)


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
