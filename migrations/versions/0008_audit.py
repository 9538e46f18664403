"""The audit trail: denials, administrative acts, and from where actors asked."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
MOMENT = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    create_denials()
    create_acts()
    create_origins()
    op.execute("DROP VIEW audit_trail")
    for name in ("guards.sql", "views.sql"):
        run("0008", name)


def create_denials() -> None:
    op.create_table(
        "denials",
        sa.Column("denial_id", ID, primary_key=True, comment="UUIDv7, so in the order of first_at"),
        sa.Column(
            "code",
            sa.String(32),
            nullable=False,
            comment="the error's code, as permission_denied; dropped: counted, not kept apart",
        ),
        sa.Column("reason", sa.String(128), nullable=False, comment="why, in few fixed words"),
        sa.Column("actor_id", ID, comment="who asked, as far as it was proven"),
        sa.Column("key_id", sa.String(16), comment="the public part of a key that exists"),
        sa.Column("address", sa.String(64), comment="from where: the peer's address, or local"),
        sa.Column("action", sa.String(64), comment="what was asked for; NULL before that was looked at"),
        sa.Column(
            "world", sa.String(128), comment="the world as the caller named it, which need not be there"
        ),
        sa.Column("count", sa.BigInteger, nullable=False, comment="how often, one like the other"),
        sa.Column("first_at", MOMENT, nullable=False, comment="UTC, the clock of the process that denied it"),
        sa.Column("last_at", MOMENT, nullable=False, comment="UTC, within a minute of first_at"),
        comment="What was denied, bounded: the oldest rows leave. Not derivable from the log.",
    )


def create_acts() -> None:
    op.create_table(
        "administrative_acts",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
            comment="contiguous from 1",
        ),
        sa.Column(
            "act", sa.String(64), nullable=False, comment="create_actor, revoke_key, collect_garbage, …"
        ),
        sa.Column("actor_id", ID, comment="who did it; NULL is who has the database in their own hands"),
        sa.Column("key_id", sa.String(16), comment="the public part of the key that it was done with"),
        sa.Column("address", sa.String(64), comment="from where: the peer's address, or local"),
        sa.Column(
            "detail", sa.Text, nullable=False, comment="canonical JSON without secrets: to whom or what"
        ),
        sa.Column("reason", sa.Text, comment="why, as it was given"),
        sa.Column("recorded_at", MOMENT, nullable=False, comment="UTC, the database's clock"),
        sa.Column(
            "hash",
            sa.LargeBinary,
            nullable=False,
            comment="SHA-256 of the hash before it and all other columns, see docs/hashes.md",
        ),
        comment="What administrators did, one immutable row each, chained by their hashes.",
    )


def create_origins() -> None:
    op.create_table(
        "origins",
        sa.Column("origin_id", ID, primary_key=True, comment="UUIDv7"),
        sa.Column("actor_id", ID, comment="who asked; NULL is the single user of a database without keys"),
        sa.Column("key_id", sa.String(16), comment="the public part of the key that proved it"),
        sa.Column(
            "address", sa.String(64), nullable=False, comment="from where: the peer's address, or local"
        ),
        sa.Column("first_at", MOMENT, nullable=False, comment="UTC, before the first command from there"),
        sa.Column("last_at", MOMENT, nullable=False, comment="UTC, written once a minute at most"),
        sa.Index("origins_actor", "actor_id", "last_at"),
        comment="From where actors sent commands, and from when to when. Not derivable from the log.",
    )


def run(folder: str, name: str) -> None:
    """Run the statements of a file; they end with a semicolon and an empty line."""
    path = SQL / folder / op.get_bind().dialect.name / name
    for statement in path.read_text(encoding="utf-8").split(";\n\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement.strip())


def downgrade() -> None:
    op.execute("DROP VIEW audit_trail")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION guard_denials CASCADE")
    for table in ("origins", "administrative_acts", "denials"):
        op.drop_table(table)
    path = SQL / "0005" / op.get_bind().dialect.name / "views.sql"
    op.get_bind().exec_driver_sql(path.read_text(encoding="utf-8").strip())
