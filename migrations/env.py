"""Run migrations on the connection that was handed over, or on the database that the settings name."""

from __future__ import annotations

import asyncio

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from archetype.settings import Settings
from archetype.store.acts import Acting, ActType, record_act
from archetype.store.auditors import grant_to_auditors
from archetype.store.database import Database
from archetype.store.schema import administrative_acts, metadata


def run(connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
    )
    before = MigrationContext.configure(connection).get_current_revision()
    context.run_migrations()
    after = MigrationContext.configure(connection).get_current_revision()
    if after != before and inspect(connection).has_table(administrative_acts.name):
        reason = context.config.attributes.get("reason")
        detail = {"from": before, "to": after}
        record_act(connection, ActType.MIGRATE, detail, Acting(address="local", reason=reason))
        grant_to_auditors(connection)


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
