"""Run migrations on the connection that was handed over, or on the database that the settings name."""

from __future__ import annotations

import asyncio

from alembic import context

from archetype.settings import Settings
from archetype.store.database import Database
from archetype.store.schema import metadata


def run(connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
    )
    context.run_migrations()


async def run_by_itself() -> None:
    database = Database(Settings.from_environment().database_url)
    try:
        await database.migrate(run)
    finally:
        await database.close()


if context.is_offline_mode():
    message = "migrations need a live database: run them without --sql"
    raise SystemExit(message)
given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_by_itself())
else:
    run(given)
