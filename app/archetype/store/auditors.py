"""The role of auditors on PostgreSQL: it reads everything but the digests of keys, and writes nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.schema import keys, metadata

__all__ = ["AUDITOR", "VIEWS", "grant_to_auditors"]

AUDITOR = "archetype_auditor"
"""A group for logins: `GRANT archetype_auditor TO ann`. All databases of a server share it."""
VIEWS = (
    "audit_trail",
    "command_log",
    "conflicts",
    "executions",
    "lineage",
    "storage_use",
    "tick_log",
    "world_tree",
)

_MAKE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database's migration was faster
    WHEN insufficient_privilege THEN
        RAISE WARNING 'role {role} is missing; one who may must run CREATE ROLE {role} NOLOGIN';
END $$
"""


def grant_to_auditors(connection: Connection, role: str = AUDITOR) -> bool:
    """Let a role read every table and view that is there, and make it where it is missing.

    Returns False, and changes nothing, where it is missing and may not be made; SQLite has no roles.
    """
    if connection.dialect.name != "postgresql":
        return False
    connection.exec_driver_sql(_MAKE.replace("{role}", role))
    is_there = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role")
    if connection.scalar(is_there, {"role": role}) is None:
        return False
    inspector = sa.inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    tables = [name for name in (*metadata.tables, *VIEWS) if name in there and name != keys.name]
    connection.exec_driver_sql(f"GRANT SELECT ON {', '.join(tables)} TO {role}")
    if keys.name in there:
        columns = ", ".join(column.name for column in keys.columns if column.name != "digest")
        connection.exec_driver_sql(f"GRANT SELECT ({columns}) ON {keys.name} TO {role}")
    return True
