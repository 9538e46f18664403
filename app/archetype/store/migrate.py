"""Migrations: found in the checkout or in the installed package, always run under a lock."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from archetype.errors import InvalidInputError
from archetype.store.database import Database
from archetype.store.objects import object_differences
from archetype.store.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["alembic_config", "changed_objects", "differences", "downgrade", "upgrade"]


def alembic_config() -> Config:
    """Return the configuration beside the checkout's migrations, or the one that the wheel carries."""
    package = Path(str(files("archetype")))
    checkout = package.parent.parent
    if (checkout / "alembic.ini").is_file() and (checkout / "migrations" / "env.py").is_file():
        return Config(str(checkout / "alembic.ini"))
    config = Config(str(package / "_alembic.ini"))
    config.set_main_option("script_location", str(package / "_migrations").replace("%", "%%"))
    return config


async def upgrade(database: Database, revision: str = "head", *, reason: str | None = None) -> None:
    """Bring the schema forward to a revision; the record of administrative acts keeps it, and the reason."""
    await _run(database, lambda config: command.upgrade(config, revision), reason)


async def downgrade(database: Database, revision: str, *, reason: str | None = None) -> None:
    """Take the schema back to a revision; what later revisions stored is dropped with their tables."""
    await _run(database, lambda config: command.downgrade(config, revision), reason)


async def differences(database: Database) -> list[str]:
    """Compare the database with what the code expects to be there; an empty list means equal.

    Comments are the migrations' alone, for those who read the schema with SQL. Triggers, views and functions
    are looked at where the tables are as they should be.
    """
    folder = _sql_folder()

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = [each for part in compare_metadata(context, metadata) for each in _flat(part)]
        tables = [str(each) for each in found if "comment" not in each[0]]
        return tables or object_differences(connection, folder)

    return await database.read(compare)


async def changed_objects(database: Database) -> list[str]:
    """Say which triggers, views and functions are not as the migrations made them, over tables that are."""
    folder = _sql_folder()
    return await database.read(lambda connection: object_differences(connection, folder))


def _sql_folder() -> Path:
    return Path(ScriptDirectory.from_config(alembic_config()).dir) / "sql"


def _flat(difference: Any) -> list[tuple[Any, ...]]:
    """Changes of one column come as a list of tuples, all others as one tuple."""
    return difference if isinstance(difference, list) else [difference]


async def _run(database: Database, act: Callable[[Config], None], reason: str | None) -> None:
    def run(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        config.attributes["reason"] = reason
        try:
            act(config)
        except command.util.CommandError as error:
            msg = f"{error}; `archetype db current` shows where the database is"
            raise InvalidInputError(msg) from error

    await database.migrate(run)
