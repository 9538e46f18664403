"""The append on PostgreSQL has a short way for calls without anything to refuse, and is planned once."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0013" / "postgresql" / "append.sql"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER FUNCTION append_commands RENAME TO append_judged")
        for text in statements():
            op.get_bind().exec_driver_sql(text)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION append_commands")
        op.execute("DROP FUNCTION spread")
        op.execute("ALTER FUNCTION append_judged RENAME TO append_commands")


def statements() -> list[str]:
    """Statements of a file end with a semicolon and an empty line; function bodies hold no such line."""
    text = SQL.read_text(encoding="utf-8")
    return [part for part in (each.strip() for each in text.split(";\n\n")) if part]
