"""Quotas: what actors may ask for, and what they used up; the append refuses what goes beyond."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
MOMENT = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")


def column(name: str, kind, comment: str, *, nullable: bool = False, **options) -> sa.Column:
    return sa.Column(name, kind, nullable=nullable, comment=comment, **options)


def upgrade() -> None:
    op.create_table(
        "quotas",
        column("actor_id", ID, "for whom it is set", primary_key=True),
        column(
            "commands_per_tick",
            sa.BigInteger,
            "commands for one tick of one world; NULL is without a limit",
            nullable=True,
        ),
        column(
            "tokens_per_day", sa.BigInteger, "tokens in one UTC day; NULL is without a limit", nullable=True
        ),
        column("changed_at", MOMENT, "UTC"),
        column("reason", sa.Text, "why it was set so", nullable=True),
        comment="How much an actor may ask for, where that is not the default of 500 and 200,000.",
    )
    op.create_table(
        "tick_usage",
        column("actor_id", ID, "who asked", primary_key=True),
        column("world_id", ID, "of which world", primary_key=True),
        column("tick", sa.BigInteger, "for which tick", primary_key=True, autoincrement=False),
        column("commands", sa.BigInteger, "commands accepted for it, free ones not counted"),
        comment="Commands by actor, world and tick, at least as long as the tick is open.",
    )
    op.create_table(
        "daily_usage",
        column("actor_id", ID, "who asked", primary_key=True),
        column("day", sa.String(10), "UTC, as 2026-01-31", primary_key=True),
        column("commands", sa.BigInteger, "commands accepted on it, free ones not counted"),
        column("tokens", sa.BigInteger, "what they cost"),
        comment="Commands and tokens by actor and day.",
    )
    if op.get_bind().dialect.name == "postgresql":
        drop_append()
        run(statements("0007", "append.sql"))
        # Updated with nearly every flush: room on the page keeps that away from the index.
        op.execute("ALTER TABLE tick_usage SET (fillfactor = 50)")
        op.execute("ALTER TABLE daily_usage SET (fillfactor = 50)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        drop_append()
        op.execute("DROP FUNCTION quota_refusals")
        functions = statements("0001", "1_functions.sql")
        run([each for each in functions if "CREATE FUNCTION append_commands" in each])
    for table in ("daily_usage", "tick_usage", "quotas"):
        op.drop_table(table)


def drop_append() -> None:
    op.execute("DROP FUNCTION append_commands")


def statements(folder: str, name: str) -> list[str]:
    """Statements of a file end with a semicolon and an empty line; function bodies hold no such line."""
    text = (SQL / folder / "postgresql" / name).read_text(encoding="utf-8")
    return [part for part in (each.strip() for each in text.split(";\n\n")) if part]


def run(texts: list[str]) -> None:
    for text in texts:
        op.get_bind().exec_driver_sql(text)
