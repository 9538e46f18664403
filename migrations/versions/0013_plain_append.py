"""The append on PostgreSQL has a short way for calls without anything to refuse, and is planned once."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        replace(statements("0013"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        replace([each for each in statements("0012") if "FUNCTION append_commands" in each])
        op.execute("DROP FUNCTION spread")


def replace(appends: list[str]) -> None:
    op.execute("DROP FUNCTION append_commands")
    for text in appends:
        op.get_bind().exec_driver_sql(text)


def statements(folder: str) -> list[str]:
    """Statements of a file end with a semicolon and an empty line; function bodies hold no such line."""
    text = (SQL / folder / "postgresql" / "append.sql").read_text(encoding="utf-8")
    return [part for part in (each.strip() for each in text.split(";\n\n")) if part]
